"""Reads the monitored value of a validation, never a stale one, and the same on every rank."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from lightning_lr.fit.lightnings import MisconfigurationException, Trainer
from lightning_lr.fit.losses import ValidationLoss, training_loss
from lightning_lr.fit.ranks import gather_from_ranks, mean_over_ranks, rank_sum, sum_over_ranks
from lightning_lr.fit.run_length import check_epochs_end_together
from lightning_lr.fit.saved_state import count, number, read_entries

__all__ = ["MonitoredValue", "TrainingLoss", "check_validations"]

RETURNED = "loss/val"


def check_validations(trainer: Trainer) -> None:
    """Refuse a fit in which validations cannot be judged; all ranks call it when training starts."""
    # If the first epoch is not validated, the loaders are not there yet.
    is_empty = trainer.val_dataloaders is not None and sum(trainer.num_val_batches) == 0
    empty = [rank for rank, value in enumerate(gather_from_ranks(trainer, is_empty)) if value]
    if empty:
        ranks = f" on ranks {', '.join(map(str, empty))}" if trainer.world_size > 1 else ""
        raise MisconfigurationException(
            f"PlateauDetector has no validation to judge: the validation loaders are empty{ranks}."
        )
    if trainer.check_val_every_n_epoch is not None:
        check_epochs_end_together(
            trainer,
            "PlateauDetector judges with all ranks at once",
            otherwise="they wait for each other for ever",
            remedy="Validate by steps, with `Trainer(check_val_every_n_epoch=None, val_check_interval=...)`",
        )


class MonitoredValue:
    """Finds a value among those that a validation logged and returned.

    Args:
        name: A logged name, or `loss/val`, the mean of the losses that `validation_step` returns or logs;
            `val_loss` means the same if the module logs nothing by that name.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._loss = ValidationLoss()

    def start(self, trainer: Trainer) -> None:
        """Begin a validation."""
        self._loss.start(trainer.callback_metrics, loaders=len(trainer.num_val_batches))

    def add(self, outputs: Any, batch: Any, *, loader: int) -> None:
        """Add what `validation_step` returned for a batch."""
        self._loss.add(outputs, batch, loader=loader)

    def finish(self, trainer: Trainer) -> tuple[float | None, list[str]]:
        """End the validation; all ranks call it.

        Returns:
            The mean over the ranks that have the value, None if no rank has it; and all available names.
        """
        fresh = self._loss.fresh(trainer.callback_metrics)
        losses, _ = self._loss.finish(trainer.callback_metrics, reduce=rank_sum(trainer))
        if self._name == "val_loss" and self._name not in fresh and RETURNED in losses:
            losses["val_loss"] = losses[RETURNED]
        logged = fresh.get(self._name)
        value = mean_over_ranks(trainer, None if logged is None else float(logged))
        if value is None:
            # A loss that was logged and not returned differs between ranks.
            value = mean_over_ranks(trainer, losses.get(self._name))
        return value, sorted({*fresh, *losses})

    def missing(self, trainer: Trainer, names: Iterable[str]) -> MisconfigurationException:
        """Return the error for a validation without the value."""
        there = ", ".join(map(repr, names)) or "nothing"
        known = self._name in trainer.callback_metrics
        where = "is logged, but not by this validation" if known else "is nothing that this validation gave"
        return MisconfigurationException(
            f"`PlateauDetector(monitor={self._name!r})`: {self._name!r} {where}. It gave {there}. Monitor"
            f" one of these; or call `self.log({self._name!r}, ...)` in `validation_step`; or return the loss"
            " from it and monitor 'loss/val'."
        )


class TrainingLoss:
    """The mean training loss since the last `take`; until then it stays on the device."""

    def __init__(self) -> None:
        self._sum: Tensor | float = 0.0
        self._count = 0

    def add(self, trainer: Trainer, outputs: Any) -> None:
        """Add the loss of a training batch."""
        loss, divided_by = training_loss(trainer, outputs)
        if loss is not None:
            # Half precision must not round the sum.
            self._sum = loss.reshape(()).float() * divided_by + self._sum
            self._count += 1

    def take(self, trainer: Trainer) -> float:
        """Return the mean over batches and ranks, and start again; NaN if there was no loss."""
        sums = torch.tensor([float(self._sum), self._count], dtype=torch.float64)
        self._sum, self._count = 0.0, 0
        total, count = sum_over_ranks(trainer, sums).tolist()
        return total / count if count else float("nan")

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint."""
        return {"sum": float(self._sum), "count": self._count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a checkpoint; raises ValueError if the state is not valid."""
        values = read_entries(state, {"sum": number, "count": count})
        self._sum, self._count = values["sum"], values["count"]
