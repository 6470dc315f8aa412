"""Which LR comes next in a range test, and when it ends, for dry steps and real ones alike."""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from lightning_lr.checks import check_choice, check_count, check_number
from lightning_lr.finders.range_test.curve import LossCurve, has_diverged, has_risen
from lightning_lr.finders.range_test.rules import Rule
from lightning_lr.finders.suggestion import Abstention, Decision

__all__ = ["Ramp", "ramp", "read_ramp"]

# If the loss never rises, an extended ramp goes on for at most this many decades.
_EXTRA_DECADES = 6


class Ramp:
    """Hands out the LRs of a ramp one by one and takes the losses.

    A step measures its loss before its own update, hence after the update with the LR before. So there is
    one step more than there are LRs, and the first loss belongs to no LR.

    Args:
        lrs: At least two, rising.
        extend: Whether to go on by a decade at a time until the loss has risen again.
        stops: Whether to end as soon as the loss has blown up.
        stride: In how many times larger steps to go on, where few are left.

    Example:
        >>> ramp = Ramp([0.1, 0.2], extend=False)
        >>> for loss in (1.0, 0.9, 0.8):
        ...     lr = ramp.next_lr()
        ...     ramp.add_loss(loss)
        >>> ramp.next_lr() is None, ramp.curve().lrs, ramp.curve().losses
        (True, (0.1, 0.2), (0.9, 0.8))
    """

    def __init__(self, lrs: Sequence[float], *, extend: bool, stops: bool = True, stride: int = 1) -> None:
        self._lrs = list(lrs)
        # From one LR to the next beyond these.
        self._ratio = (self._lrs[1] / self._lrs[0]) ** stride
        self._extends = extend
        self._furthest = self._lrs[-1] * 10**_EXTRA_DECADES if extend else self._lrs[-1]
        self._stops = stops
        self._handed_out = 0
        self._has_begun = False
        self._losses: list[float] = []
        self._diverged = False

    @property
    def num_steps(self) -> int:
        """The number of steps, as far as is known now: one for each LR, and one for the last loss."""
        return len(self._lrs) + 1

    @property
    def has_no_wall(self) -> bool:
        """Whether it has gone on as far as it may above its range, and the loss has not risen."""
        reached = self._extends and len(self._losses) == len(self._lrs) and self._lrs[-1] >= self._furthest
        return reached and not has_risen(self.curve())

    def next_lr(self) -> float | None:
        """Return the LR of the next step, or None if the ramp has ended."""
        at_end = self._handed_out == len(self._lrs) and self._lrs[-1] < self._furthest
        if at_end and not has_risen(self.curve()):
            decade = range(1, 1 + math.ceil(1 / math.log10(self._ratio)))
            self._lrs += [self._lrs[-1] * self._ratio**step for step in decade]
        if (self._diverged and self._stops) or self._handed_out > len(self._lrs):
            return None
        self._handed_out += 1
        return self._lrs[min(self._handed_out, len(self._lrs)) - 1]

    def add_loss(self, loss: float) -> None:
        """Take the loss of the last step."""
        if self._has_begun:
            self._losses.append(loss)
        self._has_begun = True
        self._diverged = has_diverged(self._losses or [loss])

    def curve(self) -> LossCurve:
        """Return the curve so far."""
        recorded = self._lrs[: len(self._losses)]
        return LossCurve(tuple(recorded), tuple(self._losses), diverged=self._diverged)


def read_ramp(made: Ramp, rule: Rule) -> Decision:
    """Return what a rule reads off a ramp; nothing where every LR, however high, did no harm.

    A loss can have a ceiling: of outputs that are normalized, behind layers that are too, it stays finite for
    weights of any size. The end of such a ramp says nothing about which LR is too high.
    """
    if made.has_no_wall:
        highest = made.curve().lrs[-1]
        seen = f"The loss has not risen again up to LR {highest:.3g}, far above the model's own scale"
        return Abstention(type(rule).__name__, f"{seen}: use LRSearch, or set a `max_lr`.", seen)
    return rule.suggest(made.curve())


def ramp(
    low: float, high: float, num_steps: int, *, mode: Literal["exponential", "linear"] = "exponential"
) -> tuple[float, ...]:
    """Return the LRs of a ramp, evenly spaced on the logarithmic axis or on the linear one.

    `low (high / low)^(k / (n - 1))`, or `low + (high - low) k / (n - 1)`, for k = 0 .. n - 1.

    Example:
        >>> [round(lr, 3) for lr in ramp(0.5, 8.0, 5)]
        [0.5, 1.0, 2.0, 4.0, 8.0]
        >>> ramp(1.0, 2.0, 3, mode="linear")
        (1.0, 1.5, 2.0)
    """
    check_number("ramp(low=...)", low, "(0, inf)")
    check_number("ramp(high=...)", high, f"({low}, inf)")
    check_count("ramp(num_steps=...)", num_steps, minimum=2)
    check_choice("ramp(mode=...)", mode, ("exponential", "linear"))
    space = np.geomspace if mode == "exponential" else np.linspace
    return tuple(space(low, high, num_steps).tolist())
