"""The LRs of a run, as they were planned and as they were used, for one figure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from lightning.pytorch import Trainer

from lightning_lr.decay.lr_decay import LRDecay
from lightning_lr.fit.neighbors import callbacks_of
from lightning_lr.fit.saved_state import Read, count, each_of, number, positive, read_entries, text
from lightning_lr.logger.step_buffer import StepRecord
from lightning_lr.output.drawing import draw, draws
from lightning_lr.preview.of_fit import planned_run
from lightning_lr.preview.planned import Preview
from lightning_lr.rates import are_lent

__all__ = ["LRHistory", "ThinnedCurve"]

_TAG = "lr"
_MOST_POINTS = 1000


class ThinnedCurve:
    """The points of a curve, or every 2nd, 4th, 8th, ... of them if there are more than a thousand.

    Example:
        >>> curve = ThinnedCurve()
        >>> for x in range(3000):
        ...     curve.add(x, 0.5**x)
        >>> curve.x[:3], len(curve.x)
        ([0, 4, 8], 750)
    """

    def __init__(self) -> None:
        self._count = 0
        self._stride = 1
        self.x: list[int] = []
        self.y: list[float] = []

    def add(self, x: int, y: float) -> None:
        """Add the next point."""
        if self._count % self._stride == 0:
            self.x.append(x)
            self.y.append(y)
        self._count += 1
        if len(self.x) > _MOST_POINTS:
            self._stride *= 2
            del self.x[1::2], self.y[1::2]

    def to_dict(self) -> dict[str, Any]:
        """Return the points kept, and what decides which will be, as plain values."""
        return {"count": self._count, "stride": self._stride, "x": list(self.x), "y": list(self.y)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ThinnedCurve":
        """Return the curve that `to_dict` gave.

        Raises:
            ValueError: The numbers of x and y differ.
        """
        if len(values["x"]) != len(values["y"]):
            raise ValueError(f"A curve of {len(values['x'])} x and {len(values['y'])} y.")
        curve = cls()
        curve._count, curve._stride = values["count"], values["stride"]
        curve.x, curve.y = list(values["x"]), list(values["y"])
        return curve


@dataclass
class _Group:
    """What is kept of one parameter group: the base LR that the run began with, and the LRs of its steps."""

    base_lr: float
    used: ThinnedCurve = field(default_factory=ThinnedCurve)


_ENTRIES: dict[str, Read] = {
    "tag": text,
    "base_lr": number,
    "count": count,
    "stride": positive,
    "x": each_of(count),
    "y": each_of(number),
}


class LRHistory:
    """Keeps the LRs of a run beside the plan that LRDecay began it with, and draws both.

    Nothing is kept or drawn where no logger takes figures, without LRDecay, and in a run without an end.
    """

    def __init__(self) -> None:
        self._groups: dict[str, _Group] = {}
        self._plan: Preview | None = None
        self._has_begun = False

    def begin(self, trainer: Trainer, step: int) -> None:
        """Read the plan and draw it, the first time that the base LRs are known; called after every batch.

        Args:
            trainer: The Trainer of the fit.
            step: The x of the batch.
        """
        if self._has_begun or are_lent(trainer.optimizers):
            return
        self._has_begun = True
        self._plan = _plan_of(trainer)
        if self._plan is None:
            return
        if not self._groups:
            self._groups = {tag: _Group(base) for tag, base in self._plan.base_lrs.items()}
        # A resumed run is held against the plan that it began with.
        began_with = {tag: group.base_lr for tag, group in self._groups.items()}
        self._plan = replace(self._plan, base_lrs=began_with)
        self.draw(trainer, step)

    def add(self, records: Iterable[StepRecord]) -> None:
        """Take the LRs of some steps down."""
        for record in records:
            for tag, group in self._groups.items():
                if tag in record.rates:
                    group.used.add(record.step, record.rates[tag])

    def draw(self, trainer: Trainer, step: int) -> None:
        """Draw what there is so far."""
        if self._plan is not None:
            plan = self._plan
            used = {
                tag: (list(group.used.x), list(group.used.y))
                for tag, group in self._groups.items()
                if group.used.x
            }
            draw(trainer, _TAG, lambda: plan.figure(used), step)

    def state(self) -> list[dict[str, Any]]:
        """Return everything as plain values."""
        return [
            {"tag": tag, "base_lr": group.base_lr, **group.used.to_dict()}
            for tag, group in self._groups.items()
        ]

    def restore(self, state: object) -> None:
        """Go on from what `state` returned.

        Raises:
            ValueError: Not a valid state.
        """
        groups = each_of(lambda values: read_entries(values, _ENTRIES))(state)
        self._groups = {each["tag"]: _Group(each["base_lr"], ThinnedCurve.from_dict(each)) for each in groups}


def _plan_of(trainer: Trainer) -> Preview | None:
    if not draws(trainer):
        return None
    for decay in callbacks_of(trainer, LRDecay):
        try:
            planned = planned_run(trainer, replace(decay.plan, cooldown=None))
        except ValueError:
            return None
        return planned if planned.timeline.in_steps else None
    return None
