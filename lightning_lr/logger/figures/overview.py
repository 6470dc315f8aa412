"""Keeps what the overview of a run shows, and draws it now and then."""

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lightning_lr.checkpoints.saved_state import Read, count, each_of, number, positive, read_entries, text
from lightning_lr.finders.finder import Finder
from lightning_lr.finders.suggestion import Suggestion
from lightning_lr.fit.lightnings import Trainer
from lightning_lr.fit.neighbors import callbacks_of
from lightning_lr.logger.figures.thinned import ThinnedCurve, ThinnedRun
from lightning_lr.logger.steps.buffer import StepRecord
from lightning_lr.output.decisions import story_of
from lightning_lr.output.drawing import draw, draws
from lightning_lr.output.overview import Mark, Overview, Tested, overview_figure
from lightning_lr.plateau.plateau_detector import PlateauDetector

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["RunOverview", "marks_of"]

# A capital letter, so that it comes before our other figures, and before all charts of Time Series.
_TAG = "Overview"
# All drawings but the last may take this share of the time of a fit. The first takes about as many seconds.
_TIME_SHARE, _FIRST_S = 0.01, 0.3
# It is drawn again after this share of the run, or if a run has become this many times as long.
_SHARE, _GROWTH = 0.1, 4
_CHANGE = re.compile(r"LR ([\d.e+-]+) -> ([\d.e+-]+)")
_OTHERS = ("resume", "warm-up end", "new plan", "group added", "LR changed", "LR kept")


class RunOverview:
    """The figure `Overview`: LRs, losses and decisions of a run, drawn at the end of epochs and of the fit.

    A long run is drawn about a dozen times, and one of less than half a minute once, at its end. If no logger
    takes figures, it keeps nothing.

    Args:
        is_wanted: False for none.
    """

    def __init__(self, *, is_wanted: bool) -> None:
        self._is_wanted = is_wanted
        self._run = ThinnedRun()
        self._validations = ThinnedCurve()
        self._name = "loss/val"
        self._last: Overview | None = None
        self._began, self._spent_s, self._cost_s = time.perf_counter(), 0.0, _FIRST_S
        self._drawn_step, self._drawn_share = 0, 0.0

    def begin(self, trainer: Trainer, step: int) -> None:
        """Begin to keep, if there is a logger that takes figures."""
        self._is_wanted = self._is_wanted and draws(trainer)
        self._began, self._drawn_step = time.perf_counter(), max(0, step)

    def add(self, records: Iterable[StepRecord]) -> None:
        """Add the LRs and losses of some steps."""
        if self._is_wanted:
            self._run.extend(records)

    def add_validation(self, step: int, losses: Mapping[str, float], names: Mapping[str, str]) -> None:
        """Add the loss of a validation, of the first loader if there are several.

        Args:
            step: The last step before it.
            losses: The losses by tag.
            names: The names of their curves by tag.
        """
        if not self._is_wanted or not losses:
            return
        tag, loss = next(iter(losses.items()))
        self._name = names[tag]
        self._validations.extend([step], [loss])

    def draw_if_due(self, trainer: Trainer, step: int, share: float, best: str) -> None:
        """Draw what there is so far if it is time to.

        Args:
            trainer: The Trainer of the fit.
            step: The last step.
            share: The share of the run that is over; 0 if that is unknown.
            best: The best validation in words; an empty text if there was none.
        """
        is_longer = step >= _GROWTH * max(1, self._drawn_step) or share - self._drawn_share >= _SHARE
        budget = _TIME_SHARE * (time.perf_counter() - self._began)
        if self._is_wanted and is_longer and self._spent_s + self._cost_s <= budget:
            self._drawn_share = share
            self.draw(trainer, step, best)

    def draw(self, trainer: Trainer, step: int, best: str) -> None:
        """Draw what there is so far."""
        if self._is_wanted and self._run.steps:
            begin = time.perf_counter()
            last = self._last = self.overview(trainer, best)
            draw(trainer, _TAG, lambda: overview_figure(last), step)
            self._drawn_step, self._cost_s = step, time.perf_counter() - begin
            self._spent_s += self._cost_s

    def figure(self) -> "Figure":
        """Return the figure that was drawn last.

        Raises:
            RuntimeError: There is none.
        """
        if self._last is None:
            raise RuntimeError(
                "LRLogger has nothing to plot before `Trainer.fit` has ended, with `overview=True` and with a"
                " logger that takes images, such as TensorBoardLogger."
            )
        return overview_figure(self._last)

    def overview(self, trainer: Trainer, best: str) -> Overview:
        """Return what there is so far."""
        judged = [detector.records for detector in callbacks_of(trainer, PlateauDetector)][:1]
        return Overview(
            title="; ".join(filter(None, [self._title(), best])),
            steps=self._run.steps,
            high=self._run.high,
            low=self._run.low,
            losses=self._run.losses,
            validations=(self._validations.x, self._validations.y),
            validated=self._name,
            verdicts=[(record.step, record.verdict.state) for records in judged for record in records],
            marks=marks_of(story_of(trainer).entries),
            tested=_tested(trainer),
        )

    def _title(self) -> str:
        highest, last = max(self._run.high), self._run.high[-1]
        return f"LR {highest:.3g}" if last == highest else f"LR {highest:.3g}, now {last:.2g}"

    def state(self) -> dict[str, Any]:
        """Return what is kept as plain values."""
        return {
            "run": self._run.state(),
            "validations": self._validations.to_dict(),
            "name": self._name,
        }

    def restore(self, state: object) -> None:
        """Continue from what `state` returned, or from nothing; raise ValueError for anything else."""
        if state is None:
            return
        values = read_entries(state, _ENTRIES)
        self._run.restore(values["run"])
        self._validations = ThinnedCurve.from_dict(values["validations"])
        self._name = values["name"]


_CURVE: dict[str, Read] = {
    "count": count,
    "stride": positive,
    "x": each_of(count),
    "y": each_of(number),
}
_ENTRIES: dict[str, Read] = {
    "run": lambda state: state,
    "validations": lambda state: read_entries(state, _CURVE),
    "name": text,
}


def marks_of(entries: Sequence[Mapping[str, Any]]) -> list[Mark]:
    """Return the decisions of a story that a look at the LR or the loss asks about, in two words each.

    Example:
        >>> entry = {
        ...     "step": 9,
        ...     "kind": "action",
        ...     "effect": "LR 0.02 -> 0.006",
        ...     "evidence": {"verdict": {"state": "plateau"}},
        ... }
        >>> marks_of([entry])
        [Mark(step=9, text='plateau: LR x0.3', changes_lr=True)]
    """
    marks = []
    for entry in entries:
        text = _told(entry)
        if text is not None:
            marks.append(Mark(entry["step"], text, changes_lr=_CHANGE.search(entry["effect"]) is not None))
    return marks


def _told(entry: Mapping[str, Any]) -> str | None:
    kind, effect = entry["kind"], entry["effect"]
    change = _CHANGE.search(effect)
    if kind in ("range test", "search"):
        return f"{kind}: LR {float(change[2]):.2g}" if change else f"{kind}: same LR"
    if kind != "action":
        return kind if kind in _OTHERS else None
    state = entry["evidence"].get("verdict", {}).get("state", "action")
    if ", and on to " in effect:
        return "end: LR to 0"
    if not change:
        return f"{state}: acted"
    old, new = float(change[1]), float(change[2])
    return f"{state}: LR x{new / old:.2g}" if old else f"{state}: LR {new:.2g}"


def _tested(trainer: Trainer) -> Tested | None:
    """Return what the last test of the first finder that has tested saw."""
    for finder in callbacks_of(trainer, Finder):
        pairs = [
            [value for tag, value in sorted(point.values.items()) if tag.endswith(("/loss", "/lr"))]
            for point in finder.points
        ]
        pairs = [pair for pair in pairs if len(pair) == 2]
        if pairs:
            found = finder.suggestion
            known = (found.lr, found.low, found.high) if isinstance(found, Suggestion) else ()
            return Tested(finder.kind, [lr for _, lr in pairs], [loss for loss, _ in pairs], *known)
    return None
