"""Reads the monitored value of a validation or of training, never a stale one, and the same on every rank."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from lightning_lr.checkpoints.saved_state import count, number, read_entries
from lightning_lr.fit.lightnings import BaseCallback, LightningModule, MisconfigurationException, Trainer
from lightning_lr.fit.losses import ValidationLoss, training_loss
from lightning_lr.fit.ranks import gather_from_ranks, mean_over_ranks, rank_sum, sum_over_ranks
from lightning_lr.fit.run_length import check_epochs_end_together

__all__ = [
    "RETURNED",
    "TRAINING",
    "MonitoredValue",
    "ReadsValidations",
    "TrainingLoss",
    "TrainingValue",
    "check_has_validations",
    "check_validations",
]

# How many values of steps are kept on their device; LRLogger keeps as many.
_MOST_UNREAD = 1000
RETURNED = "loss/val"
TRAINING = "loss/train"


def check_has_validations(trainer: Trainer) -> None:
    """Refuse a fit without validations, before its loaders are set up."""
    if not trainer.enable_validation:
        raise MisconfigurationException(
            "PlateauDetector has no validation to judge. Give the fit a validation loader, the module a"
            " `validation_step`, and the Trainer `limit_val_batches` above 0; or judge the training"
            " loss, with `PlateauDetector('loss/train', every_n_steps=...)`; or remove PlateauDetector."
        )


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


class ReadsValidations(BaseCallback):
    """A callback with a value that it reads of every validation, and takes in `on_validation_end`."""

    _value: MonitoredValue

    @override
    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._value.start(trainer)

    @override
    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._value.add(outputs, batch, loader=dataloader_idx)


class _Mean:
    """A mean of values that stay on their device until it is taken, or until there are many of them."""

    def __init__(self) -> None:
        self._sum = 0.0
        self._count = 0
        self._unread: list[tuple[Tensor, int]] = []

    def add(self, value: Tensor, *, scale: int = 1) -> None:
        """Add a tensor of one element that nobody changes afterwards; at every step, so no more than that."""
        self._unread.append((value, scale))
        if len(self._unread) == _MOST_UNREAD:
            self._read()

    def _read(self) -> None:
        if not self._unread:
            return
        # Not every device has doubles, which the numbers of a list are.
        values = torch.stack([each.reshape(()) for each, _ in self._unread]).tolist()
        # One by one and without the compensation of `sum`, so that it does not matter when they are read.
        for value, (_, scale) in zip(values, self._unread, strict=True):
            self._sum += value * scale
        self._count += len(self._unread)
        self._unread = []

    def take(self, trainer: Trainer) -> float | None:
        """Return the mean over all ranks, None if no value was added, and start again; all ranks call it."""
        self._read()
        sums = torch.tensor([self._sum, self._count], dtype=torch.float64)
        self._sum, self._count = 0.0, 0
        total, count = sum_over_ranks(trainer, sums).tolist()
        return total / count if count else None

    def state_dict(self) -> dict[str, Any]:
        self._read()
        return {"sum": self._sum, "count": self._count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        values = read_entries(state, {"sum": number, "count": count})
        self._sum, self._count, self._unread = values["sum"], values["count"], []


class TrainingLoss:
    """The mean training loss since the last `take`; until then it stays on the device."""

    def __init__(self) -> None:
        self._mean = _Mean()

    def add(self, trainer: Trainer, pl_module: LightningModule, outputs: Any) -> None:
        """Add the loss of a training batch."""
        loss, divided_by = training_loss(trainer, pl_module, outputs)
        if loss is not None:
            self._mean.add(loss, scale=divided_by)

    def take(self, trainer: Trainer) -> float | None:
        """Return the mean over batches and ranks, None if there was no loss, and start again."""
        return self._mean.take(trainer)

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint."""
        return self._mean.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a checkpoint; raises ValueError if the state is not valid."""
        self._mean.load_state_dict(state)


class TrainingValue:
    """The mean over steps of a value of training since the last `take`; until then it stays on the device.

    Args:
        name: A name that `training_step` logs, or `loss/train`, the loss that it returns; `train_loss` means
            the same if the module logs nothing by that name.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._seen: Tensor | None = None
        self._logged = _Mean()

    def add(self, trainer: Trainer) -> None:
        """Add what a training batch has logged."""
        if self._name == TRAINING:
            return
        # The Trainer keeps a logged value, as the same tensor, until the next one.
        logged = trainer.callback_metrics.get(self._name)
        if logged is not None and logged is not self._seen:
            self._logged.add(logged.detach().clone())
        self._seen = logged

    def take(self, trainer: Trainer, training_loss: float | None) -> tuple[float | None, list[str]]:
        """Return the mean over batches and ranks, None if no rank has a value, and start again.

        All ranks call it. The second value is all names that there were.

        Args:
            trainer: The Trainer.
            training_loss: The mean of the losses that `training_step` returned.
        """
        logged = self._logged.take(trainer)
        is_loss = logged is None and self._name in (TRAINING, "train_loss")
        names = {*trainer.callback_metrics} | ({TRAINING} if training_loss is not None else set())
        return training_loss if is_loss else logged, sorted(names)

    def missing(self, trainer: Trainer, names: Iterable[str]) -> MisconfigurationException:
        """Return the error for steps without the value."""
        there = ", ".join(map(repr, names)) or "nothing"
        return MisconfigurationException(
            f"`PlateauDetector(monitor={self._name!r}, every_n_steps=...)`: training gave no {self._name!r}."
            f" There is {there}. Monitor one of these; or call `self.log({self._name!r}, ...)` in"
            " `training_step`, at every step; or return the loss from it and monitor 'loss/train'."
        )

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint."""
        return self._logged.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a checkpoint; raises ValueError if the state is not valid."""
        self._logged.load_state_dict(state)
