"""Makes the trials of a search in a dry run, all from the same start and over the same batches."""

import math
from collections.abc import Callable, Sequence
from statistics import stdev

from lightning_lr.dry_run.dry_run import DryRun
from lightning_lr.dry_run.validation import DryValidation
from lightning_lr.finders.progress import Advance
from lightning_lr.finders.trials.proposal import Proposal, is_lost
from lightning_lr.finders.trials.trials import Outcome, Trial

__all__ = ["START_STEPS", "TrialRunner", "difference_error"]

# The steps of `start_loss` where a validation judges.
START_STEPS = 1
# Without a validation, the training loss of the last fifth of its steps judges a trial.
_JUDGED = 5
# A standard error of few differences is itself uncertain, as Student's distribution says.
_OF_FEW = 1.0


class TrialRunner:
    """Makes one trial after the other, and cuts lost ones short.

    Args:
        dry: Where they are made.
        validation: What judges them; None for their training losses.
        factors: Returns the factor of the peak LR at each step of a trial of that length.
        advance: Called after each step.
    """

    def __init__(
        self,
        dry: DryRun,
        validation: DryValidation | None,
        *,
        factors: Callable[[int], Sequence[float]],
        advance: Advance,
    ) -> None:
        self._dry = dry
        self._validation = validation
        self._factors = factors
        self._advance = advance
        # By length: only losses of the same step of the same schedule are comparable.
        self._best: dict[int, tuple[float, Sequence[float]]] = {}
        self._control, self._control_length = list[float](), 0

    def start_loss(self, length: int) -> float:
        """Return the loss of the weights from which every trial starts, judged as a trial of that length is.

        It is the control: what trials differ from it by, batch by batch, tells how noisy their losses are.
        """
        steps = START_STEPS if self._validation is not None else length
        losses = [loss for _, loss in self._dry.steps([0.0] * steps)]
        loss = self._judge(losses)
        self._control, self._control_length = list(self._judged(losses)), steps
        return loss

    def run(self, proposal: Proposal) -> Trial:
        """Make a trial."""
        losses, outcome = self._train(proposal)
        loss = self._judge(losses) if outcome == "finished" else math.inf
        if not math.isfinite(loss):
            loss, outcome = math.inf, "lost" if outcome == "lost" else "diverged"
        if loss < self._best.get(proposal.length, (math.inf, ()))[0]:
            self._best[proposal.length] = loss, losses
        noise = self._noise(losses) if outcome == "finished" else 0.0
        return Trial(proposal.lr, loss, len(losses), proposal.length, proposal.stage, outcome, noise)

    def _train(self, proposal: Proposal) -> tuple[list[float], Outcome]:
        _, best = self._best.get(proposal.length, (math.inf, ()))
        losses: list[float] = []
        lrs = (proposal.lr * factor for factor in self._factors(proposal.length))
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
        judged = self._judged(losses)
        return math.fsum(judged) / len(judged)

    def _judged(self, losses: Sequence[float]) -> Sequence[float]:
        """Return the losses of the batches that judge the trial of these training losses."""
        if self._validation is not None:
            return self._validation.batch_losses
        return losses[-max(1, len(losses) // _JUDGED) :]

    def _noise(self, losses: Sequence[float]) -> float:
        """Return the standard error of a trial's difference from the control, the same on all ranks."""
        judged = list(self._judged(losses))
        is_paired = self._validation is not None or len(losses) == self._control_length
        return self._dry.mean_over_ranks(difference_error(judged, self._control, is_paired=is_paired))


def difference_error(ours: Sequence[float], theirs: Sequence[float], *, is_paired: bool) -> float:
    """Return the standard error of the difference of two mean losses, a bit more if it is of few batches.

    It is one of the logarithms where losses are positive: a fall by nine tenths is as clear on batches whose
    losses differ, times the logarithmic mean of both losses.

    Example:
        >>> round(difference_error([0.1, 0.4, 0.2], [1.0, 4.0, 2.0], is_paired=True), 6)
        0.0
        >>> round(difference_error([-1.0, -1.4], [1.0, 1.0], is_paired=True), 2)
        0.4
    """
    if not all(map(math.isfinite, [*ours, *theirs])) or not ours or not theirs:
        return 0.0
    scale = 1.0
    if min(*ours, *theirs) > 0:
        high, low = (math.fsum(losses) / len(losses) for losses in (theirs, ours))
        scale = high if math.isclose(high, low) else (high - low) / math.log(high / low)
        ours, theirs = list(map(math.log, ours)), list(map(math.log, theirs))
    if is_paired:
        return scale * _standard_error([our - their for our, their in zip(ours, theirs, strict=False)])
    return scale * math.hypot(_standard_error(ours), _standard_error(theirs))


def _standard_error(values: Sequence[float]) -> float:
    count = len(values)
    return stdev(values) / math.sqrt(count) * (1 + _OF_FEW / (count - 1)) if count > 1 else 0.0
