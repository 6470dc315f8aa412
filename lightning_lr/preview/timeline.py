"""The steps and epochs of a run, laid out before the run."""

import math
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass

from lightning_lr.fit.horizon import Horizon

__all__ = ["Timeline", "lay_out"]

_MOST_EPOCHS = 1_000_000


@dataclass(frozen=True)
class Timeline:
    """The moments of a run: its steps, or its epochs if the number of steps is unknown.

    Args:
        horizon: The length of the run; steps, epochs or both are finite.
        epoch_starts: Steps made before each epoch; empty if unknown.

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
        """Return the steps made and the epochs completed before a moment; None if unknown."""
        if not self.in_steps:
            return None, index
        return index, bisect_right(self.epoch_starts, index) - 1 if self.epoch_starts else None

    def spread(self, count: int) -> set[int]:
        """Return up to `count` moments, evenly spread from the first to the last one; at least 2.

        Example:
            >>> sorted(Timeline(Horizon(steps=100, epochs=math.inf)).spread(4))
            [0, 33, 66, 99]
        """
        return {round((self.length - 1) * index / (count - 1)) for index in range(count)}


def lay_out(horizon: Horizon, *, batches_per_epoch: float, accumulation: Mapping[int, int]) -> Timeline:
    """Return the timeline of a run; raises ValueError if the run has no end or too many epochs.

    Args:
        horizon: The length of the run.
        batches_per_epoch: Training batches per epoch; infinite if the number of steps per epoch is unknown.
        accumulation: Batches per step, by the first epoch (counted from 0) that they are valid for.

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
