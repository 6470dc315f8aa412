"""Tells which share of a run is over, and how many validations it has."""

import math

from lightning_lr.fit.lightnings import LightningModule, Trainer
from lightning_lr.fit.run_length import run_length

__all__ = ["RunShare"]


class RunShare:
    """Which share of a run is over, and from that how many validations it has.

    Args:
        trainer: With the loaders set up; all ranks make it.
        pl_module: The module being trained.
    """

    def __init__(self, trainer: Trainer, pl_module: LightningModule) -> None:
        manual = not pl_module.automatic_optimization
        self._counts_batches = manual and trainer.max_steps == -1
        self._length = run_length(trainer, manual=manual)

    def validations(self, trainer: Trainer, done: int) -> float:
        """Return how many validations the run has if `done` of them are over; infinite if unknown."""
        share = self.share(trainer)
        return max(done, round(done / share)) if share else math.inf

    def share(self, trainer: Trainer) -> float:
        """Return which share of the run is over, during a validation or after a batch; 0 if unknown."""
        if not self.counts_steps:
            return (trainer.current_epoch + trainer.is_last_batch) / self._length.epochs
        loop = trainer.fit_loop.epoch_loop
        over = loop.total_batch_idx + 1 if self._counts_batches else trainer.global_step
        return over / self._length.steps

    @property
    def counts_steps(self) -> bool:
        """Whether the share is known after every batch, and not only after an epoch."""
        return math.isfinite(self._length.steps)

    def planned(self, trainer: Trainer, every_n_steps: int | None) -> float:
        """Return how many validations, or means over so many steps, there will be; infinite if unknown."""
        steps, epochs = self._length.steps, self._length.epochs
        if every_n_steps is not None:
            return steps // every_n_steps
        every, batches = trainer.val_check_batch, trainer.num_training_batches
        if every is None:
            return math.inf
        if trainer.check_val_every_n_epoch is None:
            return steps * trainer.accumulate_grad_batches // every
        within = batches // every if math.isfinite(batches) else 1
        return epochs // trainer.check_val_every_n_epoch * within
