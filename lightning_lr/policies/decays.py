"""Policies that hold or lower the LR at a pace of their own, and need not know where the run ends."""

import math
from bisect import bisect_right
from collections import abc
from dataclasses import KW_ONLY, dataclass
from itertools import pairwise
from typing import Annotated

from typing_extensions import override

from lightning_lr.checks import AtLeast, In, as_tuple, check_count
from lightning_lr.policies.base import Policy

__all__ = [
    "Constant",
    "DelayedExponential",
    "Exponential",
    "InverseSqrt",
    "InverseTime",
    "MultiStep",
    "Step",
]


@dataclass(frozen=True)
class Constant(Policy):
    """Keep the factor at `value`.

    factor(t) = value

    Args:
        value: The factor, in [0, inf).

    Raises:
        TypeError: `value` is not a number.
        ValueError: `value` is out of range.

    Example:
        >>> Constant(0.5).factor(1000)
        0.5
    """

    value: Annotated[float, In("[0, inf)")] = 1.0

    @override
    def formula(self, t: float, total: float) -> float:
        return self.value


@dataclass(frozen=True)
class Exponential(Policy):
    """Multiply the factor by `gamma` in every unit of time.

    factor(t) = gamma^t

    The formula of `torch.optim.lr_scheduler.ExponentialLR`.

    Args:
        gamma: Factor per unit of time, in (0, 1]. Above 1 the LR would grow until it overflows.

    Raises:
        TypeError: `gamma` is not a number.
        ValueError: `gamma` is out of range.

    Example:
        >>> [Exponential(0.5).factor(epoch) for epoch in range(4)]
        [1.0, 0.5, 0.25, 0.125]
    """

    gamma: Annotated[float, In("(0, 1]")]

    @override
    def formula(self, t: float, total: float) -> float:
        return float(self.gamma**t)


@dataclass(frozen=True)
class InverseTime(Policy):
    """Divide by a denominator that grows linearly in time, also called time-based decay.

    factor(t) = 1 / (1 + rate t)

    The decay of Robbins and Monro (1951) and of the `InverseTimeDecay` schedule of Keras.

    Args:
        rate: Growth of the denominator per unit of time, in [0, inf).

    Raises:
        TypeError: `rate` is not a number.
        ValueError: `rate` is out of range.

    Example:
        >>> [InverseTime(rate=1).factor(epoch) for epoch in (0, 1, 3)]
        [1.0, 0.5, 0.25]
    """

    rate: Annotated[float, In("[0, inf)")]

    @override
    def formula(self, t: float, total: float) -> float:
        return 1 / (1 + self.rate * t)


@dataclass(frozen=True)
class InverseSqrt(Policy):
    """Decay with one over the square root of time.

    factor(t) = k sqrt(timescale / (t + timescale))

    With `timescale=1` it is k / sqrt(n), where n = t + 1 is the number of the epoch or step, counted from 1
    so that t = 0 is no pole. With another `timescale` and `k=1` it is `get_inverse_sqrt_schedule` of
    transformers after its warm-up.

    Args:
        k: Factor at t = 0, in (0, inf).
        timescale: Time in which the factor falls to k / sqrt(2), in (0, inf).

    Raises:
        TypeError: An argument is not a number.
        ValueError: An argument is out of range.

    Example:
        >>> [InverseSqrt().factor(epoch) for epoch in (0, 3, 15)]
        [1.0, 0.5, 0.25]
    """

    k: Annotated[float, In("(0, inf)")] = 1.0
    _: KW_ONLY
    timescale: Annotated[float, In("(0, inf)")] = 1.0

    @override
    def formula(self, t: float, total: float) -> float:
        return self.k * math.sqrt(self.timescale / (t + self.timescale))


@dataclass(frozen=True)
class DelayedExponential(Policy):
    """Hold the base LR, then multiply it by e^-rate in every epoch from number `start` on.

    factor(t) = exp(-rate max(0, t - start + 1))

    Epochs are numbered from 0, and number `start` is the first with a reduced LR. This is the example in the
    documentation of Keras' `LearningRateScheduler` (https://keras.io/api/callbacks).

    Args:
        start: Number of the first reduced epoch (or step), at least 0.
        rate: Decay per unit of time in the exponent, in [0, inf).

    Raises:
        TypeError: An argument is not a number, or `start` not a whole one.
        ValueError: An argument is out of range.

    Example:
        >>> [round(DelayedExponential(2).factor(epoch), 4) for epoch in range(5)]
        [1.0, 1.0, 0.3679, 0.1353, 0.0498]
    """

    start: Annotated[int, AtLeast(0)]
    _: KW_ONLY
    rate: Annotated[float, In("[0, inf)")] = 1.0

    @override
    def formula(self, t: float, total: float) -> float:
        return math.exp(-self.rate * max(0.0, t - self.start + 1))


@dataclass(frozen=True)
class Step(Policy):
    """Multiply the factor by `gamma` after every `size` units of time.

    factor(t) = gamma^floor(t / size)

    The formula of `torch.optim.lr_scheduler.StepLR`.

    Args:
        size: Time between two drops, at least 1.
        gamma: Factor of a drop, in (0, 1].

    Raises:
        TypeError: An argument is not a number, or `size` not a whole one.
        ValueError: An argument is out of range.

    Example:
        >>> [Step(2, gamma=0.5).factor(epoch) for epoch in range(5)]
        [1.0, 1.0, 0.5, 0.5, 0.25]
    """

    size: Annotated[int, AtLeast(1)]
    _: KW_ONLY
    gamma: Annotated[float, In("(0, 1]")] = 0.1

    @override
    def formula(self, t: float, total: float) -> float:
        return float(self.gamma ** (t // self.size))


@dataclass(frozen=True)
class MultiStep(Policy):
    """Multiply the factor by `gamma` at each of the `milestones`.

    factor(t) = gamma^n, where n milestones are at or before t

    The formula of `torch.optim.lr_scheduler.MultiStepLR`.

    Args:
        milestones: Times of the drops, whole numbers of at least 1, each after the one before.
        gamma: Factor of a drop, in (0, 1].

    Raises:
        TypeError: An argument or a milestone has the wrong type.
        ValueError: An argument is out of range; `milestones` is empty or not strictly increasing.

    Example:
        >>> [MultiStep([2, 3], gamma=0.5).factor(epoch) for epoch in range(5)]
        [1.0, 1.0, 0.5, 0.25, 0.25]
    """

    milestones: abc.Sequence[int]
    _: KW_ONLY
    gamma: Annotated[float, In("(0, 1]")] = 0.1

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
        object.__setattr__(self, "milestones", milestones)

    @override
    def formula(self, t: float, total: float) -> float:
        return float(self.gamma ** bisect_right(self.milestones, t))
