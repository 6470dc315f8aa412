"""What LRLogger logs at every step: the LRs of all groups and the training loss."""
