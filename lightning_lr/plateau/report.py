"""Reports what PlateauDetector sees and does: scalars, decisions, and a figure."""

import math
import re
import time
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from textwrap import fill
from typing import TYPE_CHECKING

from lightning_lr.fit.lightnings import Trainer
from lightning_lr.fit.neighbors import Charts
from lightning_lr.output.decisions import Entry, tell
from lightning_lr.output.drawing import draw
from lightning_lr.output.points import Point, write_points
from lightning_lr.output.style import INK, VERDICTS, dress, entitle, new_figure
from lightning_lr.plateau.actions.base import Best
from lightning_lr.plateau.record import Record
from lightning_lr.rates import current_lr

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "best_text",
    "plateau_charts",
    "plateau_figure",
    "sum_up",
    "tell_too_few",
    "tell_verdict",
    "write_verdict",
]

_CODES = {"undecided": 0, "improving": 1, "plateau": 2, "overfitting": 3, "diverging": 4}
_NUMBERS = ("slope", "noise", "threshold", "upper_threshold")
_PHRASES = {
    "undecided": "is not decided on yet",
    "improving": "improves",
    "plateau": "has reached a plateau",
    "overfitting": "gets worse while the training loss still falls: overfitting",
    "diverging": "gets worse, and the training loss does not fall either: diverging",
}
# The same in two words, with an action after them.
_SHORT = {"plateau": "plateau of", "overfitting": "overfitting in", "diverging": "divergence of"}
# Height of the band of verdicts below the curve, as a share of the axes.
_BAND = 0.03
# Characters in a line of text beside the mark of an action.
_LINE = 45
# Positive values that differ by more than this factor get a log axis.
_WIDE = 5
# Above this factor, only powers of ten get a number.
_MANY_DECADES = 30


def plateau_charts(monitor: str) -> Charts:
    """Return the charts of TensorBoard's Custom Scalars for one monitored value."""
    # TensorBoard's kind of chart with a band shows an error if one of its curves lacks a step.
    band = [f"plateau/{monitor}/{name}" for name in ("slope", "threshold", "upper_threshold")]
    title = f"Improvement of {monitor} per validation: below the thresholds it is a plateau"
    return {
        "Plateau": {
            title: [f"{re.escape(tag)}$" for tag in band],
            "Noise of one validation": ["plateau/.*/noise$"],
        }
    }


def best_text(monitor: str, best: Best | None, records: Sequence[Record]) -> str | None:
    """Return the best value in words, with the LR that led to it; None if there is none."""
    if best is None:
        return None
    text = f"best {monitor} {best.value:.3g} at validation {best.validation}"
    found = [record for record in records if record.validation == best.validation]
    return "".join([text, *(f" (step {each.step + 1}), LR {each.lr:.3g}" for each in found)])


def write_verdict(trainer: Trainer, monitor: str, record: Record) -> None:
    """Write the numbers of a verdict to the loggers."""
    if not trainer.is_global_zero:
        return
    verdict = record.verdict
    values: dict[str, float] = {
        name: value for name in _NUMBERS if math.isfinite(value := getattr(verdict, name))
    }
    values["verdict"] = _CODES[verdict.state]
    tagged = {f"plateau/{monitor}/{name}": value for name, value in values.items()}
    write_points(trainer.loggers, [Point(record.step, time.time(), tagged)])


def tell_too_few(trainer: Trainer, monitor: str, total: float, fewest: int) -> None:
    """Tell that the run is too short for a plateau to be seen; all ranks call it."""
    summary = (
        f"The run has {total:g} validations, and a plateau of {monitor} takes at least {fewest} to be seen."
        " Validate more often, with `Trainer(val_check_interval=...)`, or give a smaller `patience`, with"
        " `PlateauDetector(detector=Progress(patience=...))`."
    )
    entry = Entry("PlateauDetector", "default", summary, f"LR stays {current_lr(trainer):.4g}")
    tell(trainer, entry, line=summary)


def tell_verdict(trainer: Trainer, monitor: str, record: Record, *, reports: bool) -> None:
    """Tell a verdict and what was done after it; all ranks call it.

    The console shows actions, and of other verdicts those that the user can act on.

    Args:
        trainer: The Trainer of the running fit.
        monitor: The name of the monitored value.
        record: The validation.
        reports: Whether the user wants plateaus to be told instead of acted on.
    """
    verdict = record.verdict
    summary = (
        f"{monitor} {_PHRASES[verdict.state]}, {record.value:.5g} at validation {record.validation}."
        f" {verdict.reason}"
    )
    effect = "; ".join(record.effects) or f"LR stays {record.lr:.4g}"
    kind = "action" if record.effects else "verdict"
    evidence = {"monitor": monitor, **record.to_dict()}
    entry = Entry("PlateauDetector", kind, summary, effect, evidence)
    bad = ("overfitting", "diverging", *(["plateau"] * reports))
    seen = f"{_SHORT[verdict.state]} {monitor} at" if verdict.state in _SHORT else f"{monitor} at"
    line = f"{seen} validation {record.validation}: {effect}."
    tell(trainer, entry, line=line if record.effects or verdict.state in bad else "")


def sum_up(trainer: Trainer, monitor: str, records: Sequence[Record]) -> None:
    """Sum up a fit and draw its figure; all ranks call it."""
    if not records:
        return
    made = tuple(records)
    last = made[-1]
    counts = Counter[str](record.verdict.state for record in made)
    found = ", ".join(f"{counts[state]} {state}" for state in _CODES if counts[state])
    acted = sum(bool(record.effects) for record in made)
    summary = f"Of {len(made)} validations of {monitor}: {found}. The last: {last.verdict.reason}"
    effect = f"{acted} actions, LR {current_lr(trainer):.4g} at the end"
    entry = Entry("PlateauDetector", "summary", summary, effect, {"monitor": monitor, **counts})
    tell(trainer, entry, line="")
    draw(trainer, f"plateau/{monitor}", lambda: plateau_figure(made, monitor), last.step)


def plateau_figure(records: Sequence[Record], monitor: str) -> "Figure":
    """Draw the monitored value, colored by verdict, and the LR below it; needs at least one record.

    A band below the curve shows the verdicts in their colors. Every action is marked, and the validations
    that its verdict is based on are shaded.

    Example:
        >>> from lightning_lr.plateau.detectors.base import Verdict
        >>> record = Record(
        ...     1, 9, 0.5, 0.4, 0.1, Verdict("plateau", 0.0, 0.1, 0.2, 0.3, 10, "Flat."), ("LR 0.1 -> 0.03",)
        ... )
        >>> plateau_figure([record], "val_loss").axes[0].get_ylabel()
        'val_loss'
    """
    figure = new_figure()
    curve, rates = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    for axes in (curve, rates):
        dress(axes)
    _draw_curve(curve, records)
    for index, record in enumerate(records):
        if record.effects:
            _mark_action(curve, rates, records[: index + 1])
    steps, lrs = [record.step for record in records], [record.lr for record in records]
    rates.plot(steps, lrs, drawstyle="steps-pre", color="0.3")
    rates.set(xlabel="optimizer step", ylabel=_scaled(rates, "LR", lrs))
    curve.set_ylabel(_scaled(curve, monitor, [record.value for record in records]))
    entitle(curve, f"Verdicts on {monitor}")
    # Beside the title, where it covers no curve and no mark.
    curve.legend(
        loc="lower right", bbox_to_anchor=(1, 1), ncols=len(VERDICTS), fontsize="small", frameon=False
    )
    return figure


def _draw_curve(curve: "Axes", records: Sequence[Record]) -> None:
    for state, color in VERDICTS.items():
        of_state = [record for record in records if record.verdict.state == state]
        if of_state:
            xs, ys = [record.step for record in of_state], [record.value for record in of_state]
            curve.plot(xs, ys, ".", color=color, markersize=7, label=state, zorder=2)
    for before, record in pairwise(records):
        color = VERDICTS[record.verdict.state]
        curve.plot([before.step, record.step], [before.value, record.value], color=color, zorder=2)
        curve.axvspan(before.step, record.step, ymax=_BAND, color=color, linewidth=0)


def _scaled(axes: "Axes", name: str, values: Sequence[float]) -> str:
    """Choose the scale of an axis and return its label."""
    if not values or min(values) <= 0 or not max(values) > _WIDE * min(values):
        return name
    from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

    axes.set_yscale("log")
    few = max(values) > _MANY_DECADES * min(values)
    axes.yaxis.set_major_locator(LogLocator(subs=(1,) if few else (1, 2, 5)))
    axes.yaxis.set_major_formatter(FormatStrFormatter("%g"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    return f"{name} (log scale)"


def _mark_action(curve: "Axes", rates: "Axes", records: Sequence[Record]) -> None:
    """Mark what was done at the last of these validations, and shade those that its verdict is based on."""
    last = records[-1]
    first = records[-min(max(1, last.verdict.window), len(records))]
    curve.axvspan(first.step, last.step, color=VERDICTS[last.verdict.state], alpha=0.12, linewidth=0)
    for axes in (curve, rates):
        axes.axvline(last.step, color="0.4", linestyle=":", linewidth=1, zorder=0)
    curve.annotate(
        fill("; ".join(last.effects), _LINE),
        (last.step, 0.98),
        xycoords=("data", "axes fraction"),
        rotation=90,
        verticalalignment="top",
        horizontalalignment="right",
        fontsize="x-small",
        color=INK,
    )
