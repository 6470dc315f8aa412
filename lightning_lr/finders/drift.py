"""How far the best LR of a short training is from that of a long one, by the family of the optimizer."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Annotated, Any

from lightning_lr.checks import In, check_fields
from lightning_lr.finders.suggestion import Suggestion

__all__ = ["USUAL_LENGTH", "Drift", "doublings_between", "drift_of", "fitted_to_run"]

# Octaves per doubling of the length.
_USUAL, _PLAIN_SGD, _OF_SIGNS, _OF_SUMS = -0.2, -0.1, -0.5, 0.15
# From trained weights on, of any family: there a short training gains the most by a low LR.
_LATER = 0.1
# No further than that is known: six doublings.
_MOST_DOUBLINGS = 6.0
# The least length of the runs that the default rule of the range test was chosen on.
USUAL_LENGTH = 200
_SIGNS = ("lion", "sign", "tiger")


@dataclass(frozen=True)
class Drift:
    """How the best LR changes with the length of a training.

    Args:
        per_doubling: Octaves per doubling of the length.
        smoothing: How slowly an average of squared gradients that begins at 0 and is not corrected for that
            forgets, as RMSprop's `alpha`, in [0, 1): while it is small, steps are longer than the LR says.

    Source:
        Bjorck et al. (2024), arXiv 2409.19913, for Adam (0.32 octaves per doubling of a far longer training).

    Example:
        >>> Drift(-0.2).between(100, 800)
        -0.6
        >>> round(Drift(-0.2, smoothing=0.99).between(15, 3000), 1)
        1.0
    """

    per_doubling: float = _USUAL
    smoothing: Annotated[float, In("[0, 1)")] = 0.0

    def __post_init__(self) -> None:
        check_fields(self)

    def between(self, length: float, horizon: float) -> float:
        """Return the change of the best LR, in octaves, from a training to one that is as long or longer."""
        doublings = doublings_between(length, horizon)
        if not doublings:
            return 0.0
        return round(self.per_doubling * doublings + self._boost(length) - self._boost(horizon), 9)

    def _boost(self, length: float) -> float:
        """Return by how many octaves steps are longer than the LR says, a third into a training."""
        return -0.5 * math.log2(1 - self.smoothing ** (length / 3))


def doublings_between(length: float, horizon: float) -> float:
    """Return how often a training doubles until it is as long as another, as far as that is known."""
    return max(0.0, min(_MOST_DOUBLINGS, math.log2(horizon / length)))


def drift_of(optimizers: Iterable[Any], *, have_begun: bool = False) -> Drift:
    """Return the drift of an optimizer's family; of several optimizers that of the first.

    Args:
        optimizers: Those of the run.
        have_begun: Whether they go on from trained weights. Then it is the same for all.

    Example:
        >>> import torch
        >>> drift_of([torch.optim.Adagrad(torch.nn.Linear(1, 1).parameters())])
        Drift(per_doubling=0.15, smoothing=0.0)
    """
    if have_begun:
        return Drift(_LATER)
    for optimizer in optimizers:
        names = " ".join(kind.__name__.lower() for kind in type(optimizer).__mro__)
        settings = optimizer.param_groups[0]
        if any(name in names for name in _SIGNS):
            return Drift(_OF_SIGNS)
        if "adagrad" in names:
            return Drift(_OF_SUMS)
        if "rmsprop" in names:
            return Drift(_USUAL, smoothing=float(settings.get("alpha", 0.0)))
        is_plain = not settings.keys() & {"betas", "rho"} and not settings.get("momentum", 0.0)
        return Drift(_PLAIN_SGD if is_plain else _USUAL)
    return Drift()


def fitted_to_run(
    decision: Suggestion,
    optimizers: Iterable[Any],
    length: float,
    *,
    have_begun: bool = False,
    found_for: float = USUAL_LENGTH,
) -> Suggestion:
    """Return the LR for a run of that length, of the one for a shorter run.

    Args:
        decision: The LR for the shorter one.
        optimizers: Those of the run.
        length: Its optimizer steps.
        have_begun: Whether it goes on from trained weights.
        found_for: The steps of the shorter one; by default those of runs that the rule of the range test was
            chosen on.

    Example:
        >>> found = Suggestion(lr=0.1, low=0.05, high=0.2, rule="Basin", reason="It fell.")
        >>> from torch import nn, optim
        >>> adam = optim.Adam(nn.Linear(1, 1).parameters())
        >>> longer = fitted_to_run(found, [adam], 6400)
        >>> print(f"{longer.lr:.3f} {longer.reason}")
        0.050 It fell. For the length of the run it is lowered 2x.
    """
    octaves = drift_of(optimizers, have_begun=have_begun).between(found_for, length)
    if not octaves:
        return decision
    factor, direction = 2.0**octaves, "lowered" if octaves < 0 else "raised"
    return replace(
        decision,
        lr=decision.lr * factor,
        low=decision.low * factor,
        high=decision.high * factor,
        reason=f"{decision.reason} For the length of the run it is {direction} {2 ** abs(octaves):.2g}x.",
    )
