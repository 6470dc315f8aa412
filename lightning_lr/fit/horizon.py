"""When a run ends, in optimizer steps and in epochs, computed from the Trainer's bounds.

Lightning's own `estimated_stepping_batches` answers -1 for a stream that only epochs bound and raises
under an accumulation schedule; a decay needs the end in those cases too.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Horizon", "horizon"]


@dataclass(frozen=True)
class Horizon:
    """The length of a run; infinite where the Trainer sets no end.

    Args:
        steps: Optimizer steps until the Trainer stops.
        epochs: Epochs that begin until the Trainer stops; the last one may be cut short.
    """

    steps: float
    epochs: float


def horizon(
    *, max_epochs: int, max_steps: int, batches_per_epoch: float, accumulation: Mapping[int, int]
) -> Horizon:
    """Return when the first of the Trainer's two bounds ends the run.

    An epoch of `b` batches makes `ceil(b / a)` steps when gradients of `a` batches are accumulated,
    because Lightning steps on the last batch of every epoch.

    Args:
        max_epochs: The Trainer's bound in epochs, -1 for none.
        max_steps: The Trainer's bound in optimizer steps, -1 for none.
        batches_per_epoch: Training batches of one epoch, infinite for a stream without length.
        accumulation: From which epoch on (starting at 0) how many batches make one step.

    Returns:
        The run's length in steps and in epochs.

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
