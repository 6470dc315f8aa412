"""Makes a ramp in a dry run, and validates along it."""

import math
from itertools import islice

from lightning_lr.dry_run.dry_run import DryRun
from lightning_lr.dry_run.validation import DryValidation
from lightning_lr.finders.progress import Bar
from lightning_lr.finders.range_test.curve import LossCurve
from lightning_lr.finders.range_test.ramp import Ramp

__all__ = ["Validated", "ramp_up"]


class Validated:
    """Measures the validation loss along a ramp, until the training loss is no longer finite.

    Args:
        validation: What measures it.
        every: After how many steps each.
    """

    def __init__(self, validation: DryValidation, every: int) -> None:
        self._validation = validation
        self._every = every
        self._made = 0
        self._points: list[tuple[float, float]] = []

    def after_step(self, lr: float, loss: float) -> None:
        """Look at the weights after a step with this LR, whose loss is from before it."""
        self._made += 1
        if self._made % self._every == 0 and math.isfinite(loss):
            self._points.append((lr, self._validation.loss()))

    def curve(self) -> LossCurve:
        """Return the losses so far."""
        # The last step of a ramp repeats its LR.
        points = dict(self._points)
        return LossCurve(tuple(points), tuple(points.values()))


def ramp_up(
    dry: DryRun,
    ramp: Ramp,
    *,
    bar: Bar,
    phase: str,
    skip: int = 0,
    watch: Validated | None = None,
    most: int | None = None,
) -> LossCurve:
    """Make a ramp from the start, and return the losses along it.

    Args:
        dry: Where it is made.
        ramp: Its LRs.
        bar: Moves with every step, and begins anew where the ramp goes on beyond its end.
        phase: What the bar calls it.
        skip: Batches to leave out before it, in steps.
        watch: Looks at the weights along it.
        most: Steps at most; None for as many as the ramp takes.
    """
    told = ramp.num_steps
    lrs = islice(iter(ramp.next_lr, None), most)
    for made, (lr, loss) in enumerate(dry.steps(lrs, skip=skip)):
        if ramp.num_steps > told:
            # The step for the last loss comes later then.
            bar.begin(f"{phase}, further up", ramp.num_steps - made)
            told = ramp.num_steps
        bar.advance()
        ramp.add_loss(loss)
        if watch is not None:
            watch.after_step(lr, loss)
    return ramp.curve()
