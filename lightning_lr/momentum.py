"""Reads and writes the momentum and the weight decay of parameter groups; no other file does.

The momentum of Adam and its kin is the first of their `betas`.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from torch import Tensor
from torch.optim import Optimizer

from lightning_lr.fit.optimizers import differs, groups_of

__all__ = ["momenta", "momentum_of", "set_momenta", "set_weight_decay"]

ParamGroup: TypeAlias = dict[str, Any]


def momentum_of(group: Mapping[str, Any]) -> float | Tensor | None:
    """Return the momentum of a group, None if its optimizer has none.

    Example:
        >>> momentum_of({"betas": (0.9, 0.999)}), momentum_of({"momentum": 0.8}), momentum_of({"lr": 0.1})
        (0.9, 0.8, None)
    """
    betas = group.get("betas")
    momentum: float | Tensor | None = betas[0] if betas else group.get("momentum")
    return momentum


def momenta(optimizers: Iterable[Optimizer]) -> list[float | None]:
    """Return the momentum of every group in order; reading one on a device waits for it."""
    found = [momentum_of(group) for group in groups_of(optimizers)]
    return [None if momentum is None else float(momentum) for momentum in found]


def set_momenta(
    optimizers: Iterable[Optimizer],
    values: Sequence[float | None],
    *,
    previous: Mapping[int, float] | None = None,
) -> list[tuple[float, float]]:
    """Set the momentum of every group that has one.

    Args:
        optimizers: Those of the run.
        values: The momentum of each group in order; None leaves a group as it is.
        previous: What was set last, by the id of the group.

    Returns:
        For each momentum that is not what was set last what was expected and what was found.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.Adam([torch.zeros(1)])
        >>> set_momenta([optimizer], [0.8])
        []
        >>> optimizer.param_groups[0]["betas"]
        (0.8, 0.999)
    """
    changes: list[tuple[float, float]] = []
    for group, value in zip(groups_of(optimizers), values, strict=True):
        now = momentum_of(group)
        if value is None or now is None:
            continue
        expected = (previous or {}).get(id(group))
        if expected is not None and differs(now, expected):
            changes.append((expected, float(now)))
        if isinstance(now, Tensor):
            now.fill_(value)
        elif group.get("betas"):
            group["betas"] = (value, *group["betas"][1:])
        else:
            group["momentum"] = value
    return changes


def set_weight_decay(
    optimizers: Iterable[Optimizer], factor: float, *, previous: float | None = None
) -> list[tuple[float, float]]:
    """Set the weight decay of every group to `factor` times its own, `group["initial_weight_decay"]`.

    What other code has made of it since is kept as a change of its own weight decay.

    Args:
        optimizers: Those of the run.
        factor: The new factor, finite and at least 0.
        previous: The factor set last; None to compare nothing.

    Returns:
        For each change by other code the expected weight decay and the one found.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.zeros(1)], weight_decay=0.01)
        >>> set_weight_decay([optimizer], 0.5)
        []
        >>> optimizer.param_groups[0]["weight_decay"], optimizer.param_groups[0]["initial_weight_decay"]
        (0.005, 0.01)
    """
    changes = []
    for group in groups_of(optimizers):
        now: float | Tensor | None = group.get("weight_decay")
        if now is None:
            continue
        own: float | Tensor = group.setdefault("initial_weight_decay", now)
        if own is not now and previous is not None and differs(now, expected := own * previous):
            changes.append((float(expected), float(now)))
            own = group["initial_weight_decay"] = now / (previous or 1.0)
        group["weight_decay"] = own * factor
    return changes
