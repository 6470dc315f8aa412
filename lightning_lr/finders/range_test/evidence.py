"""The evidence of a range test: its sentence, points, figure and table of all rules."""

import time
from dataclasses import replace
from itertools import cycle
from typing import TYPE_CHECKING

import numpy as np

from lightning_lr.finders.range_test.curve import LossCurve, smooth
from lightning_lr.finders.range_test.rules import read_all
from lightning_lr.finders.report import Evidence
from lightning_lr.finders.suggestion import Decision, Suggestion
from lightning_lr.output.points import Point
from lightning_lr.output.style import COLORS, dress, entitle, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["evidence_of", "range_test_figure", "summarize"]

_OTHERS = (COLORS["green"], COLORS["orange"], COLORS["purple"], COLORS["sky"], "0.3")


def summarize(decision: Decision) -> str:
    """Return a decision in a sentence or two."""
    if isinstance(decision, Suggestion):
        found = f"{decision.lr:.3g} ({decision.low:.3g} to {decision.high:.3g}) by {decision.rule}"
        return f"LR {found}. {decision.reason}"
    return f"no LR by {decision.rule}. {decision.reason}"


def evidence_of(curve: LossCurve, decision: Decision, validation: LossCurve | None = None) -> Evidence:
    """Return what a decision rests on; x is the step of the test."""
    now = time.time()
    points = [
        Point(index, now, {"range_test/lr": lr, "range_test/loss": loss})
        for index, (lr, loss) in enumerate(zip(curve.lrs, curve.losses, strict=True))
    ]
    if validation is not None:
        losses = dict(zip(validation.lrs, validation.losses, strict=True))
        points = [
            replace(point, values={**point.values, "range_test/val_loss": losses[lr]})
            if lr in losses
            else point
            for point, lr in zip(points, curve.lrs, strict=True)
        ]

    def figure() -> "Figure":
        return range_test_figure(curve, decision, validation)

    return Evidence("range_test", points, figure, lambda: _table(curve))


def range_test_figure(curve: LossCurve, decision: Decision, validation: LossCurve | None = None) -> "Figure":
    """Draw the losses of a range test over their LRs, and the LR of every rule.

    Example:
        >>> from lightning_lr.finders.suggestion import Abstention
        >>> figure = range_test_figure(
        ...     LossCurve((0.1, 0.2, 0.4), (1.0, 0.9, 2.0)), Abstention("Basin", "Few.")
        ... )
        >>> figure.axes[0].get_xlabel()
        'learning rate (log scale)'
    """
    figure = new_figure()
    axes = figure.add_subplot()
    dress(axes)
    losses = np.array(curve.losses)
    axes.plot(curve.lrs, losses, ".", color="0.6", label="each step")
    if np.isfinite(losses).sum() >= 3:
        smoothed = smooth(curve)
        axes.plot(10**smoothed.log_lrs, smoothed.losses, color=COLORS["blue"], linewidth=2, label="smoothed")
        drop = max(abs(smoothed.drop), 6 * smoothed.noise, 1e-12)
        axes.set_ylim(smoothed.losses.min() - 0.3 * drop, smoothed.initial + 1.5 * drop)
    if validation is not None:
        axes.plot(validation.lrs, validation.losses, "s-", color="0.3", markersize=3, label="validation")
    for (name, other), color in zip(read_all(curve).items(), cycle(_OTHERS)):
        if isinstance(other, Suggestion) and name != decision.rule:
            axes.axvline(other.lr, color=color, linestyle=":", label=f"{name}: {other.lr:.2g}")
    if isinstance(decision, Suggestion):
        color, label = COLORS["vermilion"], f"chosen: {decision.lr:.2g}"
        axes.axvspan(decision.low, decision.high, color=color, alpha=0.15)
        axes.axvline(decision.lr, color=color, linewidth=2, label=label)
    axes.set(xscale="log", xlabel="learning rate (log scale)", ylabel="training loss")
    entitle(axes, _title(decision))
    # Outside, where it hides no part of the curve.
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize="small", frameon=False)
    return figure


def _title(decision: Decision) -> str:
    if isinstance(decision, Suggestion):
        return f"LR range test: {decision.lr:.3g} by {decision.rule}"
    return f"LR range test: no LR by {decision.rule}"


def _table(curve: LossCurve) -> str:
    rows = [
        f"| {name} | {other.lr:.3g} | {other.reason} |"
        if isinstance(other, Suggestion)
        else f"| {name} | - | {other.reason} |"
        for name, other in read_all(curve).items()
    ]
    return "\n".join(["| rule | LR | reason |", "|---|---|---|", *rows])
