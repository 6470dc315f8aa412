"""Policies that rise again: warm restarts and cyclical LRs."""

import math
from dataclasses import KW_ONLY, dataclass, field
from typing import Annotated, Literal

from typing_extensions import override

from lightning_lr.checks import LARGEST_COUNT, AtLeast, In, check_choice, check_count, check_number
from lightning_lr.policies.base import Policy, take_floor
from lightning_lr.policies.shapes import cosine, linear
from lightning_lr.policies.spans import snap

__all__ = ["CosineRestarts", "Cyclic"]


@dataclass(frozen=True, repr=False)
class CosineRestarts(Policy):
    """Decay to `end` along half a cosine and restart, in cycles that may grow longer and lower.

    factor(t) = end + (1 - end) height_mult^n (1 + cos(pi s / L)) / 2, where cycle n = 0, 1, ... has length
    L = period mult^n and began s before t. With `num_cycles` in place of `period`, so many cycles fill the
    run.

    SGDR (Loshchilov and Hutter 2016, arXiv 1608.03983), the values of torch's
    `CosineAnnealingWarmRestarts`. `height_mult` is `m_mul` of Keras' `CosineDecayRestarts`; `num_cycles` is
    that of `get_cosine_with_hard_restarts_schedule_with_warmup` of transformers, and with `mult=2` fastai's
    `fit_sgdr`. If the run ends together with a cycle, the last value is `end`: a step that is never made
    needs no restart.

    Args:
        period: Length of the first cycle, at least 1; None with `num_cycles`.
        mult: Length of a cycle relative to the one before, in [1, 1e6].
        num_cycles: Number of cycles in the run, at least 1; None with `period`.
        end: Factor at the end of a cycle, in [0, 1].
        height_mult: Height of a cycle, above `end`, relative to the one before, in (0, inf).
        floor: The old name of `end`.

    Raises:
        TypeError: An argument is not a number, or `period` or `num_cycles` not a whole one; both or neither
            of the two are given.
        ValueError: An argument is out of range.

    Example:
        >>> [round(CosineRestarts(2, mult=2).factor(epoch, total=6), 4) for epoch in range(7)]
        [1.0, 0.5, 1.0, 0.8536, 0.5, 0.1464, 0.0]
        >>> [round(CosineRestarts(num_cycles=3, height_mult=0.5).factor(t, total=6), 4) for t in range(7)]
        [1.0, 0.5, 0.5, 0.25, 0.25, 0.125, 0.0]
    """

    period: int | None = None
    mult: Annotated[float, In("[1, 1e6]")] = 1.0
    _: KW_ONLY
    num_cycles: int | None = None
    end: Annotated[float, In("[0, 1]")] = 0.0
    height_mult: Annotated[float, In("(0, inf)")] = 1.0
    floor: float | None = field(default=None, repr=False, compare=False)

    @override
    def __post_init__(self) -> None:
        take_floor(self)
        super().__post_init__()
        check_cycles("CosineRestarts", self.period, self.mult, self.num_cycles)

    @property
    @override
    def needs_end(self) -> bool:
        return self.period is None

    @override
    def formula(self, t: float, total: float) -> float:
        cycle = cycle_at(t, total, self.period, self.mult, self.num_cycles)
        top = linear(self.end, 1.0, float(self.height_mult) ** cycle.number)
        return cosine(top, self.end, min(cycle.since / cycle.length, 1.0))


@dataclass(frozen=True)
class Cyclic(Policy):
    """Go up from `low` to `high` and down again on straight lines, again and again.

    factor(t) = low + (high - low) tri(t) scale(t), where tri goes 0 -> 1 in `step_size_up` and 1 -> 0 in
    `step_size_down`, and scale is 1 for `"triangular"`, 1/2^n in cycle n = 0, 1, ... for `"triangular2"`
    and gamma^t for `"exp_range"`.

    Cyclical learning rates (Smith 2015, arXiv 1506.01186), the values of `torch.optim.lr_scheduler.CyclicLR`
    with `base_lr=low` and `max_lr=high` for a base LR of 1.

    Args:
        step_size_up: Time from `low` to `high`, at least 1.
        step_size_down: Time from `high` to `low`, at least 1; None for `step_size_up`.
        low: Factor at the bottom of the cycles, in [0, inf).
        high: Factor at the top of the first cycle, in [low, inf).
        mode: How the height of the cycles changes.
        gamma: Factor on the height per unit of time with `"exp_range"`, in (0, 1].

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of range.

    Example:
        >>> [Cyclic(2, low=0.0, mode="triangular2").factor(step) for step in range(8)]
        [0.0, 0.5, 1.0, 0.5, 0.0, 0.25, 0.5, 0.25]
    """

    step_size_up: Annotated[int, AtLeast(1)]
    _: KW_ONLY
    step_size_down: int | None = None
    low: Annotated[float, In("[0, inf)")] = 0.1
    high: float = 1.0
    mode: Literal["triangular", "triangular2", "exp_range"] = "triangular"
    gamma: Annotated[float, In("(0, 1]")] = 1.0

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        if self.step_size_down is not None:
            check_count("Cyclic(step_size_down=...)", self.step_size_down, minimum=1)
        check_number("Cyclic(high=...)", self.high, f"[{float(self.low)}, inf)")
        check_choice("Cyclic(mode=...)", self.mode, ("triangular", "triangular2", "exp_range"))

    @override
    def formula(self, t: float, total: float) -> float:
        down = self.step_size_up if self.step_size_down is None else self.step_size_down
        size = self.step_size_up + down
        since = math.fmod(t, size)
        height = since / self.step_size_up if since <= self.step_size_up else (size - since) / down
        return linear(self.low, self.high, height * self._scale(t, size))

    def _scale(self, t: float, size: int) -> float:
        if self.mode == "triangular":
            return 1.0
        return float(0.5 ** (t // size) if self.mode == "triangular2" else self.gamma**t)


@dataclass(frozen=True)
class Cycle:
    """The cycle of a moment.

    Args:
        number: How many came before.
        since: Time since its start.
        length: How long it takes.
    """

    number: int
    since: float
    length: float


def check_cycles(name: str, period: int | None, mult: float, num_cycles: int | None) -> None:
    """Check the arguments of policies that repeat."""
    if (period is None) == (num_cycles is None):
        raise TypeError(
            f"`{name}` must have one of `period` and `num_cycles`, got {period!r} and {num_cycles!r}. Give"
            " the length of the first cycle, or the number of cycles in the run."
        )
    if num_cycles is None:
        check_count(f"{name}(period=...)", period, minimum=1)
    else:
        check_count(f"{name}(num_cycles=...)", num_cycles, minimum=1)
        if num_cycles * math.log(mult) > math.log(LARGEST_COUNT):
            raise ValueError(
                f"`{name}(num_cycles=...)` must leave the first cycle some time, got {num_cycles!r} cycles,"
                f" each {mult!r} times as long as the one before."
            )


def cycle_at(t: float, total: float, period: int | None, mult: float, num_cycles: int | None) -> Cycle:
    """Return the cycle that holds `t`; the last one, if `t` is the end of the run and of a cycle.

    Example:
        >>> cycle_at(7, 9, period=2, mult=2, num_cycles=None)
        Cycle(number=2, since=1.0, length=8.0)
        >>> cycle_at(9, 9, period=None, mult=1, num_cycles=3)
        Cycle(number=2, since=3.0, length=3.0)
    """
    growth = mult - 1
    first = float(period or 0)
    if num_cycles is not None:
        first = total * (growth / math.expm1(num_cycles * math.log1p(growth)) if growth else 1 / num_cycles)

    def start(number: int) -> float:
        # Whole numbers all the way are exact, which expm1 is not.
        if not float(mult).is_integer():
            return snap(first * math.expm1(number * math.log1p(growth)) / growth, end)
        grown = float((int(mult) ** number - 1) // int(growth)) if growth else float(number)
        return snap(first * grown, end) if num_cycles else first * grown

    end = total if num_cycles else math.inf
    number = math.floor(math.log1p(t / first * growth) / math.log1p(growth) if growth else t / first)
    # The starts are a geometric series; its inverse, a logarithm, may round to a neighboring cycle.
    if start(number) > t:
        number -= 1
    elif start(number + 1) <= t:
        number += 1
    if number and t == total == start(number):
        number -= 1
    return Cycle(number, t - start(number), start(number + 1) - start(number))
