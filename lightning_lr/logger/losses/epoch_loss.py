"""The mean loss of the running epoch, which a resumed run continues."""

import math
import time
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torchmetrics import MeanMetric

from lightning_lr.logger.steps.buffer import StepRecord
from lightning_lr.output.points import Point

__all__ = ["EpochLoss"]


class EpochLoss:
    """The mean loss of an epoch, weighted by batch size.

    An epoch may end before the losses of its last steps have been read from the device.

    Example:
        >>> mean = EpochLoss()
        >>> mean.end_epoch(0)
        >>> first, second = (StepRecord(step, 0.0, losses=[1.0, 4.0], weights=[2, 1]) for step in (0, 1))
        >>> [(point.step, point.values) for point in mean.add([first, second])]
        [(0, {'loss/train_epoch': 2.0})]
        >>> mean.add([])
        []
    """

    def __init__(self) -> None:
        # torchmetrics replaces NaN by this value: NaN itself keeps a diverged epoch visible. (Its strategy
        # "disable" would ignore the weights.)
        self._mean = MeanMetric(nan_strategy=math.nan, sync_on_compute=False).set_dtype(torch.float64)
        self._ends: list[tuple[int, float]] = []

    def end_epoch(self, step: int) -> None:
        """Note that an epoch ends with this step; a second call is harmless."""
        self._ends.append((step, time.time()))

    def add(self, records: Iterable[StepRecord]) -> list[Point]:
        """Add the losses of some steps; return the means of the epochs that end with them."""
        records, points = list(records), list[Point]()
        for step, wall_time in self._ends:
            self._update(record for record in records if record.step <= step)
            records = [record for record in records if record.step > step]
            if self._mean.update_called:
                points.append(Point(step, wall_time, {"loss/train_epoch": float(self._mean.compute())}))
                self._mean.reset()
        self._ends = []
        self._update(records)
        return points

    def _update(self, records: Iterable[StepRecord]) -> None:
        pairs = [pair for record in records for pair in zip(record.losses, record.weights, strict=True)]
        if pairs:
            losses, weights = torch.tensor(pairs, dtype=torch.float64).unbind(1)
            self._mean.update(losses, weights)

    def state_dict(self) -> dict[str, Any]:
        """Return the mean so far and its weight."""
        if not self._mean.update_called:
            return {"epoch_loss": 0.0, "epoch_weight": 0.0}
        weight = float(torch.as_tensor(self._mean.weight))
        return {"epoch_loss": float(self._mean.compute()), "epoch_weight": weight}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` returned."""
        if state["epoch_weight"] > 0:
            self._mean.update(state["epoch_loss"], state["epoch_weight"])
