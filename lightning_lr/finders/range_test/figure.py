"""The figure of a range test."""

from itertools import cycle
from typing import TYPE_CHECKING

import numpy as np

from lightning_lr.finders.range_test.curve import LossCurve, smooth
from lightning_lr.finders.range_test.rules import read_all
from lightning_lr.finders.suggestion import Decision, Suggestion
from lightning_lr.output.style import COLORS, RULES, dress, entitle, mark_chosen, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["range_test_figure"]


def range_test_figure(
    curve: LossCurve, decision: Decision | None = None, validation: LossCurve | None = None
) -> "Figure":
    """Draw the losses of a range test over their LRs, and the LR of every rule, dotted.

    Args:
        curve: The recorded curve.
        decision: What was decided, drawn in red; None to show the curve alone.
        validation: The validation loss along the ramp, if it was measured.

    Example:
        >>> figure = range_test_figure(LossCurve((0.1, 0.2, 0.4), (1.0, 0.9, 2.0)))
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
    chosen = None if decision is None else decision.rule
    for (name, other), color in zip(read_all(curve).items(), cycle(RULES)):
        if isinstance(other, Suggestion) and name != chosen:
            axes.axvline(other.lr, color=color, linestyle=":", label=f"{name}: {other.lr:.2g}")
    if isinstance(decision, Suggestion):
        mark_chosen(axes, decision.lr, decision.low, decision.high)
    axes.set(xscale="log", xlabel="learning rate (log scale)", ylabel="training loss")
    entitle(axes, _title(decision))
    # Outside, where it hides no part of the curve.
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize="small", frameon=False)
    return figure


def _title(decision: Decision | None) -> str:
    if isinstance(decision, Suggestion):
        return f"LR range test: {decision.lr:.3g} by {decision.rule}"
    return "LR range test" if decision is None else f"LR range test: no LR by {decision.rule}"
