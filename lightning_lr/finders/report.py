"""Tells what a test at startup found: a decision, and text, figure and points in the loggers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lightning.pytorch import Trainer

from lightning_lr.finders.suggestion import Decision, Suggestion
from lightning_lr.output.decisions import Entry, tell
from lightning_lr.output.drawing import draw
from lightning_lr.output.points import Point, logged_step, write_points, write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Evidence", "effect_on_lr", "report"]


@dataclass(frozen=True)
class Evidence:
    """What a decision rests on, as it is shown.

    Args:
        tag: The name of the text and of the figure.
        points: The measured curves.
        figure: Makes the figure.
        table: Makes the table below the decision, in Markdown.
    """

    tag: str
    points: Sequence[Point]
    figure: Callable[[], "Figure"]
    table: Callable[[], str]


def report(trainer: Trainer, entry: Entry, evidence: Evidence | None) -> None:
    """Report a test to the console and to the loggers; to be called on every rank.

    Args:
        trainer: The Trainer of the fit.
        entry: What was decided.
        evidence: What it rests on; None where the test could not begin.
    """
    tell(trainer, entry)
    if not trainer.is_global_zero or evidence is None:
        return
    step = logged_step(trainer)
    write_points(trainer.loggers, evidence.points)
    draw(trainer, evidence.tag, evidence.figure, step)
    write_text(trainer.loggers, evidence.tag, f"{entry.summary} {entry.effect}.\n\n{evidence.table()}", step)


def effect_on_lr(decision: Decision, *, old: float, applied: bool) -> str:
    """Say what a decision does to the LR of the run, which was `old`."""
    if applied and isinstance(decision, Suggestion):
        return f"LR {old:.3g} -> {decision.lr:.3g}"
    return f"LR stays {old:.3g}"
