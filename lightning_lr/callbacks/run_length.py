"""How long the Trainer means to train, for a plan of its learning rates."""

import math

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import GradientAccumulationScheduler

from lightning_lr.horizon import Horizon, horizon
from lightning_lr.ranks import gather_from_ranks

__all__ = ["REMEDY", "accumulation", "run_length"]

REMEDY = {
    "epoch": "Set `Trainer(max_epochs=...)`.",
    "step": "Set `Trainer(max_steps=...)`, or `Trainer(max_epochs=...)` with a loader of known length"
    " (`limit_train_batches` gives a stream one).",
}


def run_length(trainer: Trainer, *, manual: bool) -> Horizon:
    """Return the length of the running fit, the same on every rank; to be called on all of them.

    Args:
        trainer: Its Trainer, with the loaders set up.
        manual: Whether the module optimizes manually.
    """
    max_epochs = -1 if trainer.max_epochs is None else trainer.max_epochs
    if manual and trainer.max_steps != -1:
        # How many steps a batch makes is the module's affair: only the bounds themselves are known.
        return Horizon(steps=trainer.max_steps, epochs=math.inf if max_epochs == -1 else max_epochs)
    return horizon(
        max_epochs=max_epochs,
        max_steps=trainer.max_steps,
        # A rank that has more batches must not plan another LR for the same step.
        batches_per_epoch=min(gather_from_ranks(trainer, trainer.num_training_batches)),
        accumulation=accumulation(trainer),
    )


def accumulation(trainer: Trainer) -> dict[int, int]:
    """Return over how many batches gradients are accumulated, by the epoch from which on that holds."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, GradientAccumulationScheduler):
            return callback.scheduling
    return {0: trainer.accumulate_grad_batches}
