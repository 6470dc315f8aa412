"""The figure of a monitored curve, its parts colored by the verdict on them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from textwrap import fill
from typing import TYPE_CHECKING, Any

from lightning_lr.detector import Verdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Record", "plateau_figure"]

# Told apart by people who see no red and green, on a light and on a dark page.
_COLORS = {
    "undecided": "#888888",
    "improving": "#0072b2",
    "plateau": "#e69f00",
    "overfitting": "#cc79a7",
    "diverging": "#d55e00",
}
# Characters of a line beside the mark of an action.
_LINE = 45


@dataclass(frozen=True)
class Record:
    """One validation and what came of it.

    Args:
        validation: Its number in the run, counted from 1.
        step: The x of its points in the loggers.
        value: The monitored value.
        training_loss: Mean training loss since the validation before; NaN where there was none.
        lr: The LR of the group with the highest one, before any action.
        verdict: The verdict on it.
        effects: What the actions did.
    """

    validation: int
    step: int
    value: float
    training_loss: float
    lr: float
    verdict: Verdict
    effects: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values, as checkpoints hold them."""
        return {**vars(self), "verdict": self.verdict.to_dict(), "effects": list(self.effects)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Record":
        """Return the record that `to_dict` gave.

        Example:
            >>> from lightning_lr.detector import Verdict
            >>> record = Record(1, 9, 0.5, 0.4, 0.1, Verdict("plateau", 0.0, 0.1, 0.2, 10, "Flat."))
            >>> Record.from_dict(record.to_dict()) == record
            True
        """
        return cls(**{**values, "verdict": Verdict(**values["verdict"]), "effects": tuple(values["effects"])})


def plateau_figure(records: Sequence[Record], monitor: str) -> "Figure":
    """Draw the monitored value over the steps, in the color of the verdict, and the LR below it.

    What was done is marked, and the validations that its verdict rests on are shaded in its color.

    Args:
        records: The validations in their order, at least one.
        monitor: The name of the value.

    Returns:
        A figure of its own, of no canvas but matplotlib's default.

    Example:
        >>> from lightning_lr.detector import Verdict
        >>> record = Record(
        ...     1, 9, 0.5, 0.4, 0.1, Verdict("plateau", 0.0, 0.1, 0.2, 10, "Flat."), ("LR 0.1 -> 0.03",)
        ... )
        >>> plateau_figure([record], "val_loss").axes[0].get_ylabel()
        'val_loss'
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained", facecolor="white")
    curve, rates = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    steps = [record.step for record in records]
    values = [record.value for record in records]
    curve.plot(steps, values, color="0.8", linewidth=1, zorder=1)
    for state, color in _COLORS.items():
        of_state = [record for record in records if record.verdict.state == state]
        if of_state:
            xs, ys = [record.step for record in of_state], [record.value for record in of_state]
            curve.plot(xs, ys, ".", color=color, markersize=7, label=state, zorder=2)
    for before, record in pairwise(records):
        color = _COLORS[record.verdict.state]
        curve.plot([before.step, record.step], [before.value, record.value], color=color, zorder=2)
    for index, record in enumerate(records):
        if record.effects:
            _mark_action(curve, rates, records[: index + 1])
    rates.plot(steps, [record.lr for record in records], drawstyle="steps-pre", color="0.3")
    if all(record.lr > 0 for record in records):
        rates.set_yscale("log")
    curve.set(ylabel=monitor, title=f"Verdicts on {monitor}")
    rates.set(xlabel="step", ylabel="LR")
    curve.legend(fontsize="small")
    return figure


def _mark_action(curve: "Axes", rates: "Axes", records: Sequence[Record]) -> None:
    """Mark what was done at the last of these validations, and shade those that the verdict rests on."""
    last = records[-1]
    first = records[-min(max(1, last.verdict.window), len(records))]
    curve.axvspan(first.step, last.step, color=_COLORS[last.verdict.state], alpha=0.12, linewidth=0)
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
    )
