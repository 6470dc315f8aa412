"""Exchanges values between the processes of a fit, so that all of them make the same decisions.

Every function here is a collective: all ranks call it in the same order, or some would wait forever.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from lightning_lr.fit.lightnings import Trainer, lightning_of

__all__ = [
    "epochs_are_in_step",
    "gather_from_ranks",
    "mean_over_ranks",
    "mean_unless_terminated",
    "rank_sum",
    "sum_over_ranks",
    "validations_are_in_step",
]


def sum_over_ranks(trainer: Trainer, values: Tensor) -> Tensor:
    """Return the sum of a tensor of one shape and type over all ranks, on the CPU if there are several."""
    if trainer.world_size == 1:
        return values
    strategy = trainer.strategy
    summed: Tensor = strategy.reduce(values.to(strategy.root_device), reduce_op="sum")
    return summed.cpu()


def rank_sum(trainer: Trainer) -> Callable[[Tensor], Tensor] | None:
    """Return the function that sums a tensor over all ranks, or None if there is only one."""
    return partial(sum_over_ranks, trainer) if trainer.world_size > 1 else None


def mean_over_ranks(trainer: Trainer, value: float | None) -> float | None:
    """Return the mean of a value over the ranks that have one, or None if no rank has."""
    if trainer.world_size == 1:
        return value
    pair = torch.tensor(_total_and_count(value), dtype=torch.float64)
    total, count = sum_over_ranks(trainer, pair).tolist()
    return total / count if count else None


def mean_unless_terminated(trainer: Trainer, value: float | None) -> float | None:
    """Return `mean_over_ranks`.

    Raises:
        SIGTERMException: A rank has received SIGTERM. All ranks end here, so that none waits for another.
    """
    values = [*_total_and_count(value), float(trainer.received_sigterm)]
    sums = sum_over_ranks(trainer, torch.tensor(values, dtype=torch.float64))
    total, count, terminated = sums.tolist()
    if terminated:
        raise lightning_of(trainer).utilities.exceptions.SIGTERMException
    return total / count if count else None


def _total_and_count(value: float | None) -> tuple[float, float]:
    return (0.0, 0.0) if value is None else (value, 1.0)


def gather_from_ranks(trainer: Trainer, value: float) -> list[float]:
    """Return the value of every rank."""
    if trainer.world_size == 1:
        return [value]
    strategy = trainer.strategy
    local = torch.tensor(value, dtype=torch.float64, device=strategy.root_device)
    # A preview of a fit over several ranks runs in one process, and no other ranks answer.
    gathered: list[float] = strategy.all_gather(local).reshape(-1).tolist()
    return gathered


def epochs_are_in_step(trainer: Trainer) -> bool:
    """Return whether epochs are known to end with the same step on all ranks."""
    first, *others = gather_from_ranks(trainer, trainer.num_training_batches)
    # Streams without a length may end after different steps.
    return not others or (math.isfinite(first) and set(others) == {first})


def validations_are_in_step(trainer: Trainer) -> bool:
    """Return whether all ranks are known to validate after the same steps."""
    owners: list[Any] = [trainer.lightning_module, trainer.datamodule]  # type: ignore[attr-defined]
    if any(getattr(each, "allow_zero_length_dataloader_with_multiple_devices", False) for each in owners):
        return trainer.world_size == 1
    return trainer.check_val_every_n_epoch is None or epochs_are_in_step(trainer)
