"""Learning rates for PyTorch Lightning: found at startup, decayed by policy, and shown in TensorBoard."""

from lightning_lr import finders, plateau, policies
from lightning_lr.decay import LRDecay
from lightning_lr.finders import LRRangeTest, LRSearch
from lightning_lr.logger import LRLogger
from lightning_lr.plateau import PlateauDetector
from lightning_lr.preview import preview

__all__ = [
    "LRDecay",
    "LRLogger",
    "LRRangeTest",
    "LRSearch",
    "PlateauDetector",
    "__version__",
    "finders",
    "plateau",
    "policies",
    "preview",
]

__version__ = "0.1.0"


def __dir__() -> list[str]:
    return __all__
