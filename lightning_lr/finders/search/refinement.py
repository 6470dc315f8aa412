"""From coarse to fine on the log axis: which LR to try next, given the trials so far, and when to stop.

Trials start 16x apart over the plausible range, go on 4x and 2x apart around the best one, and end with
longer ones around it. A range that ends too early is extended; an LR above one that diverged is not tried.
The longer ones begin at the highest LR that did as well as the best or, where none gained more than noise, at
the highest that did no harm.
The same trials always lead to the same proposal, so ranks agree and a search can be replayed.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

from typing_extensions import Self

from lightning_lr.checks import AtLeast, In, check_count, check_fields, check_number
from lightning_lr.finders.trials.proposal import Proposal
from lightning_lr.finders.trials.trials import Stage, Trial, Trials

__all__ = ["Refinement"]

# In octaves: 16x, then 4x, then 2x, which a small budget leaves to the final trials.
_COARSE = 4
_FINE, _SMALL = (2, 1), 250
# Short trials so little above the best one are as good, and the highest LR of them gains in longer trials.
_AS_GOOD = 0.04
# This many final trials share the rest of the budget, to have one on either side of the best.
_FINALS = 3
_MOST_FINALS = 6
# The coarse trials may take a third of the budget; a trial of fewer than 5 steps tells little.
_LEAST_ROUNDS = 3
_SHORTEST = 5
# How far beyond the plausible range a search may go, in octaves.
_FURTHEST = 32
# Final trials whose losses differ by less lie on a plateau; its end is farther away.
_FLAT = 0.05


@dataclass(frozen=True)
class Refinement:
    """The rules of a search.

    Args:
        low: Lowest LR of the plausible range.
        high: Highest, above `low`.
        steps_per_trial: Steps of a coarse or fine trial.
        final_steps: Steps of a final trial, at most; fewer if the budget is small.
        budget: Steps of all trials together, at most; None for as many as the search takes.
        can_extend: Whether it may try LRs below `low`, and above `high`.

    Raises:
        ValueError: An argument is out of range, or the budget does not suffice for the coarse trials.

    Example:
        >>> refinement = Refinement(1e-4, 1.0, steps_per_trial=15, final_steps=150)
        >>> refinement.propose(Trials(2.3, "validation loss")).lr
        0.01
        >>> refinement.coarse_lrs
        (0.000625, 0.01, 0.16)
    """

    low: Annotated[float, In("(0, inf)")]
    high: float
    steps_per_trial: Annotated[int, AtLeast(1)] = 15
    final_steps: Annotated[int, AtLeast(1)] = 150
    budget: int | None = None
    can_extend: tuple[bool, bool] = (True, True)

    def __post_init__(self) -> None:
        check_fields(self)
        check_number("Refinement(high=...)", self.high, f"({self.low}, inf)")
        if self.budget is None:
            return
        check_count("Refinement(budget=...)", self.budget, minimum=1)
        if self.budget < self.least_budget:
            raise ValueError(
                f"`Refinement(budget=...)` must be at least {self.least_budget} steps for"
                f" {len(self.coarse_lrs)} coarse trials and what follows them, got {self.budget}."
            )

    @property
    def least_budget(self) -> int:
        """The steps that the coarse trials and what follows them take at least."""
        return len(self.coarse_lrs) * self.shortest * _LEAST_ROUNDS

    @property
    def shortest(self) -> int:
        """The least length of a coarse trial."""
        return min(self.steps_per_trial, _SHORTEST)

    @property
    def coarse_lrs(self) -> tuple[float, ...]:
        """The LRs of the coarse trials, 16x apart and rising."""
        reach = math.floor(math.log2(self.high / self.low) / 2 / _COARSE)
        return tuple(self._lr(_COARSE * place) for place in range(-reach, reach + 1))

    @property
    def exploring_steps(self) -> int:
        """The length of a coarse or fine trial; most of the budget is left for final ones."""
        if self.budget is None:
            return self.steps_per_trial
        return min(self.steps_per_trial, max(self.budget // (_LEAST_ROUNDS * len(self.coarse_lrs)), 1))

    def within(self, budget: int, control: int | None) -> Self:
        """Return how to search within a budget, of which a control takes a part.

        Args:
            budget: Steps of all trials and of the control, at most.
            control: Steps of the control; None if it is as long as a coarse trial.
        """
        if control is not None:
            return replace(self, budget=budget - control)
        steps = min(self.steps_per_trial, max(budget // (_LEAST_ROUNDS * len(self.coarse_lrs) + 1), 1))
        return replace(self, steps_per_trial=steps, budget=budget - steps)

    def propose(self, trials: Trials) -> Proposal | None:
        """Return the next trial, or None if the search has ended."""
        if trials.at_stage("final"):
            return self._final(trials)
        return self._coarse(trials) or self._fine(trials) or self._final(trials)

    def _coarse(self, trials: Trials) -> Proposal | None:
        tried = self._by_octave(trials.at_stage("coarse", "fine"))
        octaves = sorted(map(self._octave, self.coarse_lrs), key=lambda octave: (abs(octave), octave))
        for octave in octaves:
            if octave not in tried and not _is_ruled_out(octave, tried):
                return self._exploring(trials, octave, "coarse", "16x apart over the plausible range")
        further, reason = _further(tried, trials)
        return None if further is None else self._exploring(trials, further, "coarse", reason)

    def _fine(self, trials: Trials) -> Proposal | None:
        tried = self._by_octave(trials.at_stage("coarse", "fine"))
        best = _best(tried)
        if best is None or not trials.show_gain(tried.values()):
            return None
        is_small = self.budget is not None and self.budget < _SMALL
        for step in _FINE[:1] if is_small else _FINE:
            for octave in (best - step, best + step):
                if octave not in tried and not _is_ruled_out(octave, tried):
                    reason = f"{2**step}x {'below' if octave < best else 'above'} the best so far"
                    proposal = self._exploring(trials, octave, "fine", reason)
                    if proposal is not None:
                        return proposal
        return None

    def _final(self, trials: Trials) -> Proposal | None:
        explored = self._explored(trials)
        finals = trials.at_stage("final")
        left = math.inf if self.budget is None else self.budget - trials.steps
        length = finals[0].length if finals else int(min(self.final_steps, left // _FINALS))
        if explored is None or length <= self.exploring_steps or length > left or len(finals) >= _MOST_FINALS:
            return None
        tried = self._by_octave(finals)
        octave, reason = _next_final(explored, tried)
        if octave is None or not self._is_allowed(octave):
            return None
        return Proposal(self._lr(octave), length, "final", f"A longer trial: {reason}.")

    def _explored(self, trials: Trials) -> int | None:
        """Return where longer trials begin: at the highest LR that may be the best."""
        tried = self._by_octave(trials.at_stage("coarse", "fine"))
        best = _best(tried)
        if best is None:
            return None
        if trials.show_gain(tried.values()):
            bar = tried[best].loss + _AS_GOOD * trials.scale(tried[best].loss)
            return max(octave for octave, trial in tried.items() if octave >= best and trial.loss <= bar)
        # All of them are noise, in which a lower LR wins as easily as one that trains.
        level = [octave for octave, trial in tried.items() if not trials.has_lost_ground(trial)]
        return max(level, default=best)

    def _exploring(self, trials: Trials, octave: int, stage: Stage, reason: str) -> Proposal | None:
        spent = trials.steps + self.exploring_steps
        if not self._is_allowed(octave) or (self.budget is not None and spent > self.budget):
            return None
        return Proposal(self._lr(octave), self.exploring_steps, stage, f"{reason[0].upper()}{reason[1:]}.")

    def _by_octave(self, trials: Sequence[Trial]) -> dict[int, Trial]:
        return {self._octave(trial.lr): trial for trial in trials}

    def _octave(self, lr: float) -> int:
        return round(math.log2(lr / self._middle))

    def _lr(self, octave: int) -> float:
        return self._middle * 2.0**octave

    @property
    def _middle(self) -> float:
        return math.sqrt(self.low) * math.sqrt(self.high)

    def _is_allowed(self, octave: int) -> bool:
        lr, (below, above) = self._lr(octave), self.can_extend
        lowest = self.low / 2.0**_FURTHEST if below else self.low
        highest = self.high * 2.0**_FURTHEST if above else self.high
        return lowest <= lr <= highest


def _best(tried: dict[int, Trial]) -> int | None:
    finished = [octave for octave, trial in tried.items() if trial.outcome == "finished"]
    return min(finished, key=lambda octave: tried[octave].loss, default=None)


def _further(tried: dict[int, Trial], trials: Trials) -> tuple[int | None, str]:
    """Return where to extend a range that has ended too early, and why."""
    best, top, bottom = _best(tried), max(tried), min(tried)
    if best is None:
        return bottom - _COARSE, "every LR so far has diverged"
    if best == top:
        return top + _COARSE, "the highest LR so far is the best"
    if not trials.show_gain(tried.values()) and not trials.has_lost_ground(tried[best]):
        # Noise: a lower LR would not show more.
        harmless = not trials.has_lost_ground(tried[top])
        return top + _COARSE if harmless else None, "no LR so far has gained anything"
    return bottom - _COARSE if best == bottom else None, "the lowest LR so far is the best"


def _is_ruled_out(octave: int, tried: dict[int, Trial]) -> bool:
    """Tell whether an LR lies above one that diverged, or beyond one that was lost against the best."""
    if any(trial.outcome == "diverged" and octave >= other for other, trial in tried.items()):
        return True
    best = _best(tried)
    lost = [other for other, trial in tried.items() if trial.outcome == "lost"]
    return best is not None and any(best < other < octave or octave < other < best for other in lost)


def _next_final(center: int, tried: dict[int, Trial]) -> tuple[int | None, str]:
    best = _best(tried)
    if not tried:
        return center, "the best short one goes first"
    if best is None:
        return min(tried) - 1, "the ones above have diverged"
    if len(tried) == 1:
        return best - 1, "2x below, as an optimum falls with the length of a training"
    losses = {octave: trial.loss for octave, trial in tried.items() if trial.outcome == "finished"}
    is_flat = len(losses) > 1 and max(losses.values()) - min(losses.values()) < _FLAT * abs(losses[best])
    # On a plateau the better LR may lie beyond the other end.
    falls_downwards = losses[min(losses)] < losses[max(losses)]
    stride = 2 if is_flat else 1
    options = [(best - 1, "2x below the best long one"), (best + 1, "2x above the best long one")]
    if best == max(tried) or (is_flat and not falls_downwards):
        options.insert(0, (max(tried) + stride, "further up, where the loss falls"))
    if best == min(tried) or (is_flat and falls_downwards):
        options.insert(0, (min(tried) - stride, "further down, where the loss falls"))
    return next(
        (each for each in options if each[0] not in tried and not _is_ruled_out(each[0], tried)), (None, "")
    )
