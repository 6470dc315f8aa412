"""The figure of a search."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lightning_lr.finders.suggestion import Decision, Suggestion
from lightning_lr.finders.trials.trials import Stage, Trial, Trials
from lightning_lr.output.style import COLORS, GONE, dress, entitle, mark_chosen, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["search_figure"]

_STYLES: dict[Stage, tuple[str, str]] = {
    "coarse": ("o", "0.6"),
    "fine": ("s", COLORS["sky"]),
    "final": ("D", COLORS["blue"]),
}
_UNFINISHED = {"lost": ("x", "cut short: far behind"), "diverged": ("^", "diverged")}


def search_figure(trials: Trials, decision: Decision | None = None) -> "Figure":
    """Draw the loss of every trial over its LR, with a line through those of one length.

    Trials that were cut short or diverged lie on the upper edge.

    Args:
        trials: The trials.
        decision: What was decided, drawn in red; None to show the trials alone.

    Example:
        >>> from lightning_lr.finders.trials.trials import Trial
        >>> trials = Trials(2.3, "validation loss", (Trial(0.1, 1.9, 25, 25, "coarse"),))
        >>> search_figure(trials).axes[0].get_xscale()
        'log'
    """
    figure = new_figure()
    axes = figure.add_subplot()
    dress(axes)
    axes.axhline(trials.start_loss, color="0.6", linestyle=":", label="before training")
    _draw_trials(axes, trials)
    if isinstance(decision, Suggestion):
        mark_chosen(axes, decision.lr, decision.low, decision.high)
    axes.set(xscale="log", xlabel="peak learning rate (log scale)", ylabel=trials.judged_by)
    made = f"{len(trials)} trials, {trials.steps} steps"
    found = f"{decision.lr:.3g}" if isinstance(decision, Suggestion) else "no LR"
    entitle(axes, f"LR search: {made if decision is None else f'{found} after {made}'}")
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
            top = axes.get_xaxis_transform()
            axes.plot(lrs, [0.97] * len(lrs), marker, color=GONE, transform=top, linestyle="", label=label)


def _line(trials: Sequence[Trial]) -> tuple[list[float], list[float]]:
    return [trial.lr for trial in trials], [trial.loss for trial in trials]
