"""Tells what a search found."""

import math
import time
from collections.abc import Sequence

from lightning.pytorch import Trainer

from lightning_lr.finders.report import Evidence, effect_on_lr, report
from lightning_lr.finders.search.figure import search_figure
from lightning_lr.finders.search.trials import Trials
from lightning_lr.finders.suggestion import Decision, Suggestion
from lightning_lr.output.decisions import Entry
from lightning_lr.output.points import Point

__all__ = ["report_search", "trial_points"]


def report_search(
    trainer: Trainer,
    trials: Trials | None,
    decision: Decision,
    *,
    points: Sequence[Point],
    old: float,
    applied: bool,
) -> None:
    """Report a search; to be called on every rank.

    Args:
        trainer: The Trainer of the fit.
        trials: What was tried; None where the search could not begin.
        decision: What was decided.
        points: Those of the trials, where they belong in the run.
        old: The LR before.
        applied: Whether the run trains with the LR found.
    """
    effect = effect_on_lr(decision, old=old, applied=applied)
    entry = Entry("LRSearch", "search", _summary(trials, decision), effect, decision.to_dict())
    report(trainer, entry, None if trials is None else _evidence(trials, decision, points))


def trial_points(trials: Trials) -> list[Point]:
    """Return the points of the trials; x is the number of the trial, from 0 on."""
    now = time.time()
    return [
        Point(index, now, {"search/lr": trial.lr, "search/loss": trial.loss, "search/steps": trial.steps})
        for index, trial in enumerate(trials)
    ]


def _evidence(trials: Trials, decision: Decision, points: Sequence[Point]) -> Evidence:
    return Evidence("search", points, lambda: search_figure(trials, decision), lambda: _table(trials))


def _summary(trials: Trials | None, decision: Decision) -> str:
    if isinstance(decision, Suggestion):
        found = f"LR {decision.lr:.3g} ({decision.low:.2g} to {decision.high:.2g})"
    else:
        found = "no LR"
    if trials is None:
        return f"{found}. {decision.reason}"
    told = f"{found} by {trials.judged_by}. {decision.reason}"
    if trials.steps_saved:
        told += f" Cutting lost trials short saved {trials.steps_saved} steps."
    return told


def _table(trials: Trials) -> str:
    rows = [
        f"| {trial.stage} | {trial.lr:.3g} | {_shown(trial.loss)} | {trial.steps} of {trial.length} |"
        f" {trial.outcome} |"
        for trial in trials
    ]
    return "\n".join(["| stage | LR | loss | steps | outcome |", "|---|---|---|---|---|", *rows])


def _shown(loss: float) -> str:
    return f"{loss:.4g}" if math.isfinite(loss) else "-"
