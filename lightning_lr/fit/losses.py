"""Finds the losses of a fit: those that steps return, and those that a validation only logs."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor

from lightning_lr.fit.lightnings import LightningModule, Trainer

__all__ = ["ValidationLoss", "batch_size", "loss_in", "missing_loss", "returned_loss", "training_loss"]

_USUAL_NAMES = ("val_loss", "val/loss", "valid_loss", "valid/loss", "validation_loss", "validation/loss")


class ValidationLoss:
    """Collects the losses of one validation: the returned ones of each loader, or else the logged one."""

    def __init__(self) -> None:
        self._stale: dict[str, Tensor] = {}
        self._batches: list[tuple[int, Tensor, int]] = []
        self._loaders = 0

    def start(self, metrics: Mapping[str, Tensor], *, loaders: int) -> None:
        """Begin a validation; `metrics` are the Trainer's `callback_metrics` before it."""
        self._stale = dict(metrics)
        self._batches = []
        self._loaders = loaders

    def add(self, outputs: Any, batch: Any, *, loader: int) -> None:
        """Add what `validation_step` returned for a batch of a loader."""
        loss = returned_loss(outputs)
        if loss is not None:
            self._batches.append((loader, loss.clone(), batch_size(batch)))

    def fresh(self, metrics: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the metrics that this validation has logged.

        The Trainer keeps a logged value, as the same tensor, until the next one. So a value is from this
        validation if it is a different tensor from the one before the validation.
        """
        return {name: value for name, value in metrics.items() if value is not self._stale.get(name)}

    def by_batch(self, logged: Mapping[str, Sequence[Tensor]]) -> list[float]:
        """Return the loss of each batch: the returned ones, or else those among the values `logged`."""
        found = [loss for _, loss, _ in self._batches]
        if not found:
            names, _ = _logged_losses(logged)
            found = [loss for name in names.values() for loss in logged[name]]
        return torch.stack([loss.detach().float().reshape(()) for loss in found]).tolist() if found else []

    def finish(
        self, metrics: Mapping[str, Tensor], *, reduce: Callable[[Tensor], Tensor] | None
    ) -> tuple[dict[str, float], str]:
        """End the validation.

        Args:
            metrics: The Trainer's `callback_metrics` after it.
            reduce: Sums a tensor over all ranks; called once.

        Returns:
            The mean loss over the samples by tag, and the problem if there is no loss.
        """
        sums = _weighted_sums(self._batches, self._loaders)
        if reduce is not None:
            sums = reduce(sums)
        returned = [(loader, loss / weight) for loader, (loss, weight) in enumerate(sums.tolist()) if weight]
        if returned:
            return {_tag(loader if self._loaders > 1 else None): loss for loader, loss in returned}, ""
        fresh = self.fresh(metrics)
        names, problem = _logged_losses(fresh)
        return {_tag(loader): float(fresh[name]) for loader, name in names.items()}, problem


def training_loss(trainer: Trainer, pl_module: LightningModule, outputs: Any) -> tuple[Tensor | None, int]:
    """Return the loss in the `outputs` of `on_train_batch_end`, and the number by which Lightning divided it.

    The loss is a tensor of one element on its device that nobody changes afterwards, or None.
    """
    loss = returned_loss(outputs)
    if pl_module.automatic_optimization:
        return loss, trainer.accumulate_grad_batches
    # Lightning copies the loss of an automatic step, but not that of a manual one.
    return None if loss is None else loss.clone(), 1


def returned_loss(outputs: Any) -> Tensor | None:
    """Return the detached loss in the output of a step, or None if it is not a single number."""
    loss = loss_in(outputs)
    if loss is None or loss.numel() != 1 or loss.is_complex():
        return None
    # Lightning has mostly done so, and this is asked at every step.
    return loss.detach() if loss.requires_grad else loss


def loss_in(outputs: Any) -> Tensor | None:
    """Return the loss in the output of a step: the tensor itself, or the one under `loss`."""
    # What Lightning makes of it first: asking an abstract class takes longer.
    is_mapping = type(outputs) is dict or isinstance(outputs, Mapping)
    loss = outputs.get("loss") if is_mapping else outputs
    return loss if isinstance(loss, Tensor) else None


def missing_loss(outputs: Any, *, manual: bool) -> tuple[str, str]:
    """Return why the output of a training step has no loss to show, and what to do about it, if anything."""
    loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
    if isinstance(loss, Tensor):
        if loss.is_complex():
            return "a complex loss", "Return a real number."
        shape = tuple(loss.shape)
        return f"a loss of shape {shape}, not a single number,", "Return its mean, `loss.mean()`."
    if loss is not None:
        return f"a loss of type {type(loss).__name__}", "Return a tensor with one number."
    names = [f"`{name}`" for name in outputs if name != "loss"] if isinstance(outputs, Mapping) else []
    if names:
        return f"a dict with {', '.join(names)} and no `loss`", "Add the loss to it, under `loss`."
    # Under automatic optimization, it means to skip the batch.
    return "no loss", "Return the loss at the end of the step; detached will do." if manual else ""


def batch_size(batch: Any) -> int:
    """Return the length of the first tensor in a batch, as Lightning does to weight a mean; else 1.

    It never raises: it is a guess, and a batch may be of any class.

    Example:
        >>> batch_size({"image": torch.zeros(32, 3), "label": torch.zeros(32)})
        32
    """
    try:
        tensor = _first_tensor(batch)
        return tensor.shape[0] if tensor is not None and tensor.ndim else 1
    except Exception:  # noqa: BLE001 (whatever the code of the batch raises)
        return 1


def _first_tensor(batch: Any) -> Tensor | None:
    if isinstance(batch, Tensor):
        return batch
    if isinstance(batch, list | tuple):
        parts: Iterable[Any] = batch
    elif isinstance(batch, Mapping):
        parts = batch.values()
    elif is_dataclass(batch):
        # By name, since one with slots has no `__dict__`; a field may be missing.
        parts = (getattr(batch, each.name, None) for each in fields(batch))
    else:
        return None
    for part in parts:
        tensor = _first_tensor(part)
        if tensor is not None:
            return tensor
    return None


def _weighted_sums(batches: Sequence[tuple[int, Tensor, int]], loaders: int) -> Tensor:
    """Return the sum of loss x size and the sum of sizes for each loader, shape (loaders, 2)."""
    sums = torch.zeros(loaders, 2, dtype=torch.float64)
    if batches:
        # One transfer from the device for all batches.
        losses = torch.stack([loss.reshape(()) for _, loss, _ in batches]).tolist()
        for (loader, _, size), loss in zip(batches, losses, strict=True):
            sums[loader] += torch.tensor([loss * size, size], dtype=torch.float64)
    return sums


def _logged_losses(names: Iterable[str]) -> tuple[dict[int | None, str], str]:
    """Return the logged loss of each loader (None for a single one), or the problem."""
    losses: dict[str, dict[int | None, str]] = {}
    for name in names:
        curve, _, loader = name.partition("/dataloader_idx_")
        if "loss" in curve.lower() and not re.search(r"_(step|epoch)$", curve):
            losses.setdefault(curve, {})[int(loader) if loader else None] = name
    usual = [curve for curve in _USUAL_NAMES if curve in losses]
    if usual or len(losses) == 1:
        return losses[(usual or list(losses))[0]], ""
    found = f"logs several losses ({', '.join(losses)})" if losses else "returns and logs no loss"
    return {}, f"`validation_step` {found}. Return the loss from it."


def _tag(loader: int | None) -> str:
    return "loss/val" if loader is None else f"loss/val/dataloader_idx_{loader}"
