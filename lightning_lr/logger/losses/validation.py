"""The mean loss of every validation of a fit."""

from typing import Any

from lightning_lr.fit.lightnings import Trainer
from lightning_lr.fit.losses import ValidationLoss
from lightning_lr.fit.ranks import rank_sum, validations_are_in_step
from lightning_lr.logger.losses.missing import MissingLosses

__all__ = ["ValidationLosses"]


class ValidationLosses:
    """Reads the loss of each validation: the mean over all ranks if they validate after the same steps.

    Args:
        missing: Warns if there is none.
    """

    def __init__(self, missing: MissingLosses) -> None:
        self._missing = missing
        self._running = ValidationLoss()
        self._in_step = True

    def begin_fit(self, trainer: Trainer) -> None:
        """Find out whether the ranks validate after the same steps; all ranks call it."""
        self._in_step = validations_are_in_step(trainer)

    def start(self, trainer: Trainer) -> None:
        """Begin a validation."""
        self._running.start(trainer.callback_metrics, loaders=len(trainer.num_val_batches))

    def add(self, outputs: Any, batch: Any, *, loader: int) -> None:
        """Add what `validation_step` returned for a batch of a loader."""
        self._running.add(outputs, batch, loader=loader)

    def finish(self, trainer: Trainer) -> dict[str, float]:
        """End a validation and return its losses by tag, one for each loader; all ranks call it."""
        reduce = rank_sum(trainer) if self._in_step else None
        losses, problem = self._running.finish(trainer.callback_metrics, reduce=reduce)
        if problem:
            self._missing.warn_of_validation(problem)
        return losses
