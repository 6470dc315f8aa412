"""What the trials of a study came to: a table, the best LR, and how flat the loss is around it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from typing_extensions import override

from lightning_lr.shown import figure_html

__all__ = ["Mode", "Result", "Results", "State"]

Mode = Literal["min", "max"]
State = Literal["complete", "pruned", "diverged"]

# LRs whose value is within this share of the best one's count as equally good.
_GOOD = 0.05


@dataclass(frozen=True)
class Result:
    """How one trial ended.

    Args:
        number: Its number in the study.
        lr: Its LR.
        value: The monitored value at its end; NaN if it diverged before there was one.
        state: Whether it trained to the end, was ended early because others were better, or diverged.
        seconds: How long it took; NaN if nobody knows.
        role: Why it has this LR, if not by the sampler.
    """

    number: int
    lr: float
    value: float
    state: State
    seconds: float = math.nan
    role: str = ""


@dataclass(frozen=True)
class Results:
    """The trials that have ended.

    Args:
        monitor: What was monitored.
        mode: Whether less or more of it is better.
        trials: The trials, in any order.

    Example:
        >>> trials = [Result(0, 0.01, 0.5, "complete", 61), Result(1, 0.04, math.nan, "diverged", 3)]
        >>> print(Results("val_loss", "min", trials).table())
          LR  val_loss     state  time
        0.01       0.5  complete  1:01  best
        0.04         -  diverged  0:03
    """

    monitor: str
    mode: Mode
    trials: Sequence[Result]

    @override
    def __repr__(self) -> str:
        best = self.best
        found = "no LR" if best is None else f"best LR {best.lr:.3g} with {self.monitor} {best.value:.4g}"
        return f"Results({len(self.trials)} trials, {found})"

    def _repr_html_(self) -> str:
        from lightning_lr.tune.figure import results_figure  # noqa: PLC0415 (it reads results)

        return figure_html(lambda: results_figure(self), repr(self))

    @property
    def best(self) -> Result | None:
        """The complete trial with the best value, the lower LR of two equal ones; None if there is none."""
        sign = 1 if self.mode == "min" else -1
        complete = [each for each in self.trials if each.state == "complete"]
        return min(complete, key=lambda each: (sign * each.value, each.lr), default=None)

    @property
    def flat_span(self) -> tuple[float, float] | None:
        """Between which LRs the value stays within 5 % of the best, read off lines between the trials.

        The lines are straight in the value over the logarithm of the LR. A span ends at the last trial within
        the 5 % if the next one diverged or was ended early. None if nothing is complete.
        """
        best = self.best
        if best is None:
            return None
        sign = 1 if self.mode == "min" else -1
        limit = sign * best.value + _GOOD * abs(best.value)
        points = sorted(
            (math.log(each.lr), sign * each.value, each.state == "complete") for each in self.trials
        )
        center = math.log(best.lr)
        above = [point for point in points if point[0] >= center]
        below = [point for point in reversed(points) if point[0] <= center]
        return math.exp(_reach(below, limit)), math.exp(_reach(above, limit))

    def table(self) -> str:
        """Return the trials as a table for the console, by rising LR."""
        rows = [("LR", self.monitor, "state", "time", "")]
        best = self.best
        for each in sorted(self.trials, key=lambda each: each.lr):
            value = f"{each.value:.4g}" if math.isfinite(each.value) else "-"
            told = ", ".join([*(["best"] if each is best else []), *([each.role] if each.role else [])])
            rows.append((f"{each.lr:.3g}", value, each.state, _clock(each.seconds), told))
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        return "\n".join(
            "  ".join(
                [*(cell.rjust(width) for cell, width in zip(row, widths, strict=False)), row[4]]
            ).rstrip()
            for row in rows
        )

    def summary(self) -> str:
        """Return the best LR, and how flat the optimum is, in a few lines."""
        best, span = self.best, self.flat_span
        counts = (
            f"{len(self.trials)} trials, {self._count('pruned')} pruned, {self._count('diverged')} diverged"
        )
        if best is None or span is None:
            return f"No best LR: {counts}. Give a lower --high, and another --study."
        low, high = span
        lrs = [each.lr for each in self.trials]
        lines = [
            f"Best LR: {best.lr:.3g}, {self.monitor} {best.value:.4g} (trial {best.number}; {counts})",
            f"Within 5 % of that: {low:.2g} to {high:.2g} ({math.log2(high / low):.1f} octaves)",
        ]
        if len(lrs) > 2 and best.lr in (min(lrs), max(lrs)):
            side = "lowest" if best.lr == min(lrs) else "highest"
            lines.append(f"It is the {side} LR that was tried: a better one may lie beyond.")
        return "\n".join(lines)

    def _count(self, state: State) -> int:
        return sum(each.state == state for each in self.trials)


def _reach(points: Sequence[tuple[float, float, bool]], limit: float) -> float:
    """Return how far from the first point, along the others, values stay within the limit."""
    for (here, value, _), (there, next_value, is_complete) in pairwise(points):
        if not is_complete:
            return here
        if next_value > limit:
            return here + (there - here) * (limit - value) / (next_value - value)
    return points[-1][0]


def _clock(seconds: float) -> str:
    if not math.isfinite(seconds):
        return "-"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
