"""Which epoch every optimizer step of a run belongs to, known before the run."""

import math
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass

from lightning_lr.fit.horizon import Horizon

__all__ = ["Timeline", "lay_out"]

_MOST_EPOCHS = 1_000_000


@dataclass(frozen=True)
class Timeline:
    """The moments of a run: its steps, or its epochs where it is not known how many steps they make.

    Args:
        horizon: The length of the run, at least one of the two finite.
        epoch_starts: Steps made before each epoch; empty where that is unknown.

    Raises:
        ValueError: The run has no end.

    Example:
        >>> Timeline(Horizon(steps=5, epochs=2), (0, 3)).moment(4)
        (4, 1)
        >>> Timeline(Horizon(steps=math.inf, epochs=2)).moment(1)
        (None, 1)
    """

    horizon: Horizon
    epoch_starts: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if math.isinf(min(self.horizon.steps, self.horizon.epochs)):
            raise ValueError("This run has no end, so there is no last step to show.")

    @property
    def in_steps(self) -> bool:
        """Whether a moment is a step."""
        return math.isfinite(self.horizon.steps)

    @property
    def length(self) -> int:
        """How many moments there are."""
        return int(self.horizon.steps if self.in_steps else self.horizon.epochs)

    def moment(self, index: int) -> tuple[int | None, int | None]:
        """Return the steps made and the epochs completed before a moment; None where unknown."""
        if not self.in_steps:
            return None, index
        return index, bisect_right(self.epoch_starts, index) - 1 if self.epoch_starts else None


def lay_out(horizon: Horizon, *, batches_per_epoch: float, accumulation: Mapping[int, int]) -> Timeline:
    """Return the timeline of a run.

    Args:
        horizon: The length of the run.
        batches_per_epoch: Training batches of one epoch; infinite where it is unknown how many steps an epoch
            makes.
        accumulation: From which epoch on (starting at 0) how many batches make one step.

    Raises:
        ValueError: The run has no end, or more than a million epochs.

    Example:
        >>> lay_out(Horizon(steps=16, epochs=3), batches_per_epoch=10, accumulation={0: 1, 1: 4}).epoch_starts
        (0, 10, 13)
    """
    if math.isinf(max(batches_per_epoch, horizon.steps, horizon.epochs)):
        return Timeline(horizon)
    if horizon.epochs > _MOST_EPOCHS:
        raise ValueError(
            f"A run of {horizon.epochs:,} epochs is too long to be laid out: `max_epochs` must be at most"
            f" {_MOST_EPOCHS:,}."
        )
    starts, step = [], 0
    for epoch in range(int(horizon.epochs)):
        starts.append(step)
        batches_per_step = accumulation[max(start for start in accumulation if start <= epoch)]
        step += math.ceil(batches_per_epoch / batches_per_step)
    return Timeline(horizon, tuple(starts))
