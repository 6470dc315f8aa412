"""Reads optimizers: those inside others, the LRs of their groups, and the names by which users know these."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

__all__ = ["differs", "group_names", "groups_of", "is_same_lr", "lrs_by_group", "with_inner"]

# A tensor of 32 bits rounds an LR, and rescaling rounds the base LR and the LR separately.
_ROUNDING = 1e-6


def with_inner(optimizers: Iterable[Optimizer]) -> Iterator[Optimizer]:
    """Yield optimizers, each followed by those that it holds, as wrappers do."""
    seen: list[Optimizer] = []
    waiting = list(optimizers)
    while waiting:
        optimizer = waiting.pop(0)
        if not any(each is optimizer for each in seen):
            seen.append(optimizer)
            waiting = [each for each in vars(optimizer).values() if isinstance(each, Optimizer)] + waiting
            yield optimizer


def groups_of(optimizers: Iterable[Optimizer]) -> list[dict[str, Any]]:
    """Return the parameter groups of all optimizers in order."""
    return [group for optimizer in optimizers for group in optimizer.param_groups]


def lrs_by_group(optimizers: Iterable[Optimizer]) -> dict[int, float]:
    """Return the LR of each group by the id of the group."""
    return {id(group): float(group["lr"]) for group in groups_of(optimizers)}


def is_same_lr(found: float | Tensor, expected: float | Tensor) -> bool:
    """Tell whether two LRs differ by no more than rounding; for a tensor on a GPU it waits."""
    return math.isclose(found, expected, rel_tol=_ROUNDING)


def differs(found: float | Tensor, expected: float | Tensor) -> bool:
    """Tell whether an LR differs by more than rounding; one on an accelerator is not compared."""
    on_device = isinstance(found, Tensor) and found.device.type != "cpu"
    return not on_device and not is_same_lr(found, expected)


def group_names(
    optimizers: Sequence[Optimizer], scheduled: Iterable[tuple[Optimizer, str | None]] = ()
) -> list[list[str]]:
    """Name every parameter group as Lightning's `LearningRateMonitor` does.

    Args:
        optimizers: The optimizers of the run.
        scheduled: The optimizer of each LR scheduler, and the scheduler's name if the user has set one.

    Returns:
        For each optimizer one name per group: `lr-AdamW`; `lr-AdamW-1` for a second AdamW; `lr-AdamW/pg2` or
        `lr-AdamW/head` if there are several groups or they have names.

    Raises:
        ValueError: Two groups of one optimizer have the same name.

    Example:
        >>> import torch
        >>> weight, bias = torch.nn.Linear(2, 2).parameters()
        >>> group_names([torch.optim.SGD([{"params": weight}, {"params": bias, "name": "bias"}], lr=0.1)])
        [['lr-SGD/pg1', 'lr-SGD/bias']]
    """
    seen: Counter[type[Optimizer]] = Counter()
    named: dict[int, str] = {}
    unscheduled = ((optimizer, None) for optimizer in optimizers)
    for optimizer, given in [*scheduled, *unscheduled]:
        if id(optimizer) in named:
            continue
        if given is None:
            seen[type(optimizer)] += 1
        repeats = seen[type(optimizer)] - 1
        name = given or f"lr-{type(optimizer).__name__}"
        named[id(optimizer)] = f"{name}-{repeats}" if repeats > 0 else name
    return [_suffixed(named[id(optimizer)], optimizer.param_groups) for optimizer in optimizers]


def _suffixed(name: str, groups: list[dict[str, Any]]) -> list[str]:
    if len(groups) == 1 and not groups[0].get("name"):
        return [name]
    suffixes = [group.get("name", f"pg{number}") for number, group in enumerate(groups, start=1)]
    repeated = sorted(suffix for suffix, count in Counter(suffixes).items() if count > 1)
    if repeated:
        raise ValueError(
            f"The parameter groups of one optimizer must have different names, but {name} has several called"
            f" {', '.join(repeated)}."
        )
    return [f"{name}/{suffix}" for suffix in suffixes]
