"""Whether short trainings do better a factor of 4 away from the LR that a ramp shows."""

import math
from collections.abc import Callable
from dataclasses import replace

from lightning_lr.finders.suggestion import Suggestion

__all__ = ["MOST_TRAININGS", "best_around", "steps_of_trainings"]

MOST_TRAININGS = 3
# As factors of the LR that a ramp shows. One so little above it as the last tells nothing.
_LOWER, _HIGHER, _LEAST_HIGHER = 0.25, 4.0, 1.5
# They are made where the whole test takes no more than that share of the run, and where each can have that
# share of the ramp's steps: shorter ones like LRs that are too high.
_CHEAP, _LEAST_SHARE = 0.1, 0.6
# In octaves: on either side of the best of these, the best LR of most of the benchmark's tasks is.
_SPREAD = 2.0


def steps_of_trainings(num_steps: int, run: float, *, repeats: int = 1) -> int:
    """Return how many steps each short training is to take after ramps of `num_steps`; 0 for none.

    Args:
        num_steps: Of a ramp.
        run: Optimizer steps of the run; infinite if it has no end.
        repeats: How many ramps there are.

    Example:
        >>> [steps_of_trainings(100, run) for run in (1_000, 3_000, 10_000)]
        [0, 66, 100]
    """
    spare = (_CHEAP * run - repeats * num_steps) / MOST_TRAININGS
    return int(min(spare, num_steps)) if spare >= _LEAST_SHARE * num_steps else 0


def best_around(found: Suggestion, loss_after: Callable[[float], float], *, highest: float) -> Suggestion:
    """Return the LR that a ramp shows, or a quarter or up to four times of it if that does better.

    A ramp tells about where an LR lies: the losses along it are those of other LRs too. A short training with
    one LR tells which of a few is better.

    Args:
        found: What the ramp shows.
        loss_after: LR -> the loss after a short training with it; infinite if it diverges.
        highest: No higher LR is tried: some steps may do well with one that a whole run does not survive.

    Source:
        `tests/benchmarks/README.md` has what it gains.

    Example:
        >>> found = Suggestion(lr=0.1, low=0.01, high=1.0, rule="Basin", reason="It fell.")
        >>> higher = best_around(found, {0.025: 1.5, 0.1: 0.9, 0.4: 0.7}.get, highest=0.6)
        >>> print(f"{higher.lr} {higher.low} {higher.high}")
        0.4 0.1 1.6
        >>> print(higher.reason)
        It fell. A short training with 4x of it does better (loss 0.7 instead of 0.9).
    """
    factors = [1.0, _LOWER]
    if highest / found.lr >= _LEAST_HIGHER:
        factors.append(min(_HIGHER, highest / found.lr))
    losses = {factor: loss_after(factor * found.lr) for factor in factors}
    best = min(factors, key=losses.__getitem__)
    if math.isinf(losses[best]):
        best, told = _LOWER, "Short trainings diverge even with a quarter of it, which is taken."
    elif best == 1.0:
        told = f"No short training with {' or '.join(map(_share, factors[1:]))} of it does better."
    else:
        instead = f"loss {losses[best]:.3g} instead of {losses[1.0]:.3g}"
        told = f"A short training with {_share(best)} of it does better ({instead})."
    lr, reach = found.lr * best, 2**_SPREAD
    return replace(found, lr=lr, low=lr / reach, high=lr * reach, reason=f"{found.reason} {told}")


def _share(factor: float) -> str:
    return "a quarter" if factor == _LOWER else f"{factor:.2g}x"
