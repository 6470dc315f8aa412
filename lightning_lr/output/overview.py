"""The figure of a run at a glance: which LR, since when, why, and what it did to the loss."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from lightning_lr.output.style import COLORS, INK, VERDICTS, dress, mark_chosen, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Mark", "Overview", "Tested", "overview_figure"]

# Inches and dots per inch. TensorBoard shows it at less than half its size, so that letters have to be large.
_SIZE, _DPI = (6.4, 3.6), 125
_SMALL, _LARGE = 9, 12
# So many letters of a title have room at full size.
_TITLE = 54
# As shares of the axes: the width of a text, the height of a row of texts, and from where on a text stands
# left of its mark.
_WIDTH, _ROW, _RIGHT = 0.32, 0.19, 0.7
# Losses that differ by more than this factor get a log axis.
_WIDE = 5
# So many neighbors on each side are averaged, as a share of the points.
_SMOOTHING = 0.02
_BAND = 0.05
# Losses beyond these percentiles may lie outside the axes: single spikes.
_SHOWN = (0.5, 99.0)


@dataclass(frozen=True)
class Mark:
    """A decision.

    Args:
        step: When it was made.
        text: What it was, in about two words.
        changes_lr: Whether it has changed the LR.
    """

    step: int
    text: str
    changes_lr: bool = True


@dataclass(frozen=True)
class Tested:
    """What a range test or a search saw.

    Args:
        name: What it was.
        lrs: The LRs it tried.
        losses: The loss at each of them.
        chosen: The LR that it chose, None if none.
        low: The lowest LR that may be as good.
        high: The highest.
    """

    name: str
    lrs: Sequence[float]
    losses: Sequence[float]
    chosen: float | None = None
    low: float = math.nan
    high: float = math.nan


@dataclass(frozen=True)
class Overview:
    """A run so far; x is the optimizer step throughout.

    Args:
        title: What it comes to, in a line.
        steps: Some of the steps, in order.
        high: The LR of the group with the highest one at each of these.
        low: The LR of the group with the lowest one.
        losses: The training loss at each of these; NaN if there is none.
        validations: The steps and the losses of the validations.
        validated: The name of the validation loss.
        verdicts: The steps and the verdicts of a PlateauDetector.
        marks: Decisions, in order.
        tested: What a test before the first step saw.
    """

    title: str
    steps: Sequence[int]
    high: Sequence[float]
    low: Sequence[float]
    losses: Sequence[float]
    validations: tuple[Sequence[int], Sequence[float]] = ((), ())
    validated: str = "loss/val"
    verdicts: Sequence[tuple[int, str]] = ()
    marks: Sequence[Mark] = ()
    tested: Tested | None = None


def overview_figure(run: Overview) -> "Figure":
    """Draw the LR above the losses, the decisions as marks across both, and what the test saw beside them.

    Example:
        >>> run = Overview("LR 0.1", [0, 1], [0.1, 0.1], [0.1, 0.1], [2.0, 1.0])
        >>> [axes.get_ylabel() for axes in overview_figure(run).axes]
        ['LR', 'loss']
    """
    figure = new_figure(_SIZE, dpi=_DPI, layout=None)
    # Fixed, since a layout that fits itself takes three times as long.
    right = 0.985 if run.tested is None else 0.70
    rates, losses = figure.subplots(
        2, 1, sharex=True, height_ratios=[5, 6],
        gridspec_kw={"left": 0.125, "right": right, "top": 0.885, "bottom": 0.125, "hspace": 0.1},
    )  # fmt: skip
    for axes in (rates, losses):
        dress(axes)
        axes.tick_params(labelsize=_SMALL)
    size = min(_LARGE, _LARGE * _TITLE / max(1, len(run.title)))
    figure.text(0.012, 0.935, run.title, fontsize=size, fontweight="bold", color="0.1")
    end = max([1, *run.steps[-1:], *run.validations[0][-1:]])
    texts = _with_text(run.marks, end)
    _draw_rates(rates, run, rows=1 + max((row for _, row in texts), default=-1))
    _draw_losses(losses, run)
    losses.set_xlim(0, end)
    losses.set_xlabel("optimizer step", fontsize=_SMALL, labelpad=1)
    for mark in run.marks:
        for axes in (rates, losses):
            axes.axvline(mark.step, color="0.35", linestyle=":", linewidth=1.2, zorder=1)
    _write_marks(rates, texts, end)
    if run.tested is not None:
        _draw_test(figure.add_axes((0.785, 0.125, 0.20, 0.68)), run.tested)
    return figure


def _draw_rates(axes: "Axes", run: Overview, *, rows: int) -> None:
    """Draw the LRs, with room above for rows of text."""
    high, low = np.array(run.high, float), np.array(run.low, float)
    if np.any(low < high):
        axes.fill_between(run.steps, low, high, color=COLORS["blue"], alpha=0.15, linewidth=0, step="post")
    axes.plot(run.steps, high, color=COLORS["blue"], linewidth=2.2, drawstyle="steps-post")
    axes.set_ylabel("LR", fontsize=_SMALL)
    positive = np.concatenate([high[high > 0], low[low > 0]])
    if positive.size:
        axes.set_yscale("log")
        # A warm-up starts at 0 and a decay may end there: these have no lowest decade.
        bottom, top = float(np.percentile(positive, 2)), float(positive.max())
        decades = max(math.log10(top / bottom), 0.5)
        above = (0.1 + rows * _ROW) / (0.9 - rows * _ROW)
        axes.set_ylim(bottom / 10 ** (0.1 * decades), top * 10 ** (above * decades))
    _label_log(axes)


def _draw_losses(axes: "Axes", run: Overview) -> None:
    steps, losses = np.array(run.steps, float), np.array(run.losses, float)
    finite = np.isfinite(losses)
    steps, losses = steps[finite], losses[finite]
    shown = [losses]
    if losses.size:
        smooth = _smoothed(losses)
        shown = [smooth]
        if losses.size > 20:
            axes.plot(steps, losses, color=COLORS["sky"], linewidth=0.7, alpha=0.5)
        axes.plot(steps, smooth, color=COLORS["sky"], linewidth=2, label="training")
    values = np.array(run.validations[1], float)
    if np.isfinite(values).any():
        many = len(values) > 60
        style = {"linewidth": 1.8} if many else {"linewidth": 1.8, "marker": ".", "markersize": 6}
        axes.plot(run.validations[0], values, color=COLORS["red"], label=run.validated, **style)
        shown.append(values[np.isfinite(values)])
    axes.set_ylabel("loss", fontsize=_SMALL)
    _scale(axes, np.concatenate(shown))
    for begin, end, state in _stretches(run.verdicts):
        axes.axvspan(begin, end, ymax=_BAND, color=VERDICTS[state], linewidth=0)
    handles, labels = axes.get_legend_handles_labels()
    seen = [state for state in VERDICTS if state in {state for _, state in run.verdicts} - {"undecided"}]
    from matplotlib.patches import Patch

    handles = [*handles, *(Patch(color=VERDICTS[state]) for state in seen)]
    if handles:
        axes.legend(handles, [*labels, *seen], loc="upper right", fontsize=_SMALL, framealpha=0.8,
                    edgecolor="none", borderpad=0.2, handlelength=1.2, labelspacing=0.2)  # fmt: skip


def _stretches(verdicts: Sequence[tuple[int, str]]) -> list[tuple[int, int, str]]:
    """Return from where to where each verdict held, the one at a validation for the steps before it.

    Example:
        >>> _stretches([(9, "improving"), (19, "improving"), (29, "plateau")])
        [(0, 19, 'improving'), (19, 29, 'plateau')]
    """
    stretches: list[tuple[int, int, str]] = []
    for (before, _), (step, state) in pairwise([(0, ""), *verdicts]):
        begin = stretches.pop()[0] if stretches and stretches[-1][2] == state else before
        stretches.append((begin, step, state))
    return stretches


def _smoothed(losses: np.ndarray) -> np.ndarray:
    """Return the mean of each value and its neighbors: at the start, where a loss falls, of few of them."""
    width = int(_SMOOTHING * losses.size)
    sums = np.concatenate([[0.0], np.cumsum(losses)])
    index = np.arange(losses.size)
    first = index - np.minimum(width, index)
    last = np.minimum(index + np.minimum(width, index), losses.size - 1)
    means: np.ndarray = (sums[last + 1] - sums[first]) / (last + 1 - first)
    return means


def _scale(axes: "Axes", values: np.ndarray) -> None:
    if not values.size:
        return
    low, high = (float(each) for each in np.percentile(values, _SHOWN))
    # The start is worth seeing, a single spike is not.
    high = max(high, float(values[0]))
    if low > 0 and high > _WIDE * low:
        axes.set_yscale("log")
        _label_log(axes)
        axes.set_ylim(low / (high / low) ** 0.12, high * (high / low) ** 0.05)
    elif high > low:
        axes.set_ylim(low - 0.12 * (high - low), high + 0.05 * (high - low))


def _label_log(axes: "Axes") -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    if axes.get_yscale() != "log":
        return
    bottom, top = axes.get_ylim()
    few = top > 30 * bottom
    axes.yaxis.set_major_locator(LogLocator(subs=(1,) if few else (1, 2, 5), numticks=5))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
    # Minor ticks take most of the time that there is to save.
    axes.yaxis.set_minor_locator(NullLocator())


def _short(value: float) -> str:
    """Return a number in few letters.

    Example:
        >>> _short(0.02), _short(0.0005), _short(200.0)
        ('0.02', '5e-4', '200')
    """
    return f"{value:g}" if 0.001 < value < 10_000 else f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e")


def _write_marks(rates: "Axes", texts: Sequence[tuple[Mark, int]], end: int) -> None:
    for mark, row in texts:
        is_right = mark.step > _RIGHT * end
        rates.annotate(
            mark.text,
            (mark.step, 0.98 - row * _ROW),
            xycoords=("data", "axes fraction"),
            xytext=(-3 if is_right else 3, 0),
            textcoords="offset points",
            ha="right" if is_right else "left",
            va="top",
            fontsize=_SMALL,
            color=INK,
            bbox={"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 0.8},
        )


def _with_text(marks: Sequence[Mark], end: int) -> list[tuple[Mark, int]]:
    """Return the marks that have room for a text, and its row: first those that change the LR.

    Example:
        >>> marks = [Mark(0, "range test"), Mark(10, "warm-up end", changes_lr=False), Mark(20, "plateau")]
        >>> [(mark.text, row) for mark, row in _with_text(marks, 100)]
        [('range test', 0), ('plateau', 1)]
    """
    rows: list[list[float]] = [[], []]
    chosen: list[tuple[Mark, int]] = []
    for mark in sorted(marks, key=lambda mark: (not mark.changes_lr, mark.step)):
        start = mark.step / end - (_WIDTH if mark.step > _RIGHT * end else 0.0)
        free = [row for row, taken in enumerate(rows) if all(abs(start - each) >= _WIDTH for each in taken)]
        if free:
            rows[free[0]].append(start)
            chosen.append((mark, free[0]))
    return chosen


def _draw_test(axes: "Axes", tested: Tested) -> None:
    dress(axes)
    axes.tick_params(labelsize=_SMALL - 1)
    order = np.argsort(np.array(tested.lrs, float), kind="stable")
    lrs, losses = np.array(tested.lrs, float)[order], np.array(tested.losses, float)[order]
    kept = np.isfinite(losses) & (lrs > 0)
    lrs, losses = lrs[kept], losses[kept]
    axes.set_title(f"{tested.name}: loss by LR", fontsize=_SMALL, color=INK, pad=4, loc="center")
    if not losses.size:
        return
    smooth = _smoothed(losses)
    axes.plot(lrs, losses, ".", color="0.7", markersize=3)
    axes.plot(lrs, smooth, color=COLORS["blue"], linewidth=1.6)
    axes.set_xscale("log")
    axes.minorticks_off()
    first, low = float(smooth[: max(1, losses.size // 20)].mean()), float(smooth.min())
    if first > low:
        axes.set_ylim(low - 0.15 * (first - low), first + 0.6 * (first - low))
    if tested.chosen is not None:
        mark_chosen(axes, tested.chosen, tested.low, tested.high)
        axes.annotate(
            f"{tested.chosen:.3g}", (tested.chosen, 0.98), xycoords=("data", "axes fraction"),
            xytext=(-3, 0), textcoords="offset points", ha="right", va="top",
            fontsize=_SMALL, fontweight="bold", color=COLORS["red"],
        )  # fmt: skip
