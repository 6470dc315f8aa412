"""The momentum inside torch optimizers: beta1 of the Adam family, `momentum` of the others."""

from collections.abc import Iterable

from torch.optim import Optimizer

from lightning_lr.checks import check_number

__all__ = ["lengthen_memory", "momenta", "set_momenta"]


def momenta(optimizers: Iterable[Optimizer]) -> list[float | None]:
    """Return the momentum of every group, None where its optimizer has none.

    Example:
        >>> import torch
        >>> weight = torch.zeros(1)
        >>> momenta(
        ...     [
        ...         torch.optim.Adam([weight]),
        ...         torch.optim.SGD([weight], momentum=0.5),
        ...         torch.optim.Rprop([weight]),
        ...     ]
        ... )
        [0.9, 0.5, None]
    """
    found: list[float | None] = []
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            momentum = group["betas"][0] if "betas" in group else group.get("momentum")
            found.append(None if momentum is None else float(momentum))
    return found


def lengthen_memory(momentum: float, factor: float) -> float:
    """Return the momentum that averages over `factor` times as many steps, 1 / (1 - momentum) of them.

    Args:
        momentum: In [0, 1).
        factor: In (0, inf).

    Raises:
        ValueError: An argument is out of range.

    Example:
        >>> lengthen_memory(0.9, 2)
        0.95
    """
    check_number("lengthen_memory(momentum=...)", momentum, "[0, 1)")
    check_number("lengthen_memory(factor=...)", factor, "(0, inf)")
    return 1 - (1 - momentum) / factor


def set_momenta(optimizers: Iterable[Optimizer], values: Iterable[float | None]) -> None:
    """Set the momentum of every group; None leaves a group as it is.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.Adam([torch.zeros(1)])
        >>> set_momenta([optimizer], [0.95])
        >>> optimizer.param_groups[0]["betas"]
        (0.95, 0.999)
    """
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    for group, value in zip(groups, values, strict=True):
        if value is None:
            continue
        if "betas" in group:
            group["betas"] = (value, *group["betas"][1:])
        else:
            group["momentum"] = value
