"""Shows what a PlateauDetector sees and does: scalars, lines in the log of decisions, and a figure."""

import math
import time
from collections import Counter
from collections.abc import Sequence

from lightning.pytorch import Trainer

from lightning_lr.fit.saved_state import Read, count, each_of, number, one_of, read_entries, text
from lightning_lr.output.decisions import Entry, tell
from lightning_lr.output.drawing import draw
from lightning_lr.output.points import Point, write_points
from lightning_lr.plateau.actions.reduce import current_lr
from lightning_lr.plateau.figure import plateau_figure
from lightning_lr.plateau.record import Record

__all__ = ["read_record", "sum_up", "tell_verdict", "write_verdict"]

_CODES = {"undecided": 0, "improving": 1, "plateau": 2, "overfitting": 3, "diverging": 4}
_NUMBERS = ("slope", "noise", "threshold", "upper_threshold")
_PHRASES = {
    "undecided": "is not decided on yet",
    "improving": "improves",
    "plateau": "has reached a plateau",
    "overfitting": "gets worse while the training loss still falls: overfitting",
    "diverging": "gets worse, and the training loss does not fall either: diverging",
}


_VERDICT: dict[str, Read] = {
    "state": one_of(_CODES),
    **dict.fromkeys(_NUMBERS, number),
    "window": count,
    "reason": text,
}
_RECORD: dict[str, Read] = {
    **dict.fromkeys(("validation", "step"), count),
    **dict.fromkeys(("value", "training_loss", "lr"), number),
    "verdict": lambda values: read_entries(values, _VERDICT),
    "effects": each_of(text),
}


def read_record(values: object) -> Record:
    """Read a record from a checkpoint.

    Raises:
        ValueError: It is none.
    """
    return Record.from_dict(read_entries(values, _RECORD))


def write_verdict(trainer: Trainer, monitor: str, record: Record) -> None:
    """Write the numbers of a verdict to the loggers."""
    if not trainer.is_global_zero:
        return
    verdict = record.verdict
    values: dict[str, float] = {
        name: value for name in _NUMBERS if math.isfinite(value := getattr(verdict, name))
    }
    values["verdict"] = _CODES[verdict.state]
    tagged = {f"plateau/{monitor}/{name}": value for name, value in values.items()}
    write_points(trainer.loggers, [Point(record.step, time.time(), tagged)])


def tell_verdict(trainer: Trainer, monitor: str, record: Record) -> None:
    """Tell a verdict and what was done about it."""
    verdict = record.verdict
    summary = (
        f"{monitor} {_PHRASES[verdict.state]}, {record.value:.5g} at validation {record.validation}."
        f" {verdict.reason}"
    )
    effect = "; ".join(record.effects) or f"LR stays {record.lr:.4g}"
    kind = "action" if record.effects else "verdict"
    evidence = {"monitor": monitor, **record.to_dict()}
    tell(trainer, Entry("PlateauDetector", kind, summary, effect, evidence))


def sum_up(trainer: Trainer, monitor: str, records: Sequence[Record]) -> None:
    """Sum up a fit and draw its figure; to be called on every rank."""
    if not records:
        return
    made = tuple(records)
    last = made[-1]
    counts = Counter[str](record.verdict.state for record in made)
    found = ", ".join(f"{counts[state]} {state}" for state in _CODES if counts[state])
    acted = sum(bool(record.effects) for record in made)
    summary = f"Of {len(made)} validations of {monitor}: {found}. The last: {last.verdict.reason}"
    effect = f"{acted} actions, LR {current_lr(trainer):.4g} at the end"
    tell(trainer, Entry("PlateauDetector", "summary", summary, effect, {"monitor": monitor, **counts}))
    draw(trainer, f"plateau/{monitor}", lambda: plateau_figure(made, monitor), last.step)
