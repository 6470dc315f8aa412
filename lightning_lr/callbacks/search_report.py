"""Tells what a search found: a decision, and text, figure and points in TensorBoard."""

import math
import time

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger

from lightning_lr.callbacks.decision_log import Entry, tell
from lightning_lr.callbacks.drawing import draw
from lightning_lr.callbacks.points import Point, logged_step, write_points
from lightning_lr.callbacks.range_report import effect_on_lr
from lightning_lr.decisions import Decision, Suggestion
from lightning_lr.figures_search import search_figure
from lightning_lr.trials import Trials

__all__ = ["report", "trial_points"]


def report(trainer: Trainer, trials: Trials | None, decision: Decision, *, old: float, applied: bool) -> None:
    """Report a search to the console and to the loggers; to be called on every rank.

    Args:
        trainer: The Trainer of the fit.
        trials: What was tried; None where the search could not begin.
        decision: What was decided.
        old: The LR before.
        applied: Whether the run trains with the LR found.
    """
    summary, effect = _summary(trials, decision), effect_on_lr(decision, old=old, applied=applied)
    tell(trainer, Entry("LRSearch", "search", summary, effect, decision.to_dict()))
    if not trainer.is_global_zero or trials is None:
        return
    step = logged_step(trainer)
    write_points(trainer.loggers, trial_points(trials))
    draw(trainer, "search", lambda: search_figure(trials, decision), step)
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_text("search", _text(f"{summary} {effect}.", trials), step)


def trial_points(trials: Trials) -> list[Point]:
    """Return the points of the trials; x is the number of the trial."""
    now = time.time()
    return [
        Point(index, now, {"search/lr": trial.lr, "search/loss": trial.loss, "search/steps": trial.steps})
        for index, trial in enumerate(trials)
    ]


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


def _text(head: str, trials: Trials) -> str:
    rows = [
        f"| {trial.stage} | {trial.lr:.3g} | {_shown(trial.loss)} | {trial.steps} of {trial.length} |"
        f" {trial.outcome} |"
        for trial in trials
    ]
    return "\n".join([head, "", "| stage | LR | loss | steps | outcome |", "|---|---|---|---|---|", *rows])


def _shown(loss: float) -> str:
    return f"{loss:.4g}" if math.isfinite(loss) else "-"
