"""Reads the learning rates in torch optimizers and schedulers; no other file writes them.

Every parameter group has a base LR, `group["initial_lr"]` (torch's convention), and LR = base LR x factor. A
callback that only sets the factor or rescales the base does not overwrite the work of another.
"""

import math
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import repeat
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CyclicLR, OneCycleLR
from torch.optim.swa_utils import SWALR

from lightning_lr.checks import check_number
from lightning_lr.fit.lightnings import Trainer
from lightning_lr.fit.neighbors import schedulers_of
from lightning_lr.fit.optimizers import differs, groups_of
from lightning_lr.fit.target import Target
from lightning_lr.schedules.copies import UncopyableError
from lightning_lr.schedules.evaluation import makes_no_difference
from lightning_lr.schedules.rescaling import (
    is_of_torch,
    nested_schedulers,
    rescale_schedulers,
    rescaled_one_cycle,
    scaled,
    start_again,
)

__all__ = [
    "adopt_groups",
    "are_lent",
    "base_lr",
    "begin_again",
    "current_lr",
    "lent",
    "nominal_lr",
    "nominal_lrs",
    "rescale",
    "set_factor",
    "set_lrs",
]

ParamGroup: TypeAlias = dict[str, Any]

_lent: set[Optimizer] = set()


def adopt_groups(
    optimizers: Iterable[Optimizer], *, factor: float | Sequence[float] = 1.0, as_base: bool = True
) -> list[tuple[float, float]]:
    """Give every group without a base LR one, and set LR = base LR x factor.

    The group's `lr` is its base LR or, with `as_base=False`, already includes the factor (unless that is 0).
    The factor is one for all groups, or a list with one for each group of all optimizers in order.

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
    adopted, new = [], []
    optimizers = list(optimizers)
    _separate_bases(optimizers)
    shared = _bases_by_tensor(optimizers)
    factors = iter(factor) if isinstance(factor, Sequence) else repeat(factor)
    for optimizer in optimizers:
        for group, now in zip(optimizer.param_groups, factors, strict=False):
            if "initial_lr" not in group:
                lr = _checked_lr(optimizer, group)
                base = shared.get(id(group["lr"]), lr if as_base else lr / (now or 1.0))
                adopted.append((float(lr), float(base)))
                new.append((group, base, now))
    # Only now, since the LR of several groups may be one tensor.
    for group, base, now in new:
        group["initial_lr"] = base
        _write(group, "lr", base * now)
    return adopted


def _separate_bases(optimizers: Iterable[Optimizer]) -> None:
    """Give base LRs a tensor of their own where they are the very tensor of an LR."""
    groups = groups_of(optimizers)
    of_lrs = {id(group["lr"]) for group in groups if isinstance(group.get("lr"), Tensor)}
    for group in groups:
        if id(group.get("initial_lr")) in of_lrs:
            group["initial_lr"] = group["initial_lr"].clone()


def _bases_by_tensor(optimizers: Iterable[Optimizer]) -> dict[int, float | Tensor]:
    """Return the base LRs of groups whose LR is a tensor, which groups without a base LR may share."""
    groups = groups_of(optimizers)
    return {
        id(group["lr"]): group["initial_lr"]
        for group in groups
        if "initial_lr" in group and isinstance(group.get("lr"), Tensor)
    }


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
    optimizers: Iterable[Optimizer],
    factor: float | Sequence[Target],
    *,
    previous: float | Mapping[int, float] | None = None,
) -> list[tuple[float, float]]:
    """Set the LR of every group to its base LR x `factor`.

    If an LR is not its base LR x `previous`, other code has changed it. The change is kept as a change of the
    base LR, so that later factors multiply it. A tensor LR on an accelerator is not compared, since that
    would wait for the device. The LR of a group without a base LR becomes its base LR.

    Args:
        optimizers: Those of the run.
        factor: The new factor, finite and at least 0; or what each group makes of its base LR, one for each
            group of all optimizers in order.
        previous: The factor set last, or those of the groups by their ids; None to keep the base LRs, also of
            groups that are not listed.

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
    changes, late = [], []
    optimizers = list(optimizers)
    if previous is None:
        _separate_bases(optimizers)
    targets = iter(factor) if isinstance(factor, Sequence) else repeat(Target(float(factor)))
    by_group, of_all = (previous, None) if isinstance(previous, Mapping) else (None, previous)
    for optimizer in optimizers:
        for group, target in zip(optimizer.param_groups, targets, strict=False):
            base, lr = group.get("initial_lr"), group.get("lr")
            last = of_all if by_group is None else by_group.get(id(group))
            # At every step, and mostly so: floats that nobody has changed.
            if type(base) is float and type(lr) is float and (last is None or lr == base * last):
                lr = base * target[0]  # The name would take longer.
                group["lr"] = lr if lr >= target[1] else target.lr(base)
                continue
            if "initial_lr" not in group:
                lr = _checked_lr(optimizer, group)
                group["initial_lr"] = _bases_by_tensor(optimizers).get(id(group["lr"]), lr)
            elif last is not None and differs(group["lr"], expected := group["initial_lr"] * last):
                changes.append((float(expected), float(group["lr"])))
                group["initial_lr"] = group["lr"] / (last or 1.0)
            late.append((group, target))
    # Only now, since the LR of several groups may be one tensor.
    for group, target in late:
        _write(group, "lr", _lr_of(target, group["initial_lr"]))
    return changes


def _lr_of(target: Target, base: float | Tensor) -> float | Tensor:
    if not isinstance(base, Tensor):
        return target.lr(base)
    lr = base * target.factor
    return lr.maximum(base.clamp(max=target.min_lr) * target.ramp) if target.min_lr else lr


def base_lr(trainer: Trainer) -> float:
    """Return the highest base LR of all groups; for a OneCycleLR or CyclicLR, its maximum LR.

    0 if no group has an LR.
    """
    nominal = nominal_lrs(schedulers_of(trainer))
    groups = [(each, group) for each in trainer.optimizers for group in each.param_groups]
    lrs = [nominal_lr(each, group, nominal) for each, group in groups if group.get("lr") is not None]
    return max(lrs, default=0.0)


def nominal_lrs(schedulers: Iterable[Any]) -> dict[int, float]:
    """Return the maximum LRs that cycles were made with, by the id of the group."""
    found: dict[int, float] = {}
    for scheduler in nested_schedulers(schedulers):
        if isinstance(scheduler, OneCycleLR):
            found |= {id(group): float(group["max_lr"]) for group in scheduler.optimizer.param_groups}
        elif isinstance(scheduler, CyclicLR):
            groups = scheduler.optimizer.param_groups
            found |= {id(group): float(lr) for group, lr in zip(groups, scheduler.max_lrs, strict=True)}
    return found


def nominal_lr(optimizer: Optimizer, group: ParamGroup, nominal: Mapping[int, float]) -> float:
    """Return the maximum LR of a group's cycle or else its base LR."""
    return nominal[id(group)] if id(group) in nominal else _base_lr(optimizer, group)


def current_lr(trainer: Trainer) -> float:
    """Return the highest LR of all groups."""
    return max(float(group["lr"]) for optimizer in trainer.optimizers for group in optimizer.param_groups)


def set_lrs(optimizers: Iterable[Optimizer], lrs: Iterable[Iterable[float]]) -> None:
    """Set the LR of every group but not its base LR, for a dry run; `lrs` has a list for each optimizer."""
    optimizers = list(optimizers)
    _separate_bases(optimizers)
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


def rescale(
    optimizers: Iterable[Optimizer],
    schedulers: Iterable[Any],
    *,
    old: float,
    new: float,
    groups: Container[int] | None = None,
) -> None:
    """Multiply the base LR of every group, and the LRs that its schedulers hold, by `new / old`.

    A base LR of `old` becomes exactly `new`. A scheduler that has not stepped yet starts again from there, as
    if the run had started with `new`; any other continues its curve from the new base. Group ratios stay,
    frozen groups (LR 0) stay frozen, and the user's absolute floors (`eta_min`, `min_lrs`) do not change. The
    target LR of an SWALR (`swa_lr`) is no floor but the LR of the rest of the run, so it keeps its ratio.

    Args:
        optimizers: Those of the run.
        schedulers: Those of the run.
        old: What becomes `new`.
        new: The new LR.
        groups: The ids of the only groups to change, for schedulers that `scales_by_group`; None for all.

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
    _separate_bases(optimizers)
    begins = _begins(optimizers, schedulers)
    cycled = {id(group) for each in nested if isinstance(each, OneCycleLR) for group in _groups(each)}
    averaged = {id(group) for each in nested if isinstance(each, SWALR) for group in _groups(each)}
    # First, since in older versions of torch their base LRs are the tensors of the groups.
    rescale_schedulers(schedulers, old=old, new=new, groups=groups)
    writes: list[tuple[ParamGroup, str, float | Tensor]] = []
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            if groups is not None and id(group) not in groups:
                continue
            keys = {"lr", "initial_lr", *(["swa_lr"] if id(group) in averaged else [])}
            new_lrs = {key: scaled(group[key], old, new) for key in keys & group.keys()}
            if id(group) in cycled:
                new_lrs |= rescaled_one_cycle(group, old, new)
            writes += [(group, key, lr) for key, lr in new_lrs.items()]
    # Only now, since several may be one tensor.
    for group, key, lr in writes:
        _write(group, key, lr)
    if begins:
        begin_again(optimizers, schedulers)


def _groups(scheduler: Any) -> list[ParamGroup]:
    groups: list[ParamGroup] = scheduler.optimizer.param_groups
    return groups


def _begins(optimizers: list[Optimizer], schedulers: list[Any]) -> bool:
    """Tell whether no scheduler has stepped yet, and their first steps can be repeated."""
    nested = nested_schedulers(schedulers)
    if not nested or any(getattr(scheduler, "last_epoch", 0) > 0 for scheduler in nested):
        return False
    try:
        return makes_no_difference(begin_again, optimizers, schedulers)
    except UncopyableError:
        return all(map(is_of_torch, nested))


def begin_again(_: Sequence[Optimizer], schedulers: Sequence[Any]) -> None:
    """Repeat the first step of each scheduler, which its constructor made."""
    # Not SWALR, which StochasticWeightAveraging adds during the run: it starts from the current LR.
    schedulers = [scheduler for scheduler in schedulers if not isinstance(scheduler, SWALR)]
    for scheduler in nested_schedulers(schedulers):
        for group in _groups(scheduler):
            # With ReduceLROnPlateau alone there is no base LR.
            _write(group, "lr", group["initial_lr"] if "initial_lr" in group else group["lr"])
    start_again(schedulers)


def _write(group: ParamGroup, key: str, value: float | Tensor) -> None:
    current: float | Tensor = group[key]
    if isinstance(current, Tensor):
        # In place: compiled steps and CUDA graphs hold the tensor itself.
        with torch.no_grad():
            current.copy_(value) if isinstance(value, Tensor) else current.fill_(value)
    else:
        group[key] = float(value)
