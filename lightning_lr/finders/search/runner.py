"""Makes the trials of a search in a dry run, all from the same start and over the same batches."""

import math
from collections.abc import Sequence

from lightning_lr.dry_run.dry_run import DryRun
from lightning_lr.dry_run.validation import DryValidation
from lightning_lr.finders.progress import Advance
from lightning_lr.finders.search.refinement import Proposal, is_lost, trial_factors
from lightning_lr.finders.search.trials import Outcome, Trial

__all__ = ["START_STEPS", "TrialRunner"]

# The steps of `start_loss`, at most.
START_STEPS = 1
# Without a validation, the training loss of the last fifth of its steps judges a trial.
_JUDGED = 5


class TrialRunner:
    """Makes one trial after the other, and cuts lost ones short; without a validation, by training loss."""

    def __init__(
        self, dry: DryRun, validation: DryValidation | None, *, warmup: float, advance: Advance
    ) -> None:
        self._dry = dry
        self._validation = validation
        self._warmup = warmup
        self._advance = advance
        # By length: only losses of the same step of the same schedule are comparable.
        self._best: dict[int, tuple[float, Sequence[float]]] = {}

    def start_loss(self) -> float:
        """Return the loss of the weights from which every trial starts."""
        [(_, loss)] = self._dry.steps([0.0])
        return loss if self._validation is None else self._validation.loss()

    def run(self, proposal: Proposal) -> Trial:
        """Make a trial."""
        losses, outcome = self._train(proposal)
        loss = self._judge(losses) if outcome == "finished" else math.inf
        if not math.isfinite(loss):
            loss, outcome = math.inf, "lost" if outcome == "lost" else "diverged"
        if loss < self._best.get(proposal.length, (math.inf, ()))[0]:
            self._best[proposal.length] = loss, losses
        return Trial(proposal.lr, loss, len(losses), proposal.length, proposal.stage, outcome)

    def _train(self, proposal: Proposal) -> tuple[list[float], Outcome]:
        _, best = self._best.get(proposal.length, (math.inf, ()))
        losses: list[float] = []
        lrs = (proposal.lr * factor for factor in trial_factors(proposal.length, self._warmup))
        for _, loss in self._dry.steps(lrs):
            self._advance()
            losses.append(loss)
            if not math.isfinite(losses[-1]):
                return losses, "diverged"
            if best and is_lost(losses, best, proposal.length):
                return losses, "lost"
        return losses, "finished"

    def _judge(self, losses: Sequence[float]) -> float:
        if self._validation is not None:
            return self._validation.loss()
        last = losses[-max(1, len(losses) // _JUDGED) :]
        return math.fsum(last) / len(last)
