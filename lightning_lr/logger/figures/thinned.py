"""Curves of a run in a bounded number of points."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lightning_lr.checkpoints.saved_state import Read, count, each_of, number, positive, read_entries
from lightning_lr.logger.steps.buffer import StepRecord

__all__ = ["ThinnedCurve", "ThinnedRun"]

_MOST_POINTS = 1000
_MOST_STRETCHES = 500


class ThinnedCurve:
    """The points of a curve, or every 2nd, 4th, 8th, ... of them if there are more than 1000.

    Example:
        >>> curve = ThinnedCurve()
        >>> curve.extend(range(3000), [0.5**x for x in range(3000)])
        >>> curve.x[:3], len(curve.x)
        ([0, 4, 8], 750)
    """

    def __init__(self) -> None:
        self._count = 0
        self._stride = 1
        self.x: list[int] = []
        self.y: list[float] = []

    def extend(self, x: Sequence[int], y: Sequence[float]) -> None:
        """Add the next points."""
        first = -self._count % self._stride
        self.x += x[first :: self._stride]
        self.y += y[first :: self._stride]
        self._count += len(x)
        while len(self.x) > _MOST_POINTS:
            self._stride *= 2
            del self.x[1::2], self.y[1::2]

    def to_dict(self) -> dict[str, Any]:
        """Return the curve as plain values."""
        return {"count": self._count, "stride": self._stride, "x": list(self.x), "y": list(self.y)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ThinnedCurve":
        """Return the curve of a `to_dict`; raise ValueError if the numbers of x and y differ."""
        if len(values["x"]) != len(values["y"]):
            raise ValueError(f"A curve of {len(values['x'])} x and {len(values['y'])} y.")
        curve = cls()
        curve._count, curve._stride = values["count"], values["stride"]
        curve.x, curve.y = values["x"], values["y"]
        return curve


class ThinnedRun:
    """The highest and the lowest LR and the mean training loss of stretches of steps, at most 500 of them.

    The LRs are those of the first step of a stretch.

    Example:
        >>> run = ThinnedRun()
        >>> rates = {"lr/SGD/pg1": 0.1, "lr/SGD/pg2": 0.01}
        >>> run.extend(StepRecord(step, 0.0, rates, [step % 2]) for step in range(600))
        >>> run.steps[:2], run.high[0], run.low[0], run.losses[0]
        ([0, 2], 0.1, 0.01, 0.5)
    """

    def __init__(self) -> None:
        self._count = 0
        self._stride = 1
        self.steps: list[int] = []
        self.high: list[float] = []
        self.low: list[float] = []
        self._sums: list[float] = []
        self._weights: list[int] = []

    @property
    def losses(self) -> list[float]:
        """The mean training loss of each stretch; NaN if there was none."""
        pairs = zip(self._sums, self._weights, strict=True)
        return [total / weight if weight else math.nan for total, weight in pairs]

    def extend(self, records: Iterable[StepRecord]) -> None:
        """Add the next steps."""
        for record in records:
            if self._count % self._stride == 0 or not self.steps:
                self._begin_stretch(record)
            self._count += 1
            if record.losses:
                self._sums[-1] += sum(record.losses) / len(record.losses)
                self._weights[-1] += 1

    def _begin_stretch(self, record: StepRecord) -> None:
        if len(self.steps) == _MOST_STRETCHES:
            self._stride *= 2
            for values in (self.steps, self.high, self.low):
                del values[1::2]
            self._sums = [sum(self._sums[i : i + 2]) for i in range(0, _MOST_STRETCHES, 2)]
            self._weights = [sum(self._weights[i : i + 2]) for i in range(0, _MOST_STRETCHES, 2)]
        lrs = [lr for tag, lr in record.rates.items() if tag.startswith("lr/")]
        self.steps.append(record.step)
        # A step that the AMP scaler skipped has none.
        self.high.append(max(lrs) if lrs else (self.high or [0.0])[-1])
        self.low.append(min(lrs) if lrs else (self.low or [0.0])[-1])
        self._sums.append(0.0)
        self._weights.append(0)

    def state(self) -> dict[str, Any]:
        """Return the run as plain values."""
        names = ("steps", "high", "low", "sums", "weights")
        columns = (self.steps, self.high, self.low, self._sums, self._weights)
        lists = {name: list(values) for name, values in zip(names, columns, strict=True)}  # type: ignore[call-overload]
        return {"count": self._count, "stride": self._stride, **lists}

    def restore(self, state: object) -> None:
        """Continue from what `state` returned; raise ValueError for anything else."""
        values = read_entries(state, _RUN)
        if len({len(each) for each in values.values() if isinstance(each, list)}) > 1:
            raise ValueError("its lists must be of one length")
        self._count, self._stride = values["count"], values["stride"]
        self.steps, self.high, self.low = values["steps"], values["high"], values["low"]
        self._sums, self._weights = values["sums"], values["weights"]


_RUN: dict[str, Read] = {
    "count": count,
    "stride": positive,
    "steps": each_of(count),
    "high": each_of(number),
    "low": each_of(number),
    "sums": each_of(number),
    "weights": each_of(count),
}
