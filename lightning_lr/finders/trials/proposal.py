"""A trial to be made: its peak LR, the factor of it at each step, and when there is no use in going on."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean, stdev

from lightning_lr.checks import check_number
from lightning_lr.finders.trials.trials import Stage

__all__ = ["USUAL_WARMUP", "Proposal", "is_lost", "trial_factors"]

USUAL_WARMUP = 0.1
# A trial is lost if, at the same step, it is behind the best one by this share of the best one's gain.
_MARGIN = 0.6
# It can be lost after this share of its steps, judged by the mean of the last 6: a high LR catches up late,
# and so does a network that stays where it is for long.
_EARLIEST, _AVERAGED = 0.5, 6
# A gain counts if it exceeds this many standard deviations of the batches' losses.
_SIGNIFICANT = 3.0


@dataclass(frozen=True)
class Proposal:
    """The next trial: its peak LR, its optimizer steps, its stage, and why this LR, as a sentence."""

    lr: float
    length: int
    stage: Stage
    reason: str


def trial_factors(
    length: int, warmup: float = USUAL_WARMUP, shape: Sequence[float] = ()
) -> tuple[float, ...]:
    """Return the factor of a trial's peak LR at each of its steps.

    It is a linear ramp up, then down towards zero: `min((s + 1) / W, (K - s) / (K - W))` at step s of K =
    `length` with `W = ceil(warmup K)`. A trial that ends on a low LR is free of the noise of a high one.

    With a `shape`, that of a run, it is the mean of the factors there between s / K and (s + 1) / K.

    Example:
        >>> [round(factor, 2) for factor in trial_factors(5, warmup=0.4)]
        [0.5, 1.0, 1.0, 0.67, 0.33]
        >>> trial_factors(4, shape=[0.25, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0])
        (0.5, 1.0, 1.0, 1.0)
    """
    if shape:
        count = len(shape)
        edges = [step * count // length for step in range(length + 1)]
        parts = (shape[begin : max(begin + 1, end)] for begin, end in pairwise(edges))
        return tuple(fmean(part) for part in parts)
    check_number("trial_factors(warmup=...)", warmup, "[0, 1)")
    ramp = max(1, math.ceil(warmup * length))
    decay = max(1, length - ramp)
    return tuple(min((step + 1) / ramp, (length - step) / decay) for step in range(length))


def is_lost(losses: Sequence[float], best_losses: Sequence[float], length: int) -> bool:
    """Tell whether a trial of `length` steps has fallen hopelessly behind the best one of that length.

    Both see the same batches, so training losses of the same step are comparable.

    Example:
        >>> best = [2.3, 2.0, 1.7, 1.4, 1.1, 0.9, 0.8, 0.7]
        >>> is_lost([2.3, 2.3, 2.3, 2.2, 2.2, 2.3, 2.2], best, length=8)
        True
        >>> is_lost([2.3, 2.1, 1.8, 1.5, 1.2, 1.1, 0.9], best, length=8)
        False
    """
    count = len(losses)
    if count < max(_AVERAGED + 1, _EARLIEST * length) or count >= length:
        return False
    ours, theirs = losses[count - _AVERAGED : count], best_losses[count - _AVERAGED : count]
    gained = losses[0] - fmean(theirs)
    behind = [our - their for our, their in zip(ours, theirs, strict=True)]
    # The smaller one: a trial that falls fast or blows up spreads more than its noise.
    noise = min(stdev(ours), stdev(theirs))
    return min(behind) > 0 and fmean(behind) > _MARGIN * gained > _MARGIN * _SIGNIFICANT * noise
