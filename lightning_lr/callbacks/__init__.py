"""The callbacks: each maps Lightning's hooks to pure functions, `rates` and the loggers."""

from lightning_lr.callbacks.decay import LRDecay
from lightning_lr.callbacks.logger import LRLogger
from lightning_lr.callbacks.plateau import PlateauDetector
from lightning_lr.callbacks.range_test import LRRangeTest
from lightning_lr.callbacks.search import LRSearch

__all__ = ["LRDecay", "LRLogger", "LRRangeTest", "LRSearch", "PlateauDetector"]
