"""The evidence of a range test: its sentence, points and table of all rules."""

import time
from dataclasses import replace
from functools import partial

from lightning_lr.finders.range_test.curve import LossCurve
from lightning_lr.finders.range_test.figure import range_test_figure
from lightning_lr.finders.range_test.rules import read_all
from lightning_lr.finders.report import Evidence
from lightning_lr.finders.suggestion import Decision, Suggestion
from lightning_lr.output.points import Point

__all__ = ["evidence_of", "summarize"]


def summarize(decision: Decision) -> str:
    """Return a decision in a sentence or two."""
    if isinstance(decision, Suggestion):
        found = f"{decision.lr:.3g} ({decision.low:.3g} to {decision.high:.3g}) by {decision.rule}"
        return f"LR {found}. {decision.reason}"
    return f"no LR by {decision.rule}. {decision.reason}"


def evidence_of(
    curve: LossCurve, decision: Decision, validation: LossCurve | None = None, *, tag: str = "range_test"
) -> Evidence:
    """Return what a decision rests on, under a tag of the loggers; x is the step of the test."""
    now = time.time()
    points = [
        Point(index, now, {f"{tag}/lr": lr, f"{tag}/loss": loss})
        for index, (lr, loss) in enumerate(zip(curve.lrs, curve.losses, strict=True))
    ]
    if validation is not None:
        losses = dict(zip(validation.lrs, validation.losses, strict=True))
        points = [
            replace(point, values={**point.values, f"{tag}/val_loss": losses[lr]}) if lr in losses else point
            for point, lr in zip(points, curve.lrs, strict=True)
        ]

    figure = partial(range_test_figure, curve, decision, validation)
    return Evidence(tag, points, figure, lambda: _table(curve))


def _table(curve: LossCurve) -> str:
    rows = [
        f"| {name} | {other.lr:.3g} | {other.reason} |"
        if isinstance(other, Suggestion)
        else f"| {name} | - | {other.reason} |"
        for name, other in read_all(curve).items()
    ]
    return "\n".join(["| rule | LR | reason |", "|---|---|---|", *rows])
