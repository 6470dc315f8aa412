"""The losses that LRLogger logs by epoch and validation, and those that the module logs itself."""
