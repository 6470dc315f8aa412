"""Finds the losses of a fit: what steps return, and what a validation returns or only logs."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import is_dataclass
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import Tensor

__all__ = ["ValidationLoss", "batch_size", "loss_in", "returned_loss", "training_loss"]

_USUAL_NAMES = ("val_loss", "val/loss", "valid_loss", "valid/loss", "validation_loss", "validation/loss")


class ValidationLoss:
    """Collects one validation: the returned losses by loader, or else the logged one."""

    def __init__(self) -> None:
        self._stale: dict[str, Tensor] = {}
        self._batches: list[tuple[int, Tensor, int]] = []
        self._loaders = 0

    def start(self, metrics: Mapping[str, Tensor], *, loaders: int) -> None:
        """Begin a validation.

        Args:
            metrics: The Trainer's callback metrics, where earlier validations have left theirs.
            loaders: The number of validation loaders.
        """
        self._stale = dict(metrics)
        self._batches = []
        self._loaders = loaders

    def add(self, outputs: Any, batch: Any, *, loader: int) -> None:
        """Take what `validation_step` returned for a batch of a loader."""
        loss = returned_loss(outputs)
        if loss is not None:
            self._batches.append((loader, loss.clone(), batch_size(batch)))

    def fresh(self, metrics: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the metrics that this validation has logged.

        The Trainer keeps what was logged once for ever, under the same tensor. So a value is of this
        validation if it is another tensor than the one that was there when the validation began.
        """
        return {name: value for name, value in metrics.items() if value is not self._stale.get(name)}

    def finish(
        self, metrics: Mapping[str, Tensor], *, reduce: Callable[[Tensor], Tensor] | None
    ) -> tuple[dict[str, float], str]:
        """End the validation.

        Args:
            metrics: The Trainer's callback metrics now.
            reduce: Sums a tensor over all ranks; called once.

        Returns:
            The mean loss over the samples by tag, and the problem where there is none.
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


def training_loss(trainer: Trainer, outputs: Any) -> tuple[Tensor | None, int]:
    """Return the loss of a training batch, and the number by which Lightning has divided it.

    Args:
        trainer: The Trainer of the running fit.
        outputs: What `on_train_batch_end` is given.

    Returns:
        A tensor of one element on its device, that nobody changes afterwards; None if there is no loss.
    """
    loss = returned_loss(outputs)
    if trainer.lightning_module.automatic_optimization:
        return loss, trainer.accumulate_grad_batches
    # Lightning has copied the loss of an automatic step, and not that of a manual one.
    return None if loss is None else loss.clone(), 1


def returned_loss(outputs: Any) -> Tensor | None:
    """Return the loss in what a step returned, detached; None if it is not a single number."""
    loss = loss_in(outputs)
    return loss.detach() if loss is not None and loss.numel() == 1 else None


def loss_in(outputs: Any) -> Tensor | None:
    """Return the loss in what a step returned: the tensor itself, or the one under `loss`."""
    loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
    return loss if isinstance(loss, Tensor) else None


def batch_size(batch: Any) -> int:
    """Return the length of the first tensor in a batch, as Lightning does to weigh a mean; else 1.

    Example:
        >>> batch_size({"image": torch.zeros(32, 3), "label": torch.zeros(32)})
        32
    """
    tensor = _first_tensor(batch)
    return len(tensor) if tensor is not None and tensor.ndim else 1


def _first_tensor(batch: Any) -> Tensor | None:
    if isinstance(batch, Tensor):
        return batch
    if isinstance(batch, list | tuple):
        parts: Iterable[Any] = batch
    elif isinstance(batch, Mapping):
        parts = batch.values()
    else:
        parts = vars(batch).values() if is_dataclass(batch) else ()
    for part in parts:
        tensor = _first_tensor(part)
        if tensor is not None:
            return tensor
    return None


def _weighted_sums(batches: Sequence[tuple[int, Tensor, int]], loaders: int) -> Tensor:
    """Return the sum of loss x size and the sum of sizes of each loader, shape (loaders, 2)."""
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
