"""The evidence of a search: its sentence, points, figure and table of trials."""

import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lightning_lr.finders.report import Evidence
from lightning_lr.finders.search.trials import Stage, Trial, Trials
from lightning_lr.finders.suggestion import Decision, Suggestion
from lightning_lr.output.points import Point
from lightning_lr.output.style import COLORS, dress, entitle, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["evidence_of", "search_figure", "summarize"]

_STYLES: dict[Stage, tuple[str, str]] = {
    "coarse": ("o", "0.6"),
    "fine": ("s", COLORS["sky"]),
    "final": ("D", COLORS["blue"]),
}
_UNFINISHED = {"lost": ("x", "cut short: far behind"), "diverged": ("^", "diverged")}


def summarize(trials: Trials | None, decision: Decision) -> str:
    """Return a decision, and how the trials came to it, in a sentence or two."""
    if isinstance(decision, Suggestion):
        found = f"LR {decision.lr:.3g} ({decision.low:.3g} to {decision.high:.3g})"
    else:
        found = "no LR"
    if trials is None:
        return f"{found}. {decision.reason}"
    told = f"{found} by {trials.judged_by}. {decision.reason}"
    if trials.steps_saved:
        told += f" Cutting lost trials short saved {trials.steps_saved} steps."
    return told


def evidence_of(trials: Trials, decision: Decision) -> Evidence:
    """Return what a decision rests on; x is the number of the trial."""
    now = time.time()
    points = [
        Point(index, now, {"search/lr": trial.lr, "search/loss": trial.loss, "search/steps": trial.steps})
        for index, trial in enumerate(trials)
    ]
    return Evidence("search", points, lambda: search_figure(trials, decision), lambda: _table(trials))


def search_figure(trials: Trials, decision: Decision) -> "Figure":
    """Draw the loss of every trial over its LR, with a line through those of one length.

    Trials that were cut short or diverged lie on the upper edge.

    Example:
        >>> from lightning_lr.finders.suggestion import Abstention
        >>> from lightning_lr.finders.search.trials import Trial
        >>> trials = Trials(2.3, "validation loss", (Trial(0.1, 1.9, 25, 25, "coarse"),))
        >>> search_figure(trials, Abstention("LRSearch", "Few.")).axes[0].get_xscale()
        'log'
    """
    figure = new_figure()
    axes = figure.add_subplot()
    dress(axes)
    axes.axhline(trials.start_loss, color="0.6", linestyle=":", label="before training")
    _draw_trials(axes, trials)
    if isinstance(decision, Suggestion):
        axes.axvspan(decision.low, decision.high, color=COLORS["green"], alpha=0.15)
        axes.axvline(decision.lr, color=COLORS["green"], linewidth=2, label=f"chosen: {decision.lr:.2g}")
    found = f"{decision.lr:.3g}" if isinstance(decision, Suggestion) else "no LR"
    axes.set(xscale="log", xlabel="peak learning rate (log scale)", ylabel=trials.judged_by)
    entitle(axes, f"LR search: {found} after {len(trials)} trials, {trials.steps} steps")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize="small", frameon=False)
    return figure


def _draw_trials(axes: "Axes", trials: Trials) -> None:
    finished = sorted((trial for trial in trials if trial.outcome == "finished"), key=lambda trial: trial.lr)
    for stages, color in ((("coarse", "fine"), "0.7"), (("final",), COLORS["blue"])):
        made = [trial for trial in finished if trial.stage in stages]
        axes.plot(*_line(made), color=color, linewidth=1.5, zorder=1)
    for stage, (marker, color) in _STYLES.items():
        made = [trial for trial in finished if trial.stage == stage]
        if made:
            label = f"{stage}: {made[0].length} steps each"
            axes.scatter(*_line(made), marker=marker, color=color, label=label)
    losses, start = [trial.loss for trial in finished], trials.start_loss
    if losses and start > min(losses):
        drop = start - min(losses)
        axes.set_ylim(min(losses) - 0.1 * drop, min(max(*losses, start), start + drop))
    for outcome, (marker, label) in _UNFINISHED.items():
        lrs = [trial.lr for trial in trials if trial.outcome == outcome]
        if lrs:
            top, red = axes.get_xaxis_transform(), COLORS["vermilion"]
            axes.plot(lrs, [0.97] * len(lrs), marker, color=red, transform=top, linestyle="", label=label)


def _line(trials: Sequence[Trial]) -> tuple[list[float], list[float]]:
    return [trial.lr for trial in trials], [trial.loss for trial in trials]


def _table(trials: Trials) -> str:
    rows = [
        f"| {trial.stage} | {trial.lr:.3g} | {_shown(trial.loss)} | {trial.steps} of {trial.length} |"
        f" {trial.outcome} |"
        for trial in trials
    ]
    return "\n".join(["| stage | LR | loss | steps | outcome |", "|---|---|---|---|---|", *rows])


def _shown(loss: float) -> str:
    return f"{loss:.4g}" if math.isfinite(loss) else "-"
