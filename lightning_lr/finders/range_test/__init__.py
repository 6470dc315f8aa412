"""LRRangeTest: one ramp of the LR, and the LR read off its loss curve."""
