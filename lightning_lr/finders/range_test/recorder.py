"""Which LR comes next in a range test, and when it ends: the same for rehearsed steps and for real ones."""

import math
from collections.abc import Sequence

from lightning_lr.finders.range_test.curve import LossCurve, has_diverged, has_risen

__all__ = ["Recorder"]

# Should the loss never rise, an extended ramp goes on for so many decades.
_EXTRA_DECADES = 6


class Recorder:
    """Hands out the LRs of a ramp one by one and takes the losses.

    A step's loss is measured before its own update, hence after that of the LR before it. So there is one
    step more than there are LRs, and the first loss is nobody's.

    Args:
        lrs: At least two, rising.
        extend: Whether to go on by a decade at a time until the loss has risen again.

    Example:
        >>> recorder = Recorder([0.1, 0.2], extend=False)
        >>> for loss in (1.0, 0.9, 0.8):
        ...     lr = recorder.next_lr()
        ...     recorder.add_loss(loss)
        >>> recorder.next_lr() is None, recorder.curve()
        (True, LossCurve(lrs=(0.1, 0.2), losses=(0.9, 0.8), diverged=False))
    """

    def __init__(self, lrs: Sequence[float], *, extend: bool) -> None:
        self._lrs = list(lrs)
        self._ratio = self._lrs[1] / self._lrs[0]
        self._furthest = self._lrs[-1] * 10**_EXTRA_DECADES if extend else self._lrs[-1]
        self._handed_out = 0
        self._has_begun = False
        self._losses: list[float] = []
        self._diverged = False

    def next_lr(self) -> float | None:
        """Return the LR of the next step, or None where the ramp has ended."""
        if self._handed_out == len(self._lrs) and self._lrs[-1] < self._furthest and not self._has_risen():
            decade = range(1, 1 + math.ceil(1 / math.log10(self._ratio)))
            self._lrs += [self._lrs[-1] * self._ratio**step for step in decade]
        if self._diverged or self._handed_out > len(self._lrs):
            return None
        self._handed_out += 1
        return self._lrs[min(self._handed_out, len(self._lrs)) - 1]

    def add_loss(self, loss: float) -> None:
        """Take the loss of the step whose LR was handed out last."""
        if self._has_begun:
            self._losses.append(loss)
        self._has_begun = True
        self._diverged = has_diverged(self._losses or [loss])

    def curve(self) -> LossCurve:
        """Return what was recorded so far."""
        recorded = self._lrs[: len(self._losses)]
        return LossCurve(tuple(recorded), tuple(self._losses), diverged=self._diverged)

    def _has_risen(self) -> bool:
        return has_risen(self.curve())
