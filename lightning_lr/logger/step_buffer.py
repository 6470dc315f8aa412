"""Losses and learning rates of the latest steps, kept where they are until somebody reads them.

Reading one loss from a GPU waits for the GPU. A buffer holds the tensors of many steps and reads them in
one transfer, after one reduction where there are several ranks.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_lr.output.points import Point

__all__ = ["StepBuffer", "StepRecord", "point_of", "with_factors"]


@dataclass
class StepRecord:
    """What one step was made with and what came out.

    Args:
        step: The x of the step's points.
        wall_time: When its last batch ended, in seconds since the epoch.
        rates: Learning rates (and the like) by tag.
        losses: The loss of each of its batches that had one, averaged over the ranks.
        weights: The size of each of these batches.
    """

    step: int
    wall_time: float
    rates: dict[str, float] = field(default_factory=dict)
    losses: list[float] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)


class _Batch(NamedTuple):
    step: int
    wall_time: float
    loss: Tensor | None
    scale: float
    weight: float


class _Rate(NamedTuple):
    step: int
    wall_time: float
    tag: str
    value: float | Tensor


class StepBuffer:
    """Collects the batches and the rates of steps; gives them back as records.

    Example:
        >>> buffer = StepBuffer()
        >>> buffer.add_rate(0, "lr/SGD", 0.1)
        >>> buffer.add_batch(0, torch.tensor(0.5), scale=2, weight=32)
        >>> [record] = buffer.drain()
        >>> record.rates, record.losses
        ({'lr/SGD': 0.1}, [1.0])
    """

    def __init__(self) -> None:
        self._batches: list[_Batch] = []
        self._rates: list[_Rate] = []

    def add_rate(self, step: int, tag: str, rate: float | Tensor) -> None:
        """Keep a rate of a step; a tensor is copied, since optimizers change it in place."""
        copy = rate.detach().clone() if isinstance(rate, Tensor) else float(rate)
        self._rates.append(_Rate(step, time.time(), tag, copy))

    def add_batch(self, step: int, loss: Tensor | None, *, scale: float, weight: float) -> None:
        """Keep the loss of one batch of a step.

        Args:
            step: The step that the batch belongs to; several batches make one step under accumulation.
            loss: A tensor of one element that nobody changes afterwards; None for a batch without loss.
            scale: What the loss has to be multiplied by.
            weight: The size of the batch.
        """
        self._batches.append(_Batch(step, time.time(), loss, scale, weight))

    def drain(
        self, before: float = math.inf, *, reduce: Callable[[Tensor], Tensor] | None = None
    ) -> list[StepRecord]:
        """Remove and return the steps below `before`.

        Args:
            before: Steps from here on are kept, because more of their batches are to come.
            reduce: Sums a tensor over all ranks. It is called once, or not at all on an empty buffer, with
                the same shape on every rank if all have seen the same number of batches.

        Returns:
            The records in the order of their steps.
        """
        batches = [batch for batch in self._batches if batch.step < before]
        rates = [rate for rate in self._rates if rate.step < before]
        self._batches = [batch for batch in self._batches if batch.step >= before]
        self._rates = [rate for rate in self._rates if rate.step >= before]
        records: dict[int, StepRecord] = {}
        for rate, value in zip(rates, _read([rate.value for rate in rates]), strict=True):
            record = records.setdefault(rate.step, StepRecord(rate.step, rate.wall_time))
            record.rates[rate.tag] = value
        for batch, loss in zip(batches, _mean_over_ranks(batches, reduce), strict=True):
            record = records.setdefault(batch.step, StepRecord(batch.step, batch.wall_time))
            record.wall_time = batch.wall_time
            if loss is not None:
                record.losses.append(loss * batch.scale)
                record.weights.append(batch.weight)
        return [records[step] for step in sorted(records)]


def point_of(record: StepRecord) -> Point:
    """Return the point of a step: its rates with their factors, and its loss."""
    values = with_factors(record.rates)
    if record.losses:
        values["loss/train"] = sum(record.losses) / len(record.losses)
    return Point(record.step, record.wall_time, values)


def with_factors(rates: Mapping[str, float]) -> dict[str, float]:
    """Add to the rates of a step the factor, LR / base LR, of every group whose base is there and not 0.

    Example:
        >>> with_factors({"lr/SGD": 0.05, "lr_base/SGD": 0.1})
        {'lr/SGD': 0.05, 'lr_base/SGD': 0.1, 'lr_factor/SGD': 0.5}
    """
    factors = {
        f"lr_factor/{tag.removeprefix('lr_base/')}": rates[f"lr/{tag.removeprefix('lr_base/')}"] / base
        for tag, base in rates.items()
        if tag.startswith("lr_base/") and base
    }
    return {**rates, **factors}


def _mean_over_ranks(batches: list[_Batch], reduce: Callable[[Tensor], Tensor] | None) -> list[float | None]:
    """Return one loss per batch, None where no rank had one."""
    if not batches:
        return []
    tensors = [batch.loss for batch in batches]
    zero = next((torch.zeros_like(tensor) for tensor in tensors if tensor is not None), torch.zeros(()))
    losses = torch.stack([(zero if tensor is None else tensor).reshape(()) for tensor in tensors])
    # Half precision must not round the sum over the ranks.
    losses = losses.to(torch.promote_types(losses.dtype, torch.float32))
    present = [float(tensor is not None) for tensor in tensors]
    if reduce is not None:
        # A rank that has no loss does not know of which type those of the others are.
        losses = losses.double()
        reduced = reduce(torch.cat([losses, losses.new_tensor(present)])).tolist()
        return _means(reduced[: len(batches)], reduced[len(batches) :])
    return _means(losses.tolist(), present)


def _means(sums: Sequence[float], counts: Sequence[float]) -> list[float | None]:
    return [total / count if count else None for total, count in zip(sums, counts, strict=True)]


def _read(values: list[float | Tensor]) -> list[float]:
    tensors = [value for value in values if isinstance(value, Tensor)]
    # The LRs of some groups may be on the device and those of others not.
    device = max((tensor.device for tensor in tensors), key=lambda each: each.type != "cpu", default=None)
    read = iter(torch.stack([tensor.to(device) for tensor in tensors]).tolist() if tensors else ())
    return [next(read) if isinstance(value, Tensor) else value for value in values]
