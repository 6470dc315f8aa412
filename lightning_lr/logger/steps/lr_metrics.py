"""Keeps the LRs where other callbacks look: in `trainer.callback_metrics`, and in the progress bar."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_lr.fit.internals import bar_metrics_of, callback_metrics_of
from lightning_lr.fit.lightnings import Trainer

__all__ = ["LRMetrics"]


# A tensor takes a microsecond to make.
_MOST_TENSORS = 16


class LRMetrics:
    """The LRs of the last step by tag, among the Trainer's metrics, which Lightning does not log again.

    Every step has tensors of its own: callbacks keep what they have seen, as the best value for example. An
    optimizer with more than 16 different LRs is shown only if that `is_due`, or by `catch_up`.

    Args:
        in_bar: Whether the progress bar shows them too.
    """

    def __init__(self, *, in_bar: bool = False) -> None:
        self.tags: set[str] = set()
        self.is_due = True
        self._in_bar = in_bar
        self._metrics: dict[str, Any] = {}
        self._bar: dict[str, Any] = {}
        self._shown: dict[tuple[str, ...], Sequence[float | Tensor]] = {}
        self._late: dict[tuple[str, ...], Sequence[float | Tensor]] = {}

    def follow(self, trainer: Trainer) -> None:
        """Find the metrics of a Trainer, which makes new ones for each fit."""
        metrics = callback_metrics_of(trainer)
        if metrics is not self._metrics:
            self._metrics, self._bar = metrics, bar_metrics_of(trainer)
            self._shown, self._late = {}, {}

    def show(self, tags: tuple[str, ...], lrs: Sequence[float | Tensor]) -> None:
        """Put the LRs of an optimizer among the metrics; no tensor of a device is read."""
        if len(lrs) == 1 and type(lrs[0]) is float and not self._in_bar:
            # At every step, and the usual case.
            if lrs != self._shown.get(tags):
                self._shown[tags] = lrs
                self._metrics[tags[0]] = _tensor(lrs[0])
                self.tags.add(tags[0])
            return
        are_floats = set(map(type, lrs)) <= {float}
        if are_floats and self._shown.get(tags) == lrs:
            self._late.pop(tags, None)
            return
        # Equal numbers share a tensor, and groups may share one.
        different = {lr if are_floats else id(lr): lr for lr in lrs}
        if len(different) > _MOST_TENSORS and not self.is_due:
            self._late[tags] = lrs
            return
        self._late.pop(tags, None)
        if are_floats:
            self._shown[tags] = lrs
        tensors = {key: _tensor(lr) for key, lr in different.items()}
        self.tags.update(tags)
        self._metrics.update(
            (tag, tensors[lr if are_floats else id(lr)]) for tag, lr in zip(tags, lrs, strict=True)
        )
        if self._in_bar:
            on_host = [(tag, lr) for tag, lr in zip(tags, lrs, strict=True) if not _is_on_device(lr)]
            self._bar.update((tag, float(lr)) for tag, lr in on_host)

    def highest(self) -> float:
        """Return the highest LR of the last step; NaN if there is none. A tensor of a device is read."""
        return max((float(self._metrics[tag]) for tag in self.tags), default=math.nan)

    def catch_up(self) -> None:
        """Show what was not due."""
        self.is_due = True
        for tags, lrs in list(self._late.items()):
            self.show(tags, lrs)


def _tensor(lr: float | Tensor) -> Tensor:
    # `torch.tensor` takes twice as long.
    return lr.detach().clone() if isinstance(lr, Tensor) else torch.full((), lr, dtype=torch.float64)


def _is_on_device(lr: float | Tensor) -> bool:
    return isinstance(lr, Tensor) and lr.device.type != "cpu"
