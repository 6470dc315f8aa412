"""Learning rates for PyTorch Lightning: decayed by policy, logged, and explained in TensorBoard."""

from lightning_lr import policies
from lightning_lr.callbacks import LRDecay, LRLogger

__all__ = ["LRDecay", "LRLogger", "policies"]
