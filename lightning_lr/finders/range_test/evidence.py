"""Tells what a range test found."""

import time
from collections.abc import Sequence

from lightning.pytorch import Trainer

from lightning_lr.finders.range_test.curve import LossCurve
from lightning_lr.finders.range_test.figure import range_test_figure
from lightning_lr.finders.range_test.rules import read_all
from lightning_lr.finders.report import Evidence, effect_on_lr, report
from lightning_lr.finders.suggestion import Decision, Suggestion
from lightning_lr.output.decisions import Entry
from lightning_lr.output.points import Point

__all__ = ["curve_points", "report_range_test"]


def report_range_test(
    trainer: Trainer,
    curve: LossCurve | None,
    decision: Decision,
    *,
    points: Sequence[Point],
    old: float,
    applied: bool,
) -> None:
    """Report a range test; to be called on every rank.

    Args:
        trainer: The Trainer of the fit.
        curve: What was recorded; None where the test could not begin.
        decision: What was decided.
        points: Those of the curve, where they belong in the run.
        old: The LR before.
        applied: Whether the run trains with the LR found.
    """
    effect = effect_on_lr(decision, old=old, applied=applied)
    entry = Entry("LRRangeTest", "range test", _summary(decision), effect, decision.to_dict())
    report(trainer, entry, None if curve is None else _evidence(curve, decision, points))


def curve_points(curve: LossCurve) -> list[Point]:
    """Return the points of a recorded curve; x is the step of the test, from 0 on."""
    now = time.time()
    return [
        Point(index, now, {"range_test/lr": lr, "range_test/loss": loss})
        for index, (lr, loss) in enumerate(zip(curve.lrs, curve.losses, strict=True))
    ]


def _evidence(curve: LossCurve, decision: Decision, points: Sequence[Point]) -> Evidence:
    return Evidence("range_test", points, lambda: range_test_figure(curve, decision), lambda: _table(curve))


def _summary(decision: Decision) -> str:
    if isinstance(decision, Suggestion):
        found = f"{decision.lr:.3g} ({decision.low:.2g} to {decision.high:.2g}) by {decision.rule}"
        return f"LR {found}. {decision.reason}"
    return f"no LR by {decision.rule}. {decision.reason}"


def _table(curve: LossCurve) -> str:
    rows = [
        f"| {name} | {other.lr:.3g} | {other.reason} |"
        if isinstance(other, Suggestion)
        else f"| {name} | - | {other.reason} |"
        for name, other in read_all(curve).items()
    ]
    return "\n".join(["| rule | LR | reason |", "|---|---|---|", *rows])
