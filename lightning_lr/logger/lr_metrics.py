"""Keeps the LRs where other callbacks look: in `trainer.callback_metrics`, and in the progress bar."""

from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import Tensor

from lightning_lr.fit.internals import bar_metrics_of, callback_metrics_of

__all__ = ["LRMetrics"]


class LRMetrics:
    """The LRs of the last step by tag, among the Trainer's metrics, which Lightning does not log again.

    Every step has tensors of its own: callbacks keep what they have seen, as the best value for example.

    Args:
        in_bar: Whether the progress bar shows them too.
    """

    def __init__(self, *, in_bar: bool = False) -> None:
        self.tags: set[str] = set()
        self._in_bar = in_bar
        self._metrics: dict[str, Any] = {}
        self._bar: dict[str, Any] = {}
        self._shown: dict[tuple[str, ...], Sequence[float | Tensor]] = {}

    def follow(self, trainer: Trainer) -> None:
        """Find the metrics of a Trainer, which makes new ones for each fit."""
        metrics = callback_metrics_of(trainer)
        if metrics is not self._metrics:
            self._metrics, self._bar = metrics, bar_metrics_of(trainer)
            self._shown = {}

    def show(self, tags: tuple[str, ...], lrs: Sequence[float | Tensor]) -> None:
        """Put the LRs of an optimizer among the metrics; no tensor of a device is read."""
        if set(map(type, lrs)) <= {float}:
            if self._shown.get(tags) == lrs:
                return
            self._shown[tags] = lrs
            values = torch.tensor(lrs, dtype=torch.float64).unbind()
        else:
            values = tuple(torch.as_tensor(lr).detach().clone() for lr in lrs)
        self.tags.update(tags)
        self._metrics.update(zip(tags, values, strict=True))
        if self._in_bar:
            on_host = {tag: lr for tag, lr in zip(tags, lrs, strict=True) if not _is_on_device(lr)}
            self._bar.update({tag: float(lr) for tag, lr in on_host.items()})


def _is_on_device(lr: float | Tensor) -> bool:
    return isinstance(lr, Tensor) and lr.device.type != "cpu"
