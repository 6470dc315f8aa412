"""LRDecay sets the LR of every step to the base LR times a policy of time."""

from lightning_lr.decay.lr_decay import LRDecay
from lightning_lr.decay.plan import Plan

__all__ = ["LRDecay", "Plan"]
