"""Policies that rise again: warm restarts and cyclical LRs."""

import math
from dataclasses import KW_ONLY, dataclass
from typing import Annotated, Literal

from typing_extensions import override

from lightning_lr.checks import AtLeast, In, check_choice, check_count, check_number
from lightning_lr.policies.base import Policy
from lightning_lr.policies.shapes import cosine, linear
from lightning_lr.policies.spans import snap

__all__ = ["CosineRestarts", "Cyclic"]


@dataclass(frozen=True)
class CosineRestarts(Policy):
    """Decay from 1 to `floor` along half a cosine and restart at 1, in cycles that may grow.

    factor(t) = floor + (1 - floor) (1 + cos(pi s / L)) / 2, where the cycle that holds t has length
    L = period mult^n and began s before t.

    SGDR (Loshchilov and Hutter 2016, arXiv 1608.03983), the values of torch's
    `CosineAnnealingWarmRestarts`. If the run ends together with a cycle, the last value is `floor`: a step
    that is never made needs no restart.

    Args:
        period: Length of the first cycle, at least 1.
        mult: Length of a cycle relative to the one before, in [1, 1e6].
        floor: Factor at the end of a cycle, in [0, 1].

    Raises:
        TypeError: An argument is not a number, or `period` not a whole one.
        ValueError: An argument is out of range.

    Example:
        >>> [round(CosineRestarts(2, mult=2).factor(epoch, total=6), 4) for epoch in range(7)]
        [1.0, 0.5, 1.0, 0.8536, 0.5, 0.1464, 0.0]
    """

    period: Annotated[int, AtLeast(1)]
    _: KW_ONLY
    mult: Annotated[float, In("[1, 1e6]")] = 1.0
    floor: Annotated[float, In("[0, 1]")] = 0.0

    @override
    def formula(self, t: float, total: float) -> float:
        since, length = self._cycle(t)
        if since == 0 and t == total:
            return self.floor
        return cosine(1.0, self.floor, min(since / length, 1.0))

    def _cycle(self, t: float) -> tuple[float, float]:
        """Return the time since the start of the cycle at `t`, and the length of that cycle."""
        if self.mult == 1:
            return math.fmod(t, self.period), self.period
        growth = self.mult - 1
        # The starts are a geometric series; its inverse, a logarithm, may round to a neighboring cycle.
        cycle = math.floor(math.log1p(t / self.period * growth) / math.log1p(growth))
        if self._start(cycle) > t:
            cycle -= 1
        elif self._start(cycle + 1) <= t:
            cycle += 1
        return t - self._start(cycle), self._start(cycle + 1) - self._start(cycle)

    def _start(self, cycle: int) -> float:
        growth = self.mult - 1
        if float(self.mult).is_integer():
            # Whole numbers all the way, so exact, which expm1 is not.
            return self.period * float((int(self.mult) ** cycle - 1) // int(growth))
        return snap(self.period * math.expm1(cycle * math.log1p(growth)) / growth)


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
