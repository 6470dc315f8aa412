"""Reads from the Trainer how long it will train, for a plan of the learning rates."""

import math

from lightning_lr.fit.horizon import Horizon, horizon
from lightning_lr.fit.lightnings import (
    GradientAccumulationScheduler,
    MisconfigurationException,
    Trainer,
    rank_zero_warn,
)
from lightning_lr.fit.neighbors import callbacks_of
from lightning_lr.fit.ranks import gather_from_ranks

__all__ = [
    "REMEDY",
    "accumulation",
    "check_epochs_end_together",
    "run_length",
    "steps_left",
    "steps_made",
]

REMEDY = {
    "epoch": "Set `Trainer(max_epochs=...)`.",
    "step": "Set `Trainer(max_steps=...)`, or `Trainer(max_epochs=...)` with a loader of known length"
    " (`limit_train_batches` gives a stream one).",
}


def run_length(trainer: Trainer, *, manual: bool) -> Horizon:
    """Return the length of a fit whose loaders are set up, the same on every rank; all ranks call it."""
    max_epochs = -1 if trainer.max_epochs is None else trainer.max_epochs
    if manual and trainer.max_steps != -1:
        # Only the module knows how many steps a batch makes: nothing but the bounds is known.
        return Horizon(steps=trainer.max_steps, epochs=math.inf if max_epochs == -1 else max_epochs)
    return horizon(
        max_epochs=max_epochs,
        max_steps=trainer.max_steps,
        # A rank with more batches must not plan a different LR for the same step.
        batches_per_epoch=min(gather_from_ranks(trainer, trainer.num_training_batches)),
        accumulation=accumulation(trainer),
    )


def steps_made(trainer: Trainer, *, manual: bool) -> int:
    """Return how many steps a fit has made before the batch that begins, as `run_length` counts them."""
    if manual and trainer.max_steps == -1:
        return max(0, trainer.fit_loop.epoch_loop.total_batch_idx)
    return trainer.global_step


def steps_left(trainer: Trainer, *, manual: bool) -> float:
    """Return the steps of the rest of a fit whose loaders are set up, at least 1; all ranks call it."""
    return max(1, run_length(trainer, manual=manual).steps - steps_made(trainer, manual=manual))


def accumulation(trainer: Trainer) -> dict[int, int]:
    """Return the number of batches per step, by the epoch in which it begins to hold."""
    for callback in callbacks_of(trainer, GradientAccumulationScheduler):
        return callback.scheduling
    return {0: trainer.accumulate_grad_batches}


def check_epochs_end_together(trainer: Trainer, reason: str, *, otherwise: str, remedy: str) -> None:
    """Refuse epochs that end after different steps on the ranks; all ranks call it.

    Args:
        trainer: With the loaders set up.
        reason: Why they must end together, as the beginning of a sentence.
        otherwise: What may happen with loaders that do not know their length, for a warning.
        remedy: What to do, besides giving epochs one length.

    Raises:
        MisconfigurationException: An epoch has different numbers of batches on the ranks.
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
            f"{reason}, and the train loaders do not say how long an epoch is. If it is shorter on one"
            f" rank, {otherwise}. {remedy}"
        )
