"""Learning rates for PyTorch Lightning: found at startup, decayed by policy, and shown in TensorBoard."""

from lightning_lr import policies, suggest
from lightning_lr.callbacks import LRDecay, LRLogger, LRRangeTest, LRSearch

__all__ = ["LRDecay", "LRLogger", "LRRangeTest", "LRSearch", "policies", "suggest"]
