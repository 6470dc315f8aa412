"""LRSearch: short trials from coarse to fine, and the LR read off them."""
