"""Trainings of a few steps that try an LR which a ramp shows."""

from collections.abc import Sequence
from functools import partial

from lightning_lr.dry_run.dry_run import DryRun
from lightning_lr.dry_run.validation import DryValidation
from lightning_lr.finders.progress import Advance
from lightning_lr.finders.trials.proposal import Proposal, trial_factors
from lightning_lr.finders.trials.runner import TrialRunner
from lightning_lr.finders.trials.trials import Trial

__all__ = ["ShortTrainings"]


class ShortTrainings:
    """Makes trainings of a few steps, each from the start of the fit, and says what loss they reach.

    Args:
        dry: Where they are made.
        length: Optimizer steps of each.
        warmup: Share of each in which the LR ramps up, as for `trial_factors`.
        shape: That of the run, as there.
        validation_batches: By how many batches of each validation loader they are judged. The training loss
            judges them where that is None, or where there is no validation.
        advance: Called after each step.
    """

    def __init__(
        self,
        dry: DryRun,
        length: int,
        *,
        warmup: float,
        shape: Sequence[float] = (),
        validation_batches: int | None,
        advance: Advance,
    ) -> None:
        validation = None if validation_batches is None else dry.validation_or_reason(validation_batches)
        judge = validation if isinstance(validation, DryValidation) else None
        factors = partial(trial_factors, warmup=warmup, shape=shape)
        self._runner = TrialRunner(dry, judge, factors=factors, advance=advance)
        self._length = length
        self._made = list[Trial]()

    @property
    def steps(self) -> int:
        """The optimizer steps of all of them."""
        return sum(trial.steps for trial in self._made)

    def loss_after(self, lr: float) -> float:
        """Return the loss after a training with this LR; infinite if it diverged or fell far behind."""
        self._made.append(self._runner.run(Proposal(lr, self._length, "final", "A short training.")))
        return self._made[-1].loss
