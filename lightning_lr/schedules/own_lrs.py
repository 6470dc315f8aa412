"""Finds optimizers with an LR of their own, for which an LR that a test finds would mean nothing."""

from collections.abc import Iterable
from typing import Any

from torch.optim import Optimizer

from lightning_lr.fit.optimizers import with_inner

__all__ = ["own_lr"]

_NO_LR = "Its `lr` is None. To have an LR found, give it one and switch its own off."
_RELATIVE = "With `relative_step=True` it takes no notice of `lr`. To have an LR found, set it to False."
_ESTIMATED = "It estimates the length of its steps, and its `lr` is a factor for that, 1 by design: keep it."
_OVERWRITTEN = "It sets its LR itself at every step, from the one that it was made with."


def own_lr(optimizers: Iterable[Optimizer]) -> str | None:
    """Return why the LR of one of the optimizers is not what its steps are made with; None if all are.

    They are known by what they keep: D-Adaptation and Prodigy the distance `d`, DoG `rbar` or `init_eta`,
    Adafactor `relative_step`, Ranger21 `starting_lr`.

    Example:
        >>> import torch
        >>> own_lr([torch.optim.SGD([torch.zeros(1)], lr=0.1)])
    """
    for optimizer in with_inner(optimizers):
        reason = next((reason for reason in map(_reason, optimizer.param_groups) if reason is not None), None)
        if reason is None and "starting_lr" in vars(optimizer):
            reason = _OVERWRITTEN
        if reason is not None:
            return f"{type(optimizer).__name__} has an LR of its own. {reason}"
    return None


def _reason(group: dict[str, Any]) -> str | None:
    if group.get("lr", 0) is None:
        return _NO_LR
    if group.get("relative_step"):
        return _RELATIVE
    return _ESTIMATED if {"d", "rbar", "init_eta"} & group.keys() else None
