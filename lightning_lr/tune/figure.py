"""The figure of a study: the loss over the LR."""

import math
from typing import TYPE_CHECKING

from lightning_lr.output.style import COLORS, GONE, dress, entitle, mark_chosen, new_figure
from lightning_lr.tune.results import Results

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["results_figure"]

_CUT = {"pruned": ("x", "ended early"), "diverged": ("^", "diverged")}


def results_figure(results: Results) -> "Figure":
    """Draw the value at the end of every trial over its LR; trials without one lie on the upper edge.

    Example:
        >>> from lightning_lr.tune.results import Result
        >>> results_figure(Results("val_loss", "min", [Result(0, 0.1, 1.9, "complete")])).axes[0].get_xscale()
        'log'
    """
    figure = new_figure()
    axes = figure.add_subplot()
    dress(axes)
    complete = sorted((each.lr, each.value) for each in results.trials if each.state == "complete")
    lrs, values = [lr for lr, _ in complete], [value for _, value in complete]
    axes.plot(lrs, values, "o-", color=COLORS["blue"], linewidth=1.5, label="trained to the end")
    best, span = results.best, results.flat_span
    if best is not None and span is not None:
        mark_chosen(axes, best.lr, *span, name="best, and all within 5 %")
    for state, (marker, label) in _CUT.items():
        cut = [each.lr for each in results.trials if each.state == state]
        if cut:
            top = axes.get_xaxis_transform()
            axes.plot(cut, [0.97] * len(cut), marker, color=GONE, transform=top, linestyle="", label=label)
    # A loss that exploded and was counted all the same would leave the others a flat line.
    is_skewed = min(values, default=0.0) > 0 and max(values) > 20 * min(values)
    axes.set(xscale="log", xlabel="learning rate (log scale)", ylabel=results.monitor)
    if is_skewed and all(map(math.isfinite, values)):
        axes.set_yscale("log")
    entitle(
        axes,
        f"Whole runs: {'no LR' if best is None else f'{best.lr:.3g}'} after {len(results.trials)} trials",
    )
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize="small", frameon=False)
    return figure
