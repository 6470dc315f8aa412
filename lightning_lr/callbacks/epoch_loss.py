"""The mean loss of a running epoch, which goes on where a checkpoint was saved."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torchmetrics import MeanMetric

from lightning_lr.step_buffer import StepRecord

__all__ = ["EpochLoss"]


class EpochLoss:
    """The mean of the losses of an epoch, weighed by the sizes of their batches.

    Example:
        >>> mean = EpochLoss()
        >>> mean.add([StepRecord(0, 0.0, losses=[1.0, 4.0], weights=[2, 1])])
        >>> mean.take(), mean.take()
        (2.0, None)
    """

    def __init__(self) -> None:
        # torchmetrics replaces NaN by this value: with NaN itself, a diverged epoch shows as one. (Its
        # strategy "disable" would ignore the weights.)
        self._mean = MeanMetric(nan_strategy=math.nan, sync_on_compute=False).set_dtype(torch.float64)

    def reset(self) -> None:
        """Forget everything."""
        self._mean.reset()

    def add(self, records: Iterable[StepRecord]) -> None:
        """Take the losses of some steps into account."""
        pairs = [pair for record in records for pair in zip(record.losses, record.weights, strict=True)]
        if pairs:
            losses, weights = torch.tensor(pairs, dtype=torch.float64).unbind(1)
            self._mean.update(losses, weights)

    def take(self) -> float | None:
        """Return the mean and forget the losses; None where there was none."""
        if not self._mean.update_called:
            return None
        mean = float(self._mean.compute())
        self._mean.reset()
        return mean

    def state_dict(self) -> dict[str, Any]:
        """Return the mean so far and its weight."""
        if not self._mean.update_called:
            return {"epoch_loss": 0.0, "epoch_weight": 0.0}
        weight = float(torch.as_tensor(self._mean.weight))
        return {"epoch_loss": float(self._mean.compute()), "epoch_weight": weight}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        if state["epoch_weight"] > 0:
            self._mean.update(state["epoch_loss"], state["epoch_weight"])
