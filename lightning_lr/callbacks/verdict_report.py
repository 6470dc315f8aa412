"""Shows what a PlateauDetector sees and does: scalars, lines in the log of decisions, and a figure."""

import math
import time
from collections.abc import Sequence

from lightning.pytorch import Trainer

from lightning_lr.callbacks.decision_log import Entry, tell
from lightning_lr.callbacks.drawing import draw
from lightning_lr.callbacks.points import Point, write_points
from lightning_lr.callbacks.saved_state import Read, count, each_of, number, one_of, read_entries, text
from lightning_lr.figures.plateau import plateau_figure
from lightning_lr.record import Record

__all__ = ["draw_verdicts", "read_record", "tell_verdict", "write_verdict"]

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


def draw_verdicts(trainer: Trainer, monitor: str, records: Sequence[Record]) -> None:
    """Draw the figure of a fit; to be called on every rank."""
    if records:
        made = tuple(records)
        draw(trainer, f"plateau/{monitor}", lambda: plateau_figure(made, monitor), made[-1].step)
