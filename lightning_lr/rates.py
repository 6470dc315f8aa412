"""The learning rates inside torch optimizers and schedulers: read here, and written nowhere else.

Every parameter group has a base LR, `group["initial_lr"]` (torch's own convention), and an LR, which is
the base times a factor. Callbacks that only ever set the factor or rescale the base multiply each other's
work instead of overwriting it.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import OneCycleLR

__all__ = ["adopt_groups", "group_names", "rescale", "set_factor"]

ParamGroup: TypeAlias = dict[str, Any]

# Rescaling rounds base and LR apart by a few units in the last place of a float32 tensor.
_ROUNDING = 1e-6


def group_names(
    optimizers: Sequence[Optimizer], scheduled: Iterable[tuple[Optimizer, str | None]] = ()
) -> list[list[str]]:
    """Name every parameter group the way Lightning's `LearningRateMonitor` does.

    Args:
        optimizers: The optimizers of the run.
        scheduled: For each LR scheduler its optimizer and the name the user gave it, if any.

    Returns:
        For each optimizer one name per group: `lr-AdamW`; `lr-AdamW-1` for a second optimizer of that
        class; `lr-AdamW/pg2` or `lr-AdamW/head` where there are several groups or they have names.

    Raises:
        ValueError: Two groups of one optimizer have the same name.

    Example:
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


def _suffixed(name: str, groups: list[ParamGroup]) -> list[str]:
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


def adopt_groups(optimizers: Iterable[Optimizer]) -> None:
    """Take the LR of every group that has no base LR yet as its base.

    Raises:
        ValueError: A group has no `lr`, or one that is negative or no finite number.

    Example:
        >>> optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1)
        >>> adopt_groups([optimizer])
        >>> optimizer.param_groups[0]["initial_lr"]
        0.1
    """
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            if "initial_lr" not in group:
                group["initial_lr"] = _checked_lr(optimizer, group)


def _checked_lr(optimizer: Optimizer, group: ParamGroup) -> float | Tensor:
    lr: float | Tensor | None = group.get("lr")
    if lr is None:
        raise ValueError(
            f"{type(optimizer).__name__} has a parameter group without `lr`: there is no learning rate to"
            " control. Use an optimizer that has one, or remove the callback."
        )
    if not 0 <= float(lr) < math.inf:
        raise ValueError(f"The LR of {type(optimizer).__name__} must be in [0, inf), got {float(lr)}.")
    return lr.clone() if isinstance(lr, Tensor) else lr


def set_factor(
    optimizers: Iterable[Optimizer], factor: float, *, previous: float | None = None
) -> list[tuple[float, float]]:
    """Set the LR of every group to its base LR times `factor`.

    An LR that is not `previous` times its base was changed by somebody else since. That change is kept:
    it becomes a change of the base, so that what follows multiplies it. A tensor LR on an accelerator is
    not compared, which would wait for the device. A group without a base LR is adopted first.

    Args:
        optimizers: The optimizers to write to.
        factor: The new factor, finite and at least 0.
        previous: The factor set last; None to take the base LRs as they are.

    Returns:
        For each change by somebody else the LR expected and the LR found.

    Raises:
        ValueError: A group without a base has no LR to take for it.

    Example:
        >>> optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1)
        >>> set_factor([optimizer], 0.5)
        []
        >>> optimizer.param_groups[0]["lr"]
        0.05
    """
    changes = []
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            if "initial_lr" not in group:
                group["initial_lr"] = _checked_lr(optimizer, group)
            elif previous is not None and _differ(group["lr"], expected := group["initial_lr"] * previous):
                changes.append((float(expected), float(group["lr"])))
                group["initial_lr"] = group["lr"] / (previous or 1.0)
            _write(group, "lr", group["initial_lr"] * factor)
    return changes


def rescale(optimizers: Iterable[Optimizer], schedulers: Iterable[Any], multiplier: float) -> None:
    """Multiply the base LR of every group, and all that torch's schedulers derive from it.

    Group ratios stay, frozen groups (LR 0) stay frozen, and every scheduler continues its curve from the
    new base. Absolute floors that the user set (`eta_min`, `min_lrs`) stay what they are.

    Args:
        optimizers: The optimizers of the run.
        schedulers: Their LR schedulers, if any; nested ones are found.
        multiplier: Positive and finite.

    Raises:
        ValueError: `multiplier` is not in (0, inf).

    Example:
        >>> optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1)
        >>> scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 10)
        >>> rescale([optimizer], [scheduler], 3.0)
        >>> scheduler.base_lrs == [group["lr"] for group in optimizer.param_groups]
        True
    """
    if not 0 < multiplier < math.inf:
        raise ValueError(f"`rescale(multiplier=...)` must be in (0, inf), got {multiplier!r}.")
    optimizers, schedulers = list(optimizers), list(_nested(schedulers))
    adopt_groups(optimizers)
    one_cycle = {id(each.optimizer) for each in schedulers if isinstance(each, OneCycleLR)}
    for optimizer in optimizers:
        # OneCycleLR keeps its peak and its end in the groups.
        keys = ["lr", "initial_lr", *(["max_lr", "min_lr"] if id(optimizer) in one_cycle else [])]
        for group in optimizer.param_groups:
            for key in keys:
                _write(group, key, group[key] * multiplier)
    for scheduler in schedulers:
        for key in ("base_lrs", "max_lrs", "_last_lr"):
            if key in vars(scheduler):
                setattr(scheduler, key, [lr * multiplier for lr in getattr(scheduler, key)])


def _nested(schedulers: Iterable[Any]) -> Iterator[Any]:
    for scheduler in schedulers:
        yield scheduler
        # SequentialLR and ChainedScheduler have no public name for their parts.
        yield from _nested(vars(scheduler).get("_schedulers", ()))


def _differ(found: float | Tensor, expected: float | Tensor) -> bool:
    if isinstance(found, Tensor) and found.device.type != "cpu":
        return False
    return not math.isclose(found, expected, rel_tol=_ROUNDING)


def _write(group: ParamGroup, key: str, value: float | Tensor) -> None:
    current = group[key]
    if isinstance(current, Tensor):
        # In place: compiled steps and CUDA graphs hold on to the tensor itself.
        with torch.no_grad():
            current.copy_(value) if isinstance(value, Tensor) else current.fill_(value)
    else:
        group[key] = float(value)
