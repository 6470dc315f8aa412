"""Tells what a range test found: a line in the console, and text, figure and curve in TensorBoard."""

import time

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_info

from lightning_lr.callbacks.points import Point, write_points
from lightning_lr.curve import LossCurve
from lightning_lr.decisions import Decision, Suggestion
from lightning_lr.figures import range_test_figure
from lightning_lr.suggest import read_all

__all__ = ["report"]


def report(
    trainer: Trainer, curve: LossCurve | None, decision: Decision, *, old: float, applied: bool
) -> None:
    """Report a test to the console and to the loggers.

    Args:
        trainer: The Trainer of the fit.
        curve: What was recorded; None where the test could not begin.
        decision: What was decided.
        old: The LR before.
        applied: Whether the run trains with the LR found.
    """
    line = _line(decision, old=old, applied=applied)
    rank_zero_info(line)
    if not trainer.is_global_zero or curve is None:
        return
    now, step = time.time(), trainer.global_step
    points = [
        Point(index, now, {"range_test/lr": lr, "range_test/loss": loss})
        for index, (lr, loss) in enumerate(zip(curve.lrs, curve.losses, strict=True))
    ]
    write_points(trainer.loggers, points)
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_text("range_test", _text(line, curve), step)
            logger.experiment.add_figure("range_test", range_test_figure(curve, decision), step)


def _line(decision: Decision, *, old: float, applied: bool) -> str:
    if isinstance(decision, Suggestion):
        effect = f"training with it instead of {old:.3g}" if applied else f"training goes on with {old:.3g}"
        found = f"{decision.lr:.3g} ({decision.low:.2g} to {decision.high:.2g}) by {decision.rule}"
        return f"LRRangeTest: LR {found}, {effect}. {decision.reason}"
    return f"LRRangeTest: no LR by {decision.rule}, training goes on with {old:.3g}. {decision.reason}"


def _text(line: str, curve: LossCurve) -> str:
    rows = [
        f"| {name} | {other.lr:.3g} | {other.reason} |"
        if isinstance(other, Suggestion)
        else f"| {name} | - | {other.reason} |"
        for name, other in read_all(curve).items()
    ]
    return "\n".join([line, "", "| rule | LR | reason |", "|---|---|---|", *rows])
