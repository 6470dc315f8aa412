"""Figures of curves and decisions, legible on a light and on a dark page.

Drawn without pyplot, so that no window opens and no global state is left.
"""

from typing import TYPE_CHECKING

import numpy as np

from lightning_lr.curve import LossCurve, smooth
from lightning_lr.decisions import Decision, Suggestion
from lightning_lr.suggest import read_all

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["range_test_figure"]


def range_test_figure(curve: LossCurve, decision: Decision) -> "Figure":
    """Draw the losses of a range test over their LRs, and the LR of every rule.

    Args:
        curve: What the test recorded.
        decision: What was decided.

    Returns:
        A figure of its own, of no canvas but matplotlib's default.

    Example:
        >>> from lightning_lr.decisions import Abstention
        >>> figure = range_test_figure(
        ...     LossCurve((0.1, 0.2, 0.4), (1.0, 0.9, 2.0)), Abstention("Basin", "Few.")
        ... )
        >>> figure.axes[0].get_xlabel()
        'learning rate (log scale)'
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    losses = np.array(curve.losses)
    axes.plot(curve.lrs, losses, ".", color="0.6", label="loss after each step")
    if np.isfinite(losses).sum() >= 3:
        smoothed = smooth(curve)
        axes.plot(10**smoothed.log_lrs, smoothed.losses, color="C0", linewidth=2, label="smoothed")
        drop = max(abs(smoothed.drop), 6 * smoothed.noise, 1e-12)
        axes.set_ylim(smoothed.losses.min() - 0.3 * drop, smoothed.initial + 1.5 * drop)
    for index, (name, other) in enumerate(read_all(curve).items()):
        if isinstance(other, Suggestion) and name != decision.rule:
            axes.axvline(other.lr, color=f"C{index + 4}", linestyle=":", label=f"{name}: {other.lr:.2g}")
    if isinstance(decision, Suggestion):
        axes.axvspan(decision.low, decision.high, color="C3", alpha=0.15)
        axes.axvline(
            decision.lr, color="C3", linewidth=2, label=f"{decision.rule}: {decision.lr:.2g} (chosen)"
        )
    axes.set(xscale="log", xlabel="learning rate (log scale)", ylabel="training loss", title=_title(decision))
    axes.legend(fontsize="small")
    return figure


def _title(decision: Decision) -> str:
    if isinstance(decision, Suggestion):
        return f"LR range test: {decision.lr:.3g} by {decision.rule}"
    return f"LR range test: no LR by {decision.rule}"
