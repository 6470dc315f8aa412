"""Finds what else sets the learning rates that LRDecay sets: of two writers, each would undo the other."""

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import StochasticWeightAveraging

__all__ = ["check_no_rival"]


def check_no_rival(trainer: Trainer) -> None:
    """Refuse a fit in which an LR scheduler is configured, or a callback brings one.

    Raises:
        MisconfigurationException: Which, and how to keep the one or the other.
    """
    if trainer.lr_scheduler_configs:
        scheduler = type(trainer.lr_scheduler_configs[0].scheduler).__name__
        raise MisconfigurationException(
            f"`configure_optimizers` returns the LR scheduler {scheduler} and the Trainer has the"
            " callback LRDecay: two writers of one learning rate. To keep the scheduler, remove LRDecay"
            " from `Trainer(callbacks=...)`; to keep LRDecay, return the optimizer alone from"
            " `configure_optimizers`."
        )
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, StochasticWeightAveraging):
            raise MisconfigurationException(
                f"The callback {type(callback).__name__} brings an LR scheduler of its own and the Trainer"
                " has the callback LRDecay: two writers of one learning rate. To keep its LRs, remove"
                " LRDecay; to keep LRDecay, average with `EMAWeightAveraging` or `WeightAveraging`, which"
                " leave the LR alone."
            )
