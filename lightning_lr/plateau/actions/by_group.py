"""Lowers the learning rates of parameter groups by different factors."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor

from lightning_lr.fit.lightnings import MisconfigurationException, Trainer
from lightning_lr.fit.names import plain_name, short_names
from lightning_lr.fit.neighbors import schedulers_of
from lightning_lr.fit.optimizers import group_names
from lightning_lr.plateau.actions.base import Effect
from lightning_lr.rates import nominal_lr, nominal_lrs, rescale
from lightning_lr.schedules.rescaling import nested_schedulers, scales_by_group

__all__ = ["check_by_group", "is_change", "multiply_by_group"]

# A smaller relative change is rounding.
_LEAST_CHANGE = 1e-6


def check_by_group(trainer: Trainer, names: Iterable[str], action: str) -> None:
    """Refuse names that no group has, and groups that cannot have LRs of their own.

    Raises:
        MisconfigurationException: Why not, and what to do instead.
    """
    named = [(name, group) for name, _, group in _groups(trainer)]
    known = {short for name, _ in named for short in short_names(name)}
    for name in names:
        if plain_name(name) not in known:
            there = ", ".join(repr(short_names(each)[0]) for each, _ in named)
            raise MisconfigurationException(
                f"`{action}`: no parameter group is called {name!r}. There is {there}. A group gets a name"
                ' from the optimizer: `{"params": ..., "name": "head"}`.'
            )
    for scheduler in nested_schedulers(schedulers_of(trainer)):
        if not scales_by_group(scheduler):
            raise MisconfigurationException(
                f"`{action}` cannot lower the LRs of single groups: {type(scheduler).__name__} holds one LR"
                " for all of them. Use LRDecay, or lower the LRs of all groups together."
            )
    tensors = [id(group["lr"]) for _, group in named if isinstance(group.get("lr"), Tensor)]
    if len(set(tensors)) < len(tensors):
        raise MisconfigurationException(
            f"`{action}` cannot lower the LRs of single groups: several share one tensor as their LR. Give"
            " each group a tensor of its own, or lower the LRs of all groups together."
        )


def is_change(old: float, new: float) -> bool:
    """Tell whether an LR above 0 changes by more than rounding.

    Example:
        >>> is_change(0.1, 0.03), is_change(0.1, 0.1 * (1 + 1e-9))
        (True, False)
    """
    return abs(new / old - 1) >= _LEAST_CHANGE


def multiply_by_group(
    trainer: Trainer,
    factor: float,
    only: Sequence[str] | None,
    min_lrs: Mapping[str, float],
    *,
    lowest: float = 0.0,
) -> Effect | None:
    """Multiply the base LR of each group by `factor`, but keep it at its lowest LR or above.

    Args:
        trainer: With its optimizers.
        factor: In (0, 1).
        only: The names of the groups to change; None for all.
        min_lrs: The lowest base LRs by the names of groups.
        lowest: The lowest base LR of the other groups.
    """
    nominal = nominal_lrs(schedulers_of(trainer))
    changes: dict[float, set[int]] = {}
    texts: dict[str, list[str]] = {}
    chosen = None if only is None else set(map(plain_name, only))
    floors = {plain_name(name): lr for name, lr in min_lrs.items()}
    for name, optimizer, group in _groups(trainer):
        names = short_names(name)
        old = nominal_lr(optimizer, group, nominal)
        if not old or (chosen is not None and not chosen.intersection(names)):
            continue
        least = next((floors[each] for each in names if each in floors), lowest)
        new = max(old * factor, min(old, least))
        if is_change(old, new):
            changes.setdefault(new / old, set()).add(id(group))
            texts.setdefault(f"{old:.4g} -> {new:.4g}", []).append(names[0])
    for ratio, ids in changes.items():
        rescale(trainer.optimizers, schedulers_of(trainer), old=1.0, new=ratio, groups=ids)
    if not texts:
        return None
    said = [f"base LR of {', '.join(names)} {change}" for change, names in texts.items()]
    return Effect(", ".join(said), starts_afresh=True)


def _groups(trainer: Trainer) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    for optimizer, names in zip(trainer.optimizers, group_names(trainer.optimizers), strict=True):
        for name, group in zip(names, optimizer.param_groups, strict=True):
            if group.get("lr") is not None:
                yield name, optimizer, group
