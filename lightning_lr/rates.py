"""Reads the learning rates in torch optimizers and schedulers; no other file writes them.

Every parameter group has a base LR, `group["initial_lr"]` (torch's convention), and LR = base LR x factor. A
callback that only sets the factor or rescales the base does not overwrite the work of another.
"""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
from lightning.pytorch import Trainer
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import (
    ChainedScheduler,
    CyclicLR,
    LRScheduler,
    OneCycleLR,
    ReduceLROnPlateau,
    SequentialLR,
)
from torch.optim.swa_utils import SWALR

from lightning_lr.checks import check_number
from lightning_lr.fit.internals import LAST_LRS, inner_schedulers, make_initial_step
from lightning_lr.fit.neighbors import schedulers_of

__all__ = [
    "adopt_groups",
    "are_lent",
    "base_lr",
    "current_lr",
    "lent",
    "nested_schedulers",
    "peak_lrs",
    "rescale",
    "set_factor",
    "set_lrs",
]

ParamGroup: TypeAlias = dict[str, Any]

# Rescaling rounds base and LR separately: their ratio changes by a few units in the last place of a float32.
_ROUNDING = 1e-6
_lent: set[Optimizer] = set()


def adopt_groups(
    optimizers: Iterable[Optimizer], *, factor: float = 1.0, as_base: bool = True
) -> list[tuple[float, float]]:
    """Give every group without a base LR one, and set LR = base LR x factor.

    The group's `lr` is its base LR or, with `as_base=False`, already includes the factor (unless that is 0).

    Returns:
        For each such group its old LR and its base LR.

    Raises:
        ValueError: A group has no `lr`, or its `lr` is not in [0, inf).

    Example:
        >>> optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1)
        >>> adopt_groups([optimizer])
        [(0.1, 0.1)]
        >>> optimizer.param_groups[0]["initial_lr"]
        0.1
    """
    adopted = []
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            if "initial_lr" not in group:
                lr = _checked_lr(optimizer, group)
                group["initial_lr"] = lr if as_base else lr / (factor or 1.0)
                adopted.append((float(lr), float(group["initial_lr"])))
                _write(group, "lr", group["initial_lr"] * factor)
    return adopted


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


def _base_lr(optimizer: Optimizer, group: ParamGroup) -> float:
    return float(group["initial_lr"] if "initial_lr" in group else _checked_lr(optimizer, group))


def set_factor(
    optimizers: Iterable[Optimizer], factor: float, *, previous: float | None = None
) -> list[tuple[float, float]]:
    """Set the LR of every group to its base LR x `factor`.

    If an LR is not its base LR x `previous`, other code has changed it. The change is kept as a change of the
    base LR, so that later factors multiply it. A tensor LR on an accelerator is not compared, since that
    would wait for the device. The LR of a group without a base LR becomes its base LR.

    Args:
        optimizers: Those of the run.
        factor: The new factor, finite and at least 0.
        previous: The factor set last; None to keep the base LRs.

    Returns:
        For each change by other code the expected LR and the LR found.

    Raises:
        ValueError: A group without a base LR has no valid `lr`.

    Example:
        >>> optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1)
        >>> set_factor([optimizer], 0.5)
        []
        >>> optimizer.param_groups[0]["lr"]
        0.05
    """
    changes = []
    factor = float(factor)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            base, lr = group.get("initial_lr"), group.get("lr")
            # At every step, and mostly so: floats that nobody has changed.
            if type(base) is float and type(lr) is float and (previous is None or lr == base * previous):
                group["lr"] = base * factor
                continue
            if "initial_lr" not in group:
                group["initial_lr"] = _checked_lr(optimizer, group)
            elif previous is not None and _differ(group["lr"], expected := group["initial_lr"] * previous):
                changes.append((float(expected), float(group["lr"])))
                group["initial_lr"] = group["lr"] / (previous or 1.0)
            _write(group, "lr", group["initial_lr"] * factor)
    return changes


def peak_lrs(optimizers: Iterable[Optimizer], schedulers: Iterable[Any] = ()) -> list[list[float]]:
    """Return, for each optimizer, the highest LR of every group's schedule.

    It is the base LR, or the maximum LR of a OneCycleLR or CyclicLR.

    Example:
        >>> optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1)
        >>> peak_lrs([optimizer], [torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.5, total_steps=9)])
        [[0.5]]
    """
    optimizers = list(optimizers)
    peaks = {id(each): [_base_lr(each, group) for group in each.param_groups] for each in optimizers}
    for scheduler in nested_schedulers(schedulers):
        if isinstance(scheduler, OneCycleLR):
            groups = scheduler.optimizer.param_groups
            peaks[id(scheduler.optimizer)] = [float(group["max_lr"]) for group in groups]
        elif isinstance(scheduler, CyclicLR):
            peaks[id(scheduler.optimizer)] = [float(lr) for lr in scheduler.max_lrs]
    return [peaks[id(optimizer)] for optimizer in optimizers]


def base_lr(trainer: Trainer) -> float:
    """Return the highest of the `peak_lrs` of all groups."""
    peaks = peak_lrs(trainer.optimizers, schedulers_of(trainer))
    return max((lr for lrs in peaks for lr in lrs), default=0.0)


def current_lr(trainer: Trainer) -> float:
    """Return the highest LR of all groups."""
    return max(float(group["lr"]) for optimizer in trainer.optimizers for group in optimizer.param_groups)


def set_lrs(optimizers: Iterable[Optimizer], lrs: Iterable[Iterable[float]]) -> None:
    """Set the LR of every group but not its base LR, for a dry run; `lrs` has a list for each optimizer."""
    for optimizer, group_lrs in zip(optimizers, lrs, strict=True):
        for group, lr in zip(optimizer.param_groups, group_lrs, strict=True):
            _write(group, "lr", lr)


@contextmanager
def lent(optimizers: Iterable[Optimizer]) -> Iterator[None]:
    """Reserve the LRs for a test over real steps; other writers check `are_lent`."""
    borrowed = list(optimizers)
    _lent.update(borrowed)
    try:
        yield
    finally:
        _lent.difference_update(borrowed)


def are_lent(optimizers: Iterable[Optimizer]) -> bool:
    """Return whether a test over real steps has reserved the LRs of one of the optimizers."""
    return not _lent.isdisjoint(optimizers)


def rescale(optimizers: Iterable[Optimizer], schedulers: Iterable[Any], *, old: float, new: float) -> None:
    """Multiply the base LR of every group, and what torch's schedulers derive from it, by `new / old`.

    A base LR of `old` becomes exactly `new`. A scheduler that has not stepped yet starts again from there, as
    if the run had started with `new`; any other continues its curve from the new base. Group ratios stay,
    frozen groups (LR 0) stay frozen, and the user's absolute floors (`eta_min`, `min_lrs`) do not change. The
    target LR of an SWALR (`swa_lr`) is no floor but the LR of the rest of the run, so it keeps its ratio.

    Raises:
        ValueError: `old` or `new` is not in (0, inf).

    Example:
        >>> optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1)
        >>> scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 10)
        >>> rescale([optimizer], [scheduler], old=0.1, new=0.3)
        >>> scheduler.base_lrs
        [0.3]
    """
    check_number("rescale(old=...)", old, "(0, inf)")
    check_number("rescale(new=...)", new, "(0, inf)")
    optimizers, schedulers = list(optimizers), list(schedulers)
    nested = nested_schedulers(schedulers)
    one_cycle = [each.optimizer for each in nested if isinstance(each, OneCycleLR)]
    averaged = [each.optimizer for each in nested if isinstance(each, SWALR)]
    for optimizer in optimizers:
        keys = {"lr", "initial_lr", *(["swa_lr"] if optimizer in averaged else [])}
        for group in optimizer.param_groups:
            for key in keys & group.keys():
                _write(group, key, _scaled(group[key], old, new))
            if optimizer in one_cycle:
                _rescale_one_cycle(group, old, new)
    for scheduler in nested:
        for key in {"base_lrs", "max_lrs", LAST_LRS} & vars(scheduler).keys():
            setattr(scheduler, key, [_scaled(lr, old, new) for lr in getattr(scheduler, key)])
    if all(getattr(scheduler, "last_epoch", 0) <= 0 for scheduler in nested):
        # Not SWALR, which StochasticWeightAveraging adds during the run: it starts from the current LR.
        _start_again(optimizers, [each for each in schedulers if not isinstance(each, SWALR)])


def nested_schedulers(schedulers: Iterable[Any]) -> list[Any]:
    """Return the schedulers and, at any depth, those inside a SequentialLR or ChainedScheduler."""
    found = []
    for scheduler in schedulers:
        found += [scheduler, *nested_schedulers(inner_schedulers(scheduler))]
    return found


def _scaled(lr: float | Tensor, old: float, new: float) -> float | Tensor:
    if isinstance(lr, Tensor):
        # In Python's precision: a GPU divides by multiplying with the rounded reciprocal.
        return torch.full_like(lr, float(lr) / old * new)
    return lr / old * new


def _rescale_one_cycle(group: ParamGroup, old: float, new: float) -> None:
    """Rescale the LRs of OneCycleLR in a group whose `initial_lr` is already rescaled."""
    # Rounding to 12 digits recovers the divisors that the user wrote, and so the values of torch.
    before = group["initial_lr"] / new * old
    divisor, final_divisor = (
        float(f"{ratio:.12g}") for ratio in (group["max_lr"] / before, before / group["min_lr"])
    )
    _write(group, "max_lr", group["max_lr"] / old * new)
    _write(group, "initial_lr", group["max_lr"] / divisor)
    _write(group, "min_lr", group["initial_lr"] / final_divisor)


def _start_again(optimizers: list[Optimizer], schedulers: list[Any]) -> None:
    """Repeat the first step of each scheduler, which its constructor made."""
    scheduled = [scheduler.optimizer for scheduler in nested_schedulers(schedulers)]
    for optimizer in optimizers:
        if optimizer in scheduled:
            for group in optimizer.param_groups:
                # With ReduceLROnPlateau alone there is no base LR.
                _write(group, "lr", group.get("initial_lr", group["lr"]))
    for scheduler in schedulers:
        _make_first_step(scheduler)


def _make_first_step(scheduler: Any) -> None:
    if isinstance(scheduler, SequentialLR):
        first, *_ = inner_schedulers(scheduler)
        _make_first_step(first)
        vars(scheduler)[LAST_LRS] = first.get_last_lr()
    elif isinstance(scheduler, ChainedScheduler):
        for part in inner_schedulers(scheduler):
            _make_first_step(part)
    elif isinstance(scheduler, LRScheduler) and not isinstance(scheduler, ReduceLROnPlateau):
        make_initial_step(scheduler)


def _differ(found: float | Tensor, expected: float | Tensor) -> bool:
    if isinstance(found, Tensor) and found.device.type != "cpu":
        return False
    return not math.isclose(found, expected, rel_tol=_ROUNDING)


def _write(group: ParamGroup, key: str, value: float | Tensor) -> None:
    current = group[key]
    if isinstance(current, Tensor):
        # In place: compiled steps and CUDA graphs hold the tensor itself.
        with torch.no_grad():
            current.copy_(value) if isinstance(value, Tensor) else current.fill_(value)
    else:
        group[key] = float(value)
