"""The trials of a search: what judges them, and how they are made one after the other."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from lightning_lr.dry_run.dry_run import DryRun
from lightning_lr.dry_run.validation import DryValidation
from lightning_lr.finders.progress import Advance
from lightning_lr.finders.search.refinement import Refinement
from lightning_lr.finders.trials.runner import TrialRunner
from lightning_lr.finders.trials.trials import Trials
from lightning_lr.fit.lightnings import MisconfigurationException

__all__ = ["Judge", "judge_of", "make_trials"]


class Judge(NamedTuple):
    """What judges trials: a validation, or None for their training losses; and its name."""

    validation: DryValidation | None
    name: str


def judge_of(dry: DryRun, score: str, batches: int) -> Judge:
    """Return what judges trials by a `score`, `auto`, `val` or `train`.

    Args:
        dry: Where they are made.
        score: What is asked for.
        batches: How many batches of each validation loader to use, at most.

    Raises:
        MisconfigurationException: It is to be the validation, and there is none.
    """
    if score == "train":
        return Judge(None, "training loss")
    validation = dry.validation_or_reason(batches)
    if isinstance(validation, DryValidation):
        return Judge(validation, "validation loss")
    if score == "auto":
        return Judge(None, f"training loss ({validation})")
    raise MisconfigurationException(
        f"`LRSearch(score='val')` has nothing to judge by. {validation} Or judge by the training loss"
        " with `score='train'`."
    ) from validation


def make_trials(
    dry: DryRun,
    refinement: Refinement,
    judge: Judge,
    *,
    factors: Callable[[int], Sequence[float]],
    advance: Advance,
) -> Trials:
    """Make all trials of a search.

    Args:
        dry: Where they are made.
        refinement: How to search.
        judge: What judges them.
        factors: Returns the factor of the peak LR at each step of a trial of that length.
        advance: Called after each step.
    """
    runner = TrialRunner(dry, judge.validation, factors=factors, advance=advance)
    trials = Trials(runner.start_loss(refinement.exploring_steps), judge.name)
    while (proposal := refinement.propose(trials)) is not None:
        trials = trials.with_trial(runner.run(proposal))
    return trials
