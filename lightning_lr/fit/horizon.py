"""Computes when a run ends, in optimizer steps and in epochs, from the Trainer's bounds.

Lightning's `estimated_stepping_batches` is -1 for a stream with a bound in epochs only, and raises under an
accumulation schedule. A decay needs the end in these cases too.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Horizon", "horizon"]


@dataclass(frozen=True)
class Horizon:
    """The length of a run; infinite if the Trainer sets no end.

    Args:
        steps: Optimizer steps until the Trainer stops.
        epochs: Epochs that begin before the Trainer stops; the last one may be incomplete.
    """

    steps: float
    epochs: float


def horizon(
    *, max_epochs: int, max_steps: int, batches_per_epoch: float, accumulation: Mapping[int, int]
) -> Horizon:
    """Return the length of a run that ends at the first of the Trainer's two bounds.

    An epoch of `b` batches has `ceil(b / a)` steps if gradients of `a` batches are accumulated, because
    Lightning makes a step on the last batch of every epoch.

    Args:
        max_epochs: -1 for no bound.
        max_steps: -1 for no bound.
        batches_per_epoch: Infinite for a stream without length.
        accumulation: The number of batches per step, by the epoch (from 0) in which it begins to hold.

    Example:
        >>> horizon(max_epochs=3, max_steps=-1, batches_per_epoch=10, accumulation={0: 1, 2: 4})
        Horizon(steps=23, epochs=3)
        >>> horizon(max_epochs=-1, max_steps=25, batches_per_epoch=10, accumulation={0: 1})
        Horizon(steps=25, epochs=3)
        >>> horizon(max_epochs=5, max_steps=-1, batches_per_epoch=math.inf, accumulation={0: 1})
        Horizon(steps=inf, epochs=5)
    """
    last_epoch = math.inf if max_epochs == -1 else max_epochs
    last_step = math.inf if max_steps == -1 else max_steps
    if math.isinf(batches_per_epoch):
        return Horizon(steps=last_step, epochs=last_epoch)
    steps: float = 0
    starts = sorted(accumulation)
    for start, stop in zip(starts, [*starts[1:], math.inf], strict=True):
        steps_per_epoch = math.ceil(batches_per_epoch / accumulation[start])
        steps_at_stop = steps + steps_per_epoch * max(0, min(stop, last_epoch) - start)
        if last_step < math.inf and steps_at_stop >= last_step:
            return Horizon(steps=last_step, epochs=start + math.ceil((last_step - steps) / steps_per_epoch))
        steps = steps_at_stop
    return Horizon(steps=steps, epochs=last_epoch)
