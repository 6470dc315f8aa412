"""Policies that hold the LR and drop it at chosen times."""

from bisect import bisect_right
from collections import abc
from dataclasses import KW_ONLY, dataclass
from itertools import pairwise

from typing_extensions import override

from lightning_lr.checks import check_count, check_number
from lightning_lr.policies.arguments import as_tuple
from lightning_lr.policies.base import Policy

__all__ = ["MultiStep", "Step"]


@dataclass(frozen=True)
class Step(Policy):
    """Multiply the factor by `gamma` after every `size` units of time.

    factor(t) = gamma^floor(t / size)

    The formula of `torch.optim.lr_scheduler.StepLR`.

    Args:
        size: Time between two drops, at least 1.
        gamma: Factor of a drop, in (0, 1].

    Raises:
        TypeError: An argument is no number, or `size` is no whole one.
        ValueError: An argument is out of range.

    Example:
        >>> [Step(2, gamma=0.5).factor(epoch) for epoch in range(5)]
        [1.0, 1.0, 0.5, 0.5, 0.25]
    """

    size: int
    _: KW_ONLY
    gamma: float = 0.1

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("Step(size=...)", self.size, minimum=1)
        check_number("Step(gamma=...)", self.gamma, "(0, 1]")

    @override
    def formula(self, t: float, total: float) -> float:
        return float(self.gamma ** (t // self.size))


@dataclass(frozen=True)
class MultiStep(Policy):
    """Multiply the factor by `gamma` at each of the `milestones`.

    factor(t) = gamma^n with n the number of milestones that are not after t

    The formula of `torch.optim.lr_scheduler.MultiStepLR`.

    Args:
        milestones: Times of the drops, whole numbers of at least 1, each after the one before.
        gamma: Factor of a drop, in (0, 1].

    Raises:
        TypeError: An argument or a milestone is of the wrong type.
        ValueError: An argument is out of range; `milestones` is empty or not strictly increasing.

    Example:
        >>> [MultiStep([2, 3], gamma=0.5).factor(epoch) for epoch in range(5)]
        [1.0, 1.0, 0.5, 0.25, 0.25]
    """

    milestones: abc.Sequence[int]
    _: KW_ONLY
    gamma: float = 0.1

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        milestones = as_tuple("MultiStep(milestones=...)", self.milestones, "whole numbers")
        for milestone in milestones:
            check_count("MultiStep(milestones=...)", milestone, minimum=1)
        if not milestones or any(later <= earlier for earlier, later in pairwise(milestones)):
            raise ValueError(
                "`MultiStep(milestones=...)` must be whole numbers, each above the one before, at least one"
                f" of them, got {list(milestones)!r}."
            )
        check_number("MultiStep(gamma=...)", self.gamma, "(0, 1]")
        object.__setattr__(self, "milestones", milestones)

    @override
    def formula(self, t: float, total: float) -> float:
        return float(self.gamma ** bisect_right(self.milestones, t))
