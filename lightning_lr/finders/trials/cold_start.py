"""Whether a run that does not ramp up to its LR had better begin with a lower one than a ramp shows."""

import math
from collections.abc import Callable
from dataclasses import replace

from lightning_lr.finders.suggestion import Suggestion

__all__ = ["COLD_TRIALS", "fitted_to_cold_start"]

COLD_TRIALS = 3


def fitted_to_cold_start(found: Suggestion, loss_after: Callable[[float], float]) -> Suggestion:
    """Return the LR, or half or a quarter of it if a few steps without a warm-up do better there.

    A ramp is itself a warm-up: a network that it has led to a high LR may be thrown off by the same LR at its
    first steps. All three are tried: half of an LR may do worse than it, and a quarter better.

    Args:
        found: What the ramp shows.
        loss_after: LR -> the loss after a few steps that begin with it; infinite if they diverge.

    Source:
        `tests/benchmarks/README.md` has what it gains.

    Example:
        >>> found = Suggestion(lr=0.4, low=0.1, high=0.8, rule="Basin", reason="It fell.")
        >>> lower = fitted_to_cold_start(found, {0.4: 2.3, 0.2: 0.7, 0.1: 0.9}.get)
        >>> print(f"{lower.lr} {lower.low} {lower.high}")
        0.2 0.05 0.4
        >>> print(lower.reason)
        It fell. Without a warm-up half of it does better (loss 0.7 instead of 2.3).
    """
    losses = [loss_after(found.lr / 2**halvings) for halvings in range(COLD_TRIALS)]
    # Where all of them diverge, the lowest has to do.
    best = losses.index(min(losses)) if math.isfinite(min(losses)) else COLD_TRIALS - 1
    if best == 0:
        return found
    instead = f"(loss {losses[best]:.3g} instead of {losses[0]:.3g})"
    told = f"Without a warm-up {('half', 'a quarter')[best - 1]} of it does better {instead}."
    if math.isinf(losses[best]):
        told = "Without a warm-up the loss diverges even at a quarter of it, which is taken."
    lr, low, high = (value / 2**best for value in (found.lr, found.low, found.high))
    return replace(found, lr=lr, low=low, high=high, reason=f"{found.reason} {told}")
