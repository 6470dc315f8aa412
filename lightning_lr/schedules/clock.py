"""Counts how often the Trainer steps a scheduler until an optimizer step, as Lightning's loop does."""

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence

from lightning_lr.fit.lightnings import Trainer
from lightning_lr.fit.ranks import gather_from_ranks
from lightning_lr.fit.run_length import accumulation, run_length

__all__ = ["Clock", "clock_of"]

# A run without an end is looked at for so many epochs.
_MOST_EPOCHS = 10_000


class Clock:
    """The time of a run, in optimizer steps.

    Args:
        steps: Optimizer steps of the run; may be infinite.
        epochs: Its epochs; may be infinite.
        batches_per_epoch: Infinite for a stream without length.
        accumulation: The number of batches per step, by the epoch in which it begins to hold.
        by_hand: Whether the module steps its schedulers itself; one tick per step is assumed then.

    Example:
        >>> clock = Clock(steps=6, epochs=2, batches_per_epoch=5, accumulation={0: 2})
        >>> [clock.ticks("step", 1, step) for step in range(7)]
        [0, 1, 2, 3, 4, 5, 6]
        >>> [clock.ticks("step", 4, step) for step in range(7)]  # the batches 4 and, in the next epoch, 4
        [0, 0, 1, 1, 1, 2, 2]
        >>> [clock.ticks("epoch", 1, step) for step in range(7)]
        [0, 0, 0, 1, 1, 1, 2]
    """

    def __init__(
        self,
        *,
        steps: float,
        epochs: float,
        batches_per_epoch: float,
        accumulation: Mapping[int, int],
        by_hand: bool = False,
    ) -> None:
        self.steps = steps
        self.by_hand = by_hand
        self._batches = batches_per_epoch
        self._accumulated = [(epoch, accumulation[epoch]) for epoch in sorted(accumulation, reverse=True)]
        self.epoch_starts = self._epoch_starts(epochs)
        self._before: dict[int, list[int]] = {}

    def epoch(self, step: int) -> int:
        """Return the number of epochs that are over after so many steps."""
        return bisect_right(self.epoch_starts, step) - 1

    def ticks(self, interval: str, frequency: int, step: int) -> int:
        """Return how often a scheduler has been stepped after so many optimizer steps."""
        if self.by_hand:
            return step
        epoch = self.epoch(step)
        if interval == "epoch":
            return epoch // frequency
        before = self._before.get(frequency)
        if before is None:
            before = self._before[frequency] = self._ticks_before_epochs(frequency)
        return before[epoch] + self._ticks_within(epoch, frequency, step - self.epoch_starts[epoch])

    def _epoch_starts(self, epochs: float) -> Sequence[int]:
        if math.isinf(self._batches) or self.by_hand:
            return [0]
        last = _MOST_EPOCHS if math.isinf(epochs) and math.isinf(self.steps) else epochs
        starts = [0]
        while starts[-1] < self.steps and len(starts) <= last:
            starts.append(starts[-1] + math.ceil(self._batches / self._accumulated_in(len(starts) - 1)))
        return starts

    def _accumulated_in(self, epoch: int) -> int:
        return next(batches for start, batches in self._accumulated if start <= epoch)

    def _ticks_before_epochs(self, frequency: int) -> list[int]:
        before = [0]
        for epoch, (start, end) in enumerate(zip(self.epoch_starts, self.epoch_starts[1:], strict=False)):
            before.append(before[-1] + self._ticks_within(epoch, frequency, end - start))
        return before

    def _ticks_within(self, epoch: int, frequency: int, steps: int) -> int:
        """Count the steps of an epoch whose batch is a multiple of `frequency`, as Lightning numbers them."""
        batches = self._accumulated_in(epoch)
        full = min(steps, self._batches // batches)
        ticks = int(full) // (frequency // math.gcd(batches, frequency))
        # The last step of an epoch may have fewer batches.
        return ticks + (steps > full and self._batches % frequency == 0)


def clock_of(trainer: Trainer) -> Clock:
    """Return the clock of a fit whose loaders are set up; all ranks call it."""
    manual = not trainer.lightning_module.automatic_optimization
    length = run_length(trainer, manual=manual)
    return Clock(
        steps=length.steps,
        epochs=length.epochs,
        batches_per_epoch=min(gather_from_ranks(trainer, trainer.num_training_batches)),
        accumulation=accumulation(trainer),
        by_hand=manual,
    )
