"""Rescales what schedulers derive from base LRs, and begins schedules again that have not stepped yet.

The LRs of torch's schedulers follow from their base LRs. Those of others are told by the names of their
attributes; whether they follow is checked by running them ahead.
"""

from collections.abc import Container, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import ChainedScheduler, LRScheduler, ReduceLROnPlateau, SequentialLR
from torch.optim.swa_utils import SWALR

from lightning_lr.fit.internals import LAST_LRS, inner_schedulers, make_initial_step

__all__ = [
    "first_unmoved",
    "is_of_torch",
    "nested_schedulers",
    "rescale_schedulers",
    "rescaled_one_cycle",
    "scaled",
    "scales_by_group",
    "start_again",
]

# Words in the name of an attribute that holds the user's floor, or no LR.
_NO_LRS = {"min", "end", "final", "floor", "ratio", "factor", "scale", "decay", "mult", "steps", "epochs"}

# Rescaling rounds in float32 if LRs are tensors.
_ROUNDING = 1e-6


def nested_schedulers(schedulers: Iterable[Any]) -> list[Any]:
    """Return the schedulers and, at any depth, those inside a SequentialLR or ChainedScheduler."""
    found = []
    for scheduler in schedulers:
        found += [scheduler, *nested_schedulers(inner_schedulers(scheduler))]
    return found


def scaled(lr: Any, old: float, new: float) -> Any:
    """Return an LR, or a list of them, times `new / old`."""
    if isinstance(lr, list | tuple):
        return type(lr)([scaled(each, old, new) for each in lr])
    if isinstance(lr, Tensor):
        # In Python's precision: a GPU divides by multiplying with the rounded reciprocal.
        return torch.full_like(lr, float(lr) / old * new)
    return lr / old * new


def rescale_schedulers(
    schedulers: Iterable[Any], *, old: float, new: float, groups: Container[int] | None = None
) -> None:
    """Multiply the LRs that schedulers hold, apart from floors, by `new / old`.

    Args:
        schedulers: Those of the run.
        old: What becomes `new`.
        new: The new LR.
        groups: The ids of the groups whose LRs are multiplied, for schedulers that `scales_by_group`; None
            for all groups.
    """
    for scheduler in nested_schedulers(schedulers):
        if groups is None and _is_of_timm(scheduler):
            _rescale_timm(scheduler, old, new)
            continue
        for name in _names_of_lrs(scheduler):
            lrs = vars(scheduler)[name]
            setattr(
                scheduler,
                name,
                scaled(lrs, old, new)
                if groups is None
                else type(lrs)(
                    scaled(lr, old, new) if id(group) in groups else lr
                    for lr, group in zip(lrs, scheduler.optimizer.param_groups, strict=True)
                ),
            )


def scales_by_group(scheduler: Any) -> bool:
    """Tell whether a scheduler holds one LR for each group, so that some can be multiplied and others not."""
    if _is_of_timm(scheduler):
        return False
    groups = len(scheduler.optimizer.param_groups)
    lrs = [vars(scheduler)[name] for name in _names_of_lrs(scheduler)]
    return all(isinstance(each, list | tuple) and len(each) == groups for each in lrs)


def rescaled_one_cycle(group: Mapping[str, Any], old: float, new: float) -> dict[str, float | Tensor]:
    """Return the rescaled LRs of OneCycleLR in a group."""
    # Rounding to 12 digits recovers the divisors that the user wrote, and so the values of torch.
    before = group["initial_lr"]
    divisor, final_divisor = (
        float(f"{ratio:.12g}") for ratio in (group["max_lr"] / before, before / group["min_lr"])
    )
    max_lr = group["max_lr"] / old * new
    return {"max_lr": max_lr, "initial_lr": max_lr / divisor, "min_lr": max_lr / divisor / final_divisor}


def start_again(schedulers: Iterable[Any]) -> None:
    """Repeat the first step of each scheduler, which its constructor made."""
    for scheduler in schedulers:
        if isinstance(scheduler, SequentialLR):
            first, *_ = inner_schedulers(scheduler)
            start_again([first])
            vars(scheduler)[LAST_LRS] = first.get_last_lr()
        elif isinstance(scheduler, ChainedScheduler):
            start_again(inner_schedulers(scheduler))
        elif _is_of_timm(scheduler):
            scheduler.update_groups(scheduler.warmup_lr_init if scheduler.warmup_t else scheduler.base_values)
        elif isinstance(scheduler, LRScheduler) and not isinstance(scheduler, ReduceLROnPlateau | SWALR):
            # Not SWALR, which StochasticWeightAveraging adds during the run: it starts from the current LR.
            make_initial_step(scheduler)


def is_of_torch(scheduler: Any) -> bool:
    """Tell whether a scheduler is one of torch's own, whose LRs follow from base LRs."""
    return type(scheduler).__module__.startswith("torch.")


def first_unmoved(before: Mapping[int, float], after: Mapping[int, float]) -> tuple[int, float] | None:
    """Return the first step whose LR has not followed when all LRs were doubled, and that LR.

    Floors need not follow. Above half of the peak nothing is taken for one: such an LR must rise by half.

    Example:
        >>> first_unmoved({0: 0.1, 1: 0.08, 2: 0.001}, {0: 0.2, 1: 0.16, 2: 0.001})
        >>> first_unmoved({0: 0.1, 1: 0.1}, {0: 0.2, 1: 0.1})
        (1, 0.1)
    """
    peak = max(before.values(), default=0.0)
    for step, lr in before.items():
        now = after.get(step, 2 * lr)
        least = 1.5 * lr if lr >= peak / 2 else lr
        if not least * (1 - _ROUNDING) <= now <= 2 * lr * (1 + _ROUNDING):
            return step, now
    return None


def _is_of_timm(scheduler: Any) -> bool:
    return "base_values" in vars(scheduler) and getattr(scheduler, "param_group_field", None) == "lr"


def _rescale_timm(scheduler: Any, old: float, new: float) -> None:
    before = scheduler.base_values
    scheduler.base_values = scaled(before, old, new)
    if getattr(scheduler, "warmup_t", 0):
        # From the user's absolute start to the new base, as its constructor has it.
        start, length = scheduler.warmup_lr_init, scheduler.warmup_t
        rises = zip(scheduler.warmup_steps, before, scheduler.base_values, strict=True)
        scheduler.warmup_steps = [
            # Some rise to another LR than the base.
            ((base if rise == (was - start) / length else scaled(start + rise * length, old, new)) - start)
            / length
            for rise, was, base in rises
        ]


def _names_of_lrs(scheduler: Any) -> list[str]:
    """Return the attributes of a scheduler that hold LRs, apart from floors."""
    names = [name for name, value in vars(scheduler).items() if _holds_numbers(value)]
    if is_of_torch(scheduler):
        return [name for name in names if name in ("base_lrs", "max_lrs", LAST_LRS)]
    words = {name: set(name.lower().split("_")) for name in names}
    return [name for name in names if words[name] & {"lr", "lrs"} and not words[name] & _NO_LRS]


def _holds_numbers(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return bool(value) and all(map(_holds_numbers, value))
    return isinstance(value, int | float | Tensor) and not isinstance(value, bool)
