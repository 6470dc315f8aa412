"""Learning rates for PyTorch Lightning: found at startup, decayed by policy, and shown in TensorBoard."""

from lightning_lr import actions, plateau, policies, suggest
from lightning_lr.callbacks import LRDecay, LRLogger, LRRangeTest, LRSearch, PlateauDetector
from lightning_lr.preview import preview

__all__ = [
    "LRDecay",
    "LRLogger",
    "LRRangeTest",
    "LRSearch",
    "PlateauDetector",
    "actions",
    "plateau",
    "policies",
    "preview",
    "suggest",
]
