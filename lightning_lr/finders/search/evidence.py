"""The evidence of a search: its sentence, points and table of trials."""

import math
import time

from lightning_lr.finders.report import Evidence
from lightning_lr.finders.search.figure import search_figure
from lightning_lr.finders.suggestion import Decision, Suggestion
from lightning_lr.finders.trials.trials import Trials
from lightning_lr.output.points import Point

__all__ = ["evidence_of", "summarize"]


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


def _table(trials: Trials) -> str:
    rows = [
        f"| {trial.stage} | {trial.lr:.3g} | {_shown(trial.loss)} | {trial.steps} of {trial.length} |"
        f" {trial.outcome} |"
        for trial in trials
    ]
    return "\n".join(["| stage | LR | loss | steps | outcome |", "|---|---|---|---|---|", *rows])


def _shown(loss: float) -> str:
    return f"{loss:.4g}" if math.isfinite(loss) else "-"
