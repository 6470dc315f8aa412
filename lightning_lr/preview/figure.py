"""The figure of a run's learning rates: planned, and used so far."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from lightning_lr.output.style import COLORS, INK, WARMUP_TEXT, dress, entitle, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Curve", "planned_figure"]

# The x values and the LRs of one curve.
Curve: TypeAlias = tuple[Sequence[float], Sequence[float]]

_COLORS = tuple(COLORS.values())
_MOST_TICKS = 10
# LRs below this percentile may lie outside the axis: a decay to 0 has no lowest decade.
_SHOWN_FROM = 0.5


def planned_figure(
    planned: Mapping[str, Curve],
    used: Mapping[str, Curve] | None = None,
    *,
    title: str = "",
    xlabel: str = "optimizer step",
    ylabel: str = "learning rate",
    warmup: float = 0,
    epoch_starts: Sequence[float] = (),
) -> "Figure":
    """Draw the planned LRs of a run as lines and, on top, the LRs used so far as points.

    An LR holds from its x to the next one. The LR axis is logarithmic if the LRs, except those of the
    warm-up, span more than a decade; an LR of 0 then lies below the axis.

    Args:
        planned: The curve of each parameter group by its name: x values in ascending order, and LRs of at
            least 0.
        used: The same for the LRs used so far; x in the same unit.
        title: The title of the figure.
        xlabel: What x counts.
        ylabel: What y is.
        warmup: Where a ramp from x = 0 ends; 0 for none.
        epoch_starts: The x at which each epoch starts, for an axis of epochs along the top.

    Raises:
        ValueError: `planned` is empty or has a curve without points.

    Example:
        >>> figure = planned_figure({"lr/SGD": ([0, 1, 2, 3], [0.1, 0.075, 0.05, 0.025])})
        >>> figure.axes[0].get_xlabel(), figure.axes[0].get_yscale()
        ('optimizer step', 'linear')
    """
    if not planned or not all(len(x) for x, _ in planned.values()):
        raise ValueError(
            "`planned_figure(planned=...)` must have at least one curve, each of at least 1 point."
        )
    figure = new_figure()
    axes = figure.add_subplot()
    dress(axes)
    end = max(2 * x[-1] - x[-2] if len(x) > 1 else x[-1] + 1 for x, _ in planned.values())
    if warmup > 0:
        _shade_warmup(axes, min(warmup, end), end)
    _draw_curves(axes, planned, used or {}, end)
    _scale(axes, [*planned.values(), *(used or {}).values()], warmup)
    log = " (log scale)" if axes.get_yscale() == "log" else ""
    axes.set(xlim=(0, end), xlabel=xlabel, ylabel=f"{ylabel}{log}")
    if title:
        entitle(axes, title)
    if len(epoch_starts) > 1:
        _add_epochs(axes, epoch_starts)
    if len(planned) == 1 and not used:
        [curve] = planned.values()
        _mark(axes, *curve, end)
    else:
        axes.legend(fontsize="small", frameon=False, ncols=1 + len(axes.lines) // 7)
    return figure


def _draw_curves(axes: "Axes", planned: Mapping[str, Curve], used: Mapping[str, Curve], end: float) -> None:
    for (name, (x, lrs)), color in zip(planned.items(), cycle(_COLORS), strict=False):
        # The last LR holds until the run ends.
        axes.plot(
            [*x, end],
            [*lrs, lrs[-1]],
            drawstyle="steps-post",
            color=color,
            linewidth=2.2,
            alpha=0.45 if used else 1,
            solid_joinstyle="round",
            label=f"{name}, {'planned, ' if used else ''}at most {max(lrs):.3g}",
        )
        if name in used:
            axes.plot(*used[name], ".", color=color, markersize=4, label=f"{name}, used")


def _shade_warmup(axes: "Axes", warmup: float, end: float) -> None:
    axes.axvspan(0, warmup, color=COLORS["orange"], alpha=0.13, linewidth=0)
    # The text stands beside a short ramp and inside a long one.
    inside = warmup > 0.2 * end
    axes.annotate(
        "warm-up",
        (warmup / 2 if inside else warmup, 0),
        xycoords=("data", "axes fraction"),
        xytext=(0 if inside else 5, 5),
        textcoords="offset points",
        ha="center" if inside else "left",
        fontsize="small",
        color=WARMUP_TEXT,
    )


def _scale(axes: "Axes", curves: Sequence[Curve], warmup: float) -> None:
    x, lrs = (np.concatenate([curve[part] for curve in curves]).astype(float) for part in (0, 1))
    highest = lrs.max()
    # A ramp starts at 0, so it spans any number of decades.
    planned = lrs[(lrs > 0) & (x >= warmup)]
    if planned.size == 0 or highest <= 10 * planned.min():
        axes.set_ylim(0, 1.12 * highest if highest > 0 else 1)
        return
    lowest = float(np.percentile(planned, _SHOWN_FROM, method="lower"))
    margin = (highest / lowest) ** 0.08
    axes.set_yscale("log")
    axes.set_ylim(lowest / margin, highest * margin)


def _add_epochs(axes: "Axes", epoch_starts: Sequence[float]) -> None:
    every = _round_up(len(epoch_starts) / _MOST_TICKS)
    top = axes.secondary_xaxis("top")
    top.set_xticks(list(epoch_starts[::every]), [str(n) for n in range(0, len(epoch_starts), every)])
    top.set_xlabel("epoch", color=INK)
    top.tick_params(color="0.6", labelcolor=INK)
    top.spines["top"].set_color("0.8")


def _round_up(number: float) -> int:
    """Return the first of 1, 2, 5, 10, 20, ... that is at least `number`."""
    decade = 1
    while True:
        for step in (1, 2, 5):
            if step * decade >= number:
                return step * decade
        decade *= 10


def _mark(axes: "Axes", x: Sequence[float], lrs: Sequence[float], end: float) -> None:
    """Write the highest LR beside its point, and the last LR to the right of the axes."""
    color = _COLORS[0]
    peak = int(np.argmax(lrs))
    bottom, _ = axes.get_ylim()
    axes.plot(x[peak], lrs[peak], "o", color=color, markersize=6, clip_on=False)
    right = x[peak] > 0.7 * end
    axes.annotate(
        f"{lrs[peak]:.3g}",
        (x[peak], lrs[peak]),
        xytext=(-8 if right else 8, 6),
        textcoords="offset points",
        ha="right" if right else "left",
        color=color,
        fontweight="bold",
    )
    if lrs[-1] != lrs[peak]:
        axes.annotate(
            f"{lrs[-1]:.3g}",
            (end, max(lrs[-1], bottom)),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            color=color,
            fontweight="bold",
            annotation_clip=False,
        )
