"""The LRs of a run as planned and as used, in one figure."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from lightning_lr.checkpoints.saved_state import Read, count, each_of, number, positive, read_entries, text
from lightning_lr.decay.lr_decay import LRDecay
from lightning_lr.fit.lightnings import Trainer
from lightning_lr.fit.neighbors import callbacks_of
from lightning_lr.logger.figures.thinned import ThinnedCurve
from lightning_lr.logger.steps.buffer import StepRecord
from lightning_lr.output.drawing import draw, draws
from lightning_lr.preview.of_fit import planned_run
from lightning_lr.preview.planned import Preview
from lightning_lr.rates import are_lent

__all__ = ["LRHistory"]

_TAG = "lr"


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
        plan = self._plan
        if plan is not None:
            used = {tag: (group.used.x, group.used.y) for tag, group in self._groups.items() if group.used.x}
            draw(trainer, _TAG, lambda: plan.figure(used), step)

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
