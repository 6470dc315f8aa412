"""Tells what a search found: a decision, and text, figure and points in TensorBoard."""

import math
import time

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger

from lightning_lr.callbacks.decision_log import Entry, tell
from lightning_lr.callbacks.points import Point, write_points
from lightning_lr.decisions import Decision, Suggestion
from lightning_lr.figures_search import search_figure
from lightning_lr.trials import Trials

__all__ = ["report"]


def report(trainer: Trainer, trials: Trials | None, decision: Decision, *, old: float, applied: bool) -> None:
    """Report a search to the console and to the loggers; to be called on every rank.

    Args:
        trainer: The Trainer of the fit.
        trials: What was tried; None where the search could not begin.
        decision: What was decided.
        old: The LR before.
        applied: Whether the run trains with the LR found.
    """
    summary, effect = _summary(trials, decision), _effect(decision, old=old, applied=applied)
    tell(trainer, Entry("LRSearch", "search", summary, effect, decision.to_dict()))
    if not trainer.is_global_zero or trials is None:
        return
    now, step = time.time(), trainer.global_step
    points = [
        Point(index, now, {"search/lr": trial.lr, "search/loss": trial.loss, "search/steps": trial.steps})
        for index, trial in enumerate(trials)
    ]
    write_points(trainer.loggers, points)
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_text("search", _text(f"{summary} {effect}.", trials), step)
            logger.experiment.add_figure("search", search_figure(trials, decision), step)


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


def _effect(decision: Decision, *, old: float, applied: bool) -> str:
    if applied and isinstance(decision, Suggestion):
        return f"LR {old:.3g} -> {decision.lr:.3g}"
    return f"LR stays {old:.3g}"


def _text(head: str, trials: Trials) -> str:
    rows = [
        f"| {trial.stage} | {trial.lr:.3g} | {_shown(trial.loss)} | {trial.steps} of {trial.length} |"
        f" {trial.outcome} |"
        for trial in trials
    ]
    return "\n".join([head, "", "| stage | LR | loss | steps | outcome |", "|---|---|---|---|---|", *rows])


def _shown(loss: float) -> str:
    return f"{loss:.4g}" if math.isfinite(loss) else "-"
