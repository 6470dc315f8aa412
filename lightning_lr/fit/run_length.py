"""How long the Trainer means to train, for a plan of its learning rates."""

import math

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from lightning.pytorch.utilities import rank_zero_warn

from lightning_lr.fit.horizon import Horizon, horizon
from lightning_lr.fit.neighbors import callbacks_of
from lightning_lr.fit.ranks import gather_from_ranks

__all__ = ["REMEDY", "accumulation", "check_epochs_end_together", "run_length"]

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
    for callback in callbacks_of(trainer, GradientAccumulationScheduler):
        return callback.scheduling
    return {0: trainer.accumulate_grad_batches}


def check_epochs_end_together(trainer: Trainer, reason: str, *, otherwise: str, remedy: str) -> None:
    """Refuse epochs that end after different steps on the ranks; to be called on all of them.

    Args:
        trainer: The Trainer of the fit, with the loaders set up.
        reason: Why they must not, as the beginning of a sentence.
        otherwise: What may come of loaders that do not say how long an epoch is, which are warned of.
        remedy: What to do, besides giving epochs one length.

    Raises:
        MisconfigurationException: An epoch has other numbers of batches on other ranks.
    """
    first, *others = batches = gather_from_ranks(trainer, trainer.num_training_batches)
    remedy = f"{remedy}, or give epochs one length with `limit_train_batches`."
    if set(others) - {first}:
        numbers = ", ".join(f"{each:g}" for each in batches)
        raise MisconfigurationException(
            f"{reason}, and these end their epochs after different steps: an epoch has {numbers} batches on"
            f" them. {remedy}"
        )
    if others and math.isinf(first):
        rank_zero_warn(
            f"{reason}, and the train loaders do not say how long an epoch is. Where it is shorter on one"
            f" rank, {otherwise}. {remedy}"
        )
