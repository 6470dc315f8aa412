"""The states of callbacks in checkpoints: under which keys, how they are read, and when they are refused."""
