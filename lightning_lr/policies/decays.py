"""Policies that hold or lower the LR at a pace of their own, and need not know where the run ends."""

import math
from bisect import bisect_right
from collections import abc
from dataclasses import KW_ONLY, dataclass
from itertools import pairwise
from typing import Annotated

from typing_extensions import override

from lightning_lr.checks import AtLeast, In, as_tuple, check_count, check_flag, check_number
from lightning_lr.policies.base import Policy
from lightning_lr.policies.shapes import exponential

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


@dataclass(frozen=True, repr=False)
class Exponential(Policy):
    """Multiply the factor by `gamma` at an even pace, or go to `end` over the whole run.

    With `gamma`, factor(t) = gamma^(t / every), which stops at `end` if that is given; without,
    factor(t) = end^(t / total). With `staircase`, t is rounded down to a multiple of `every`.

    The formula of `torch.optim.lr_scheduler.ExponentialLR`, of Keras' `ExponentialDecay` and optax's
    `exponential_decay` (`every` is their `decay_steps` and `transition_steps`), and, with `end` alone, of
    fastai's `SchedExp`.

    Args:
        gamma: Factor per `every` units of time, in (0, inf); above 1 the LR grows. None to reach `end` at the
            end of the run.
        end: The last factor: in [0, 1] for a `gamma` of at most 1, in [1, inf) for one above, in (0, inf)
            without `gamma`. None for no bound.
        every: Time in which the factor changes by `gamma`, at least 1.
        staircase: Whether the factor changes at multiples of `every` only.

    Raises:
        TypeError: An argument has the wrong type, or both `gamma` and `end` are None.
        ValueError: An argument is out of range; in `factor` also if a growing factor overflows.

    Example:
        >>> [Exponential(0.5).factor(epoch) for epoch in range(4)]
        [1.0, 0.5, 0.25, 0.125]
        >>> [Exponential(0.5, end=0.2).factor(epoch) for epoch in range(4)]
        [1.0, 0.5, 0.25, 0.2]
        >>> [round(Exponential(end=0.01).factor(epoch, total=4), 4) for epoch in range(5)]
        [1.0, 0.3162, 0.1, 0.0316, 0.01]
    """

    gamma: float | None = None
    _: KW_ONLY
    end: float | None = None
    every: Annotated[int, AtLeast(1)] = 1
    staircase: bool = False

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        check_flag("Exponential(staircase=...)", self.staircase)
        if self.gamma is not None or self.end is None:
            check_number("Exponential(gamma=...)", self.gamma, "(0, inf)")
        if self.end is not None:
            ends = "(0, inf)" if self.gamma is None else "[0, 1]" if self.gamma <= 1 else "[1, inf)"
            check_number("Exponential(end=...)", self.end, ends)

    @property
    @override
    def needs_end(self) -> bool:
        return self.gamma is None

    @override
    def formula(self, t: float, total: float) -> float:
        paces = _paces(t, self.every, staircase=self.staircase)
        if self.gamma is None:
            return exponential(1.0, self.end or 1.0, paces * self.every / total)
        try:
            factor = float(self.gamma**paces)
        except OverflowError:
            factor = math.inf
        if self.end is None:
            return factor
        return (max if self.gamma <= 1 else min)(factor, self.end)


@dataclass(frozen=True, repr=False)
class InverseTime(Policy):
    """Divide by a denominator that grows linearly in time, also called time-based decay.

    factor(t) = 1 / (1 + rate t / every); with `staircase`, t is rounded down to a multiple of `every`.

    The decay of Robbins and Monro (1951) and of the `InverseTimeDecay` schedule of Keras, where `every` is
    `decay_steps`.

    Args:
        rate: Growth of the denominator per `every` units of time, in [0, inf).
        every: Time in which the denominator grows by `rate`, at least 1.
        staircase: Whether the factor changes at multiples of `every` only.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of range.

    Example:
        >>> [InverseTime(rate=1).factor(epoch) for epoch in (0, 1, 3)]
        [1.0, 0.5, 0.25]
        >>> [InverseTime(rate=1, every=2, staircase=True).factor(epoch) for epoch in range(4)]
        [1.0, 1.0, 0.5, 0.5]
    """

    rate: Annotated[float, In("[0, inf)")]
    _: KW_ONLY
    every: Annotated[int, AtLeast(1)] = 1
    staircase: bool = False

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        check_flag("InverseTime(staircase=...)", self.staircase)

    @override
    def formula(self, t: float, total: float) -> float:
        return 1 / (1 + self.rate * _paces(t, self.every, staircase=self.staircase))


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
        gamma: Factor of a drop, in (0, inf); above 1 the LR grows.

    Raises:
        TypeError: An argument is not a number, or `size` not a whole one.
        ValueError: An argument is out of range.

    Example:
        >>> [Step(2, 0.5).factor(epoch) for epoch in range(5)]
        [1.0, 1.0, 0.5, 0.5, 0.25]
    """

    size: Annotated[int, AtLeast(1)]
    gamma: Annotated[float, In("(0, inf)")] = 0.1

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
        gamma: Factor of a drop, in (0, inf); above 1 the LR grows.

    Raises:
        TypeError: An argument or a milestone has the wrong type.
        ValueError: An argument is out of range; `milestones` is empty or not strictly increasing.

    Example:
        >>> [MultiStep([2, 3], 0.5).factor(epoch) for epoch in range(5)]
        [1.0, 1.0, 0.5, 0.25, 0.25]
    """

    milestones: abc.Sequence[int]
    gamma: Annotated[float, In("(0, inf)")] = 0.1

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


def _paces(t: float, every: int, *, staircase: bool) -> float:
    """Return how often `every` has passed at `t`; whole times only with `staircase`."""
    return t // every if staircase else t / every
