"""Tells what a range test found: a decision, and text, figure and curve in TensorBoard."""

import time

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger

from lightning_lr.callbacks.decision_log import Entry, tell
from lightning_lr.callbacks.drawing import draw
from lightning_lr.callbacks.points import Point, logged_step, write_points
from lightning_lr.curve import LossCurve
from lightning_lr.decisions import Decision, Suggestion
from lightning_lr.figures import range_test_figure
from lightning_lr.suggest import read_all

__all__ = ["curve_points", "effect_on_lr", "report"]


def report(
    trainer: Trainer, curve: LossCurve | None, decision: Decision, *, old: float, applied: bool
) -> None:
    """Report a test to the console and to the loggers; to be called on every rank.

    Args:
        trainer: The Trainer of the fit.
        curve: What was recorded; None where the test could not begin.
        decision: What was decided.
        old: The LR before.
        applied: Whether the run trains with the LR found.
    """
    summary, effect = _summary(decision), effect_on_lr(decision, old=old, applied=applied)
    tell(trainer, Entry("LRRangeTest", "range test", summary, effect, decision.to_dict()))
    if not trainer.is_global_zero or curve is None:
        return
    step = logged_step(trainer)
    write_points(trainer.loggers, curve_points(curve))
    draw(trainer, "range_test", lambda: range_test_figure(curve, decision), step)
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_text("range_test", _text(f"{summary} {effect}.", curve), step)


def curve_points(curve: LossCurve) -> list[Point]:
    """Return the points of a recorded curve; x is the step of the test."""
    now = time.time()
    return [
        Point(index, now, {"range_test/lr": lr, "range_test/loss": loss})
        for index, (lr, loss) in enumerate(zip(curve.lrs, curve.losses, strict=True))
    ]


def _summary(decision: Decision) -> str:
    if isinstance(decision, Suggestion):
        found = f"{decision.lr:.3g} ({decision.low:.2g} to {decision.high:.2g}) by {decision.rule}"
        return f"LR {found}. {decision.reason}"
    return f"no LR by {decision.rule}. {decision.reason}"


def effect_on_lr(decision: Decision, *, old: float, applied: bool) -> str:
    """Say what a decision does to the LR of the run, which was `old`."""
    if applied and isinstance(decision, Suggestion):
        return f"LR {old:.3g} -> {decision.lr:.3g}"
    return f"LR stays {old:.3g}"


def _text(head: str, curve: LossCurve) -> str:
    rows = [
        f"| {name} | {other.lr:.3g} | {other.reason} |"
        if isinstance(other, Suggestion)
        else f"| {name} | - | {other.reason} |"
        for name, other in read_all(curve).items()
    ]
    return "\n".join([head, "", "| rule | LR | reason |", "|---|---|---|", *rows])
