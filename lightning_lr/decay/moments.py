"""The moments of a run at which its plan is looked at, ahead of time."""

import math

from lightning_lr.decay.plan import Plan
from lightning_lr.fit.lightnings import Trainer
from lightning_lr.schedules.clock import clock_of

__all__ = ["Moment", "moments_from"]

Moment = tuple[int, int]
"""The optimizer steps made and the epochs completed before a step."""

# So many are looked at; a shorter run step by step. One without an end is looked at so far.
_MOST, _FURTHEST = 2_000, 10_000


def moments_from(trainer: Trainer, plan: Plan, *, step: int, epoch: int) -> list[Moment]:
    """Return moments from one of a fit on to its end, spread evenly but for the end of the warm-up.

    All ranks call it.
    """
    horizon, clock = plan.horizon, clock_of(trainer)
    top = plan.ramp_steps
    if math.isinf(horizon.steps) and plan.interval == "epoch":
        last = min(horizon.epochs, epoch + _FURTHEST)
        return [(step, epoch), *((max(step, top), each) for each in _spread(epoch, int(last)))]
    last = min(horizon.steps, step + _FURTHEST)
    steps = _spread(step, int(last))
    if step < top < last:
        steps = sorted({*steps, top})
    if len(clock.epoch_starts) > 1:
        return [(each, clock.epoch(each)) for each in steps]
    # Only of a run whose epochs have no known length is it not known better.
    share = horizon.epochs / horizon.steps if math.isfinite(horizon.steps + horizon.epochs) else 0.0
    return [(each, max(epoch, int(share * each))) for each in steps]


def _spread(start: int, end: int) -> list[int]:
    """Return whole numbers from `start` to `end - 1`, at least the first.

    Example:
        >>> _spread(3, 6), _spread(3, 2)
        ([3, 4, 5], [3])
    """
    length = end - start
    if length <= _MOST:
        return [*range(start, max(end, start + 1))]
    return [start + round(index * (length - 1) / (_MOST - 1)) for index in range(_MOST)]
