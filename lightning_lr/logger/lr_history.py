"""The LRs of a run as planned and as used, in one figure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from lightning_lr.decay.lr_decay import LRDecay
from lightning_lr.fit.lightnings import Trainer
from lightning_lr.fit.neighbors import callbacks_of
from lightning_lr.fit.saved_state import Read, count, each_of, number, positive, read_entries, text
from lightning_lr.logger.step_buffer import StepRecord
from lightning_lr.output.drawing import draw, draws
from lightning_lr.preview.of_fit import planned_run
from lightning_lr.preview.planned import Preview
from lightning_lr.rates import are_lent

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["LRHistory", "ThinnedCurve"]

_TAG = "lr"
_MOST_POINTS = 1000


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


@dataclass
class _Group:
    """One parameter group: the base LR at the start of the run, and the LRs of its steps."""

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
    """Keeps the LRs of a run beside LRDecay's plan from its start, and draws both.

    Without LRDecay, without an end of the run, or without a logger that takes figures, it keeps nothing.

    Attributes:
        has_begun: Whether the plan has been read.
    """

    def __init__(self) -> None:
        self._groups: dict[str, _Group] = {}
        self._plan: Preview | None = None
        self.has_begun = False

    def begin(self, trainer: Trainer, step: int) -> None:
        """Read the plan and draw it once the base LRs are known; called after every batch."""
        if self.has_begun or are_lent(trainer.optimizers):
            return
        self.has_begun = True
        self._plan = _plan_of(trainer)
        if self._plan is None:
            return
        if not self._groups:
            self._groups = {tag: _Group(base) for tag, base in self._plan.base_lrs.items()}
        # A resumed run is compared with the plan from its start.
        began_with = {tag: group.base_lr for tag, group in self._groups.items()}
        self._plan = replace(self._plan, base_lrs=began_with)
        self.draw(trainer, step)

    def add(self, records: Iterable[StepRecord]) -> None:
        """Add the LRs of some steps."""
        rates = [(record.step, record.rates) for record in records]
        for tag, group in self._groups.items():
            points = [(step, of_step[tag]) for step, of_step in rates if tag in of_step]
            group.used.extend([step for step, _ in points], [lr for _, lr in points])

    def draw(self, trainer: Trainer, step: int) -> None:
        """Draw the plan and the LRs so far."""
        if self._plan is not None:
            draw(trainer, _TAG, self.figure, step)

    def figure(self) -> "Figure":
        """Return the figure of the plan and the LRs so far; raise RuntimeError if there is no plan."""
        if self._plan is None:
            raise RuntimeError(
                "LRLogger has nothing to plot: it needs LRDecay, a run with an end, a logger that takes"
                " images, and a first step."
            )
        used = {tag: (group.used.x, group.used.y) for tag, group in self._groups.items() if group.used.x}
        return self._plan.figure(used)

    def state(self) -> list[dict[str, Any]]:
        """Return the LRs so far as plain values."""
        return [
            {"tag": tag, "base_lr": group.base_lr, **group.used.to_dict()}
            for tag, group in self._groups.items()
        ]

    def restore(self, state: object) -> None:
        """Continue from what `state` returned; raise ValueError for anything else."""
        groups = each_of(lambda values: read_entries(values, _ENTRIES))(state)
        self._groups = {each["tag"]: _Group(each["base_lr"], ThinnedCurve.from_dict(each)) for each in groups}


def _plan_of(trainer: Trainer) -> Preview | None:
    decays = callbacks_of(trainer, LRDecay)
    if not decays or not draws(trainer):
        return None
    try:
        planned = planned_run(trainer, decays[0].schedule.without_cooldowns())
    except ValueError:  # The run has no end.
        return None
    return planned if planned.timeline.in_steps else None
