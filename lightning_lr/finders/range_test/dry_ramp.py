"""Makes the ramps of a test in a dry run, and validates along them."""

import math
from collections.abc import Callable
from itertools import islice
from typing import NamedTuple

from lightning_lr.dry_run.dry_run import DryRun
from lightning_lr.dry_run.validation import DryValidation
from lightning_lr.finders.progress import Bar
from lightning_lr.finders.range_test.curve import LossCurve, is_noisy
from lightning_lr.finders.range_test.ramp import Ramp, read_ramp
from lightning_lr.finders.range_test.rules import Rule
from lightning_lr.finders.suggestion import Abstention, Decision, combine

__all__ = ["Ramped", "Validated", "make_ramps", "ramp_up"]

# Where noise hides what the loss does, a second ramp takes so many times the steps.
_LONGER = 3


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


class Ramped(NamedTuple):
    """What ramps show.

    Args:
        decision: What is read off them, or why there are none.
        curve: The losses along the one to be shown; None where there is none.
        validation_curve: The validation losses along it; None where nothing looked.
        steps: The steps of all of them.
    """

    decision: Decision
    curve: LossCurve | None = None
    validation_curve: LossCurve | None = None
    steps: int = 0


def make_ramps(
    dry: DryRun,
    rule: Rule,
    num_steps: int,
    *,
    repeats: int,
    new_ramp: Callable[[int], Ramp],
    new_watch: Callable[[], Validated | None],
    bar: Bar,
    phase: str,
) -> Ramped:
    """Make the ramps of a test, each from the start: the repeats, or one that is longer if noise hides all.

    Args:
        dry: Where they are made.
        rule: How they are read.
        num_steps: Steps of each.
        repeats: How many, each over other batches.
        new_ramp: Returns a ramp of so many steps.
        new_watch: Returns what looks at the weights along the ramp to be shown, if anything does.
        bar: Moves with every step.
        phase: What the bar calls them.
    """
    ramps, curves, watch = list[Ramp](), list[LossCurve](), new_watch()
    for repeat in range(repeats):
        if repeat:
            bar.begin(f"{phase}, repeated", num_steps + 1)
        ramps.append(new_ramp(num_steps))
        skip, along = repeat * num_steps, None if repeat else watch
        curves.append(ramp_up(dry, ramps[-1], bar=bar, phase=phase, skip=skip, watch=along))
    steps = sum(len(curve.losses) + 1 for curve in curves)
    decision, curve = combine([read_ramp(each, rule) for each in ramps]), curves[0]
    has_seen_all = any(each.has_no_wall for each in ramps)
    if isinstance(decision, Abstention) and is_noisy(curve) and not has_seen_all:
        longer, watch = new_ramp(_LONGER * num_steps), new_watch()
        bar.begin(f"{phase}, longer for the noise", longer.num_steps)
        curve = ramp_up(dry, longer, bar=bar, phase=phase, watch=watch)
        decision, steps = read_ramp(longer, rule), steps + len(curve.losses) + 1
    return Ramped(decision, curve, None if watch is None else watch.curve(), steps)
