"""The LRs of a run, as they were planned and as they were used, for one figure."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from lightning.pytorch import Trainer

from lightning_lr.decay.lr_decay import LRDecay
from lightning_lr.fit.saved_state import Read, count, each_of, number, positive, read_entries, text
from lightning_lr.logger.step_buffer import StepRecord
from lightning_lr.logger.thinned import ThinnedCurve
from lightning_lr.output.drawing import draw, draws
from lightning_lr.preview.planned import Preview
from lightning_lr.preview.planned_run import planned_run
from lightning_lr.rates import are_lent

__all__ = ["LRHistory"]

_TAG = "lr"


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
            ValueError: It is nothing of the kind.
        """
        groups = each_of(lambda values: read_entries(values, _ENTRIES))(state)
        self._groups = {each["tag"]: _Group(each["base_lr"], ThinnedCurve.from_dict(each)) for each in groups}


def _plan_of(trainer: Trainer) -> Preview | None:
    if not draws(trainer):
        return None
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, LRDecay):
            try:
                planned = planned_run(trainer, replace(callback.plan, cooldown=None))
            except ValueError:
                return None
            return planned if planned.timeline.in_steps else None
    return None
