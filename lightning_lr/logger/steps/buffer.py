"""Keeps the losses and learning rates of the latest steps on their device until they are read.

Reading a loss from a GPU waits for the GPU. The buffer reads the tensors of many steps in one transfer, after
one reduction if there are several ranks.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_lr.output.points import Point

__all__ = ["StepBuffer", "StepRecord", "point_of"]


@dataclass
class StepRecord:
    """The rates and the losses of one step.

    Args:
        step: The x of the step's points.
        wall_time: When its last batch ended, in seconds since the epoch.
        rates: Learning rates, momentum and weight decay by tag.
        losses: One loss for each batch that has one, averaged over the ranks.
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


class _Rates(NamedTuple):
    step: int
    wall_time: float
    tags: Sequence[str]
    values: list[float | Tensor]


class StepBuffer:
    """Collects the batches and rates of steps and returns them as records.

    Example:
        >>> buffer = StepBuffer()
        >>> _ = buffer.add_rates(0, ["lr/SGD"], [0.1])
        >>> buffer.add_batch(0, torch.tensor(0.5), scale=2, weight=32)
        >>> [record] = buffer.drain()
        >>> record.rates, record.losses
        ({'lr/SGD': 0.1}, [1.0])
    """

    def __init__(self) -> None:
        self._batches: list[_Batch] = []
        self._rates: list[_Rates] = []

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(self._batches)

    def add_rates(
        self, step: int, tags: Sequence[str], values: Sequence[float | Tensor]
    ) -> list[float | Tensor]:
        """Add rates of a step and return them; tensors as copies, since optimizers change them in place."""
        kept = list(values)
        if not set(map(type, kept)) <= {float}:
            # Many groups may share one tensor.
            copies = {
                id(each): each.detach().reshape(()).clone() for each in kept if isinstance(each, Tensor)
            }
            kept = [copies[id(each)] if isinstance(each, Tensor) else float(each) for each in kept]
        self._rates.append(_Rates(step, time.time(), tags, kept))
        return kept

    def add_batch(self, step: int, loss: Tensor | None, *, scale: float, weight: float) -> None:
        """Add a batch of a step; under accumulation a step has several.

        Args:
            step: The x of the step.
            loss: A tensor of one element that nobody changes afterwards; None for a batch without loss.
            scale: The factor that undoes Lightning's division of the loss.
            weight: The size of the batch.
        """
        self._batches.append(_Batch(step, time.time(), loss, scale, weight))

    def drain(
        self, before: float = math.inf, *, reduce: Callable[[Tensor], Tensor] | None = None
    ) -> list[StepRecord]:
        """Remove the steps below `before`, which are complete, and return them in order.

        Args:
            before: The first step to keep.
            reduce: Sums a tensor over all ranks. It is called once, or not at all if there are no batches.
                The shape is the same on every rank if all have had the same number of batches.
        """
        batches = [batch for batch in self._batches if batch.step < before]
        rates = [row for row in self._rates if row.step < before]
        self._batches = [batch for batch in self._batches if batch.step >= before]
        self._rates = [row for row in self._rates if row.step >= before]
        records: dict[int, StepRecord] = {}
        for row, values in zip(rates, _read([row.values for row in rates]), strict=True):
            record = records.setdefault(row.step, StepRecord(row.step, row.wall_time))
            record.rates.update(zip(row.tags, values, strict=True))
        for batch, loss in zip(batches, _mean_over_ranks(batches, reduce), strict=True):
            record = records.setdefault(batch.step, StepRecord(batch.step, batch.wall_time))
            record.wall_time = batch.wall_time
            if loss is not None:
                record.losses.append(loss * batch.scale)
                record.weights.append(batch.weight)
        return [records[step] for step in sorted(records)]


def point_of(record: StepRecord) -> Point:
    """Return the point of a step: its rates, the factor LR / base LR of groups with a base LR, and its loss.

    Example:
        >>> record = StepRecord(0, 0.0, rates={"lr/SGD": 0.05, "lr_base/SGD": 0.1}, losses=[2.0])
        >>> point_of(record).values
        {'lr/SGD': 0.05, 'lr_base/SGD': 0.1, 'lr_factor/SGD': 0.5, 'loss/train': 2.0}
    """
    values = dict(record.rates)
    for tag in [tag for tag in values if tag.startswith("lr_base/")]:
        group, base = tag.removeprefix("lr_base/"), values[tag]
        if base:
            values[f"lr_factor/{group}"] = values[f"lr/{group}"] / base
    if record.losses:
        values["loss/train"] = sum(record.losses) / len(record.losses)
    return Point(record.step, record.wall_time, values)


def _mean_over_ranks(batches: list[_Batch], reduce: Callable[[Tensor], Tensor] | None) -> list[float | None]:
    """Return one loss per batch, None if no rank has one."""
    if not batches:
        return []
    tensors = [batch.loss for batch in batches]
    zero = next((torch.zeros_like(tensor) for tensor in tensors if tensor is not None), torch.zeros(()))
    losses = torch.stack([(zero if tensor is None else tensor).reshape(()) for tensor in tensors])
    # Half precision must not round the sum over the ranks.
    losses = losses.to(torch.promote_types(losses.dtype, torch.float32))
    counts = [float(tensor is not None) for tensor in tensors]
    if reduce is None:
        sums = losses.tolist()
    else:
        # In float64, since a rank without a loss does not know the type of the others' losses.
        losses = losses.double()
        reduced = reduce(torch.cat([losses, losses.new_tensor(counts)])).tolist()
        sums, counts = reduced[: len(batches)], reduced[len(batches) :]
    return [total / count if count else None for total, count in zip(sums, counts, strict=True)]


def _read(rows: list[list[float | Tensor]]) -> list[list[float]]:
    tensors = [value for row in rows for value in row if isinstance(value, Tensor)]
    if not tensors:
        return rows  # type: ignore[return-value]
    # The LRs of some groups may be on the device, and those of others on the CPU.
    device = max((tensor.device for tensor in tensors), key=lambda each: each.type != "cpu")
    read = iter(torch.stack([tensor.to(device) for tensor in tensors]).tolist())
    return [[next(read) if isinstance(value, Tensor) else value for value in row] for row in rows]
