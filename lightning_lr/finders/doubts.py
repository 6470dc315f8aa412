"""What a user of a finder will hardly expect of the fit, told once before the test."""

import math
from typing import Any

from lightning_lr.fit.lightnings import Callback, LearningRateFinder, LightningModule, Trainer, rank_zero_warn
from lightning_lr.fit.neighbors import Finds, Schedules, callbacks_of, schedulers_of
from lightning_lr.fit.run_length import run_length
from lightning_lr.output.decisions import Entry, tell
from lightning_lr.peaks import highest_left, peak_lr
from lightning_lr.rates import base_lr, current_lr

__all__ = [
    "NO_WARMUP",
    "fit_warms_up",
    "tell_doubts",
    "tell_no_test",
    "told_of_schedule",
    "why_too_late",
]

NO_WARMUP = (
    "The run has no warm-up, as the test had, so this LR may be too high at its start: add"
    " `LRDecay(warmup=0.05)`."
)
# A test that takes a larger share of the run is told.
_CHEAP = 0.1
# A schedule that begins below this share of its peak warms up.
_LOW_START = 0.5
# Of a peak, an `eta_min` may be so small a part.
_TOLERANCE = 1e-2
# Where less of the highest LR is left, a schedule has all but ended.
_LEAST_LEFT = 0.01 * (1 - 1e-6)
# A base LR so far above the peak of the run is told.
_FAR = 1.5


def tell_doubts(
    trainer: Trainer, pl_module: LightningModule, finder: Callback, *, steps: int | float
) -> None:
    """Tell what a test costs if that is much, and who else looks for an LR; all ranks call it.

    Args:
        trainer: The Trainer of the running fit.
        pl_module: Its module.
        finder: Whose test it is.
        steps: About how many steps it makes, as a count (int) or a share of the run (float).
    """
    length = run_length(trainer, manual=not pl_module.automatic_optimization).steps
    found = _of_cost(steps, length) + _of_others(trainer, finder)
    if found:
        name = type(finder).__name__
        effect = f"LR {base_lr(trainer):.3g} until the test has ended"
        summary = " ".join(found)
        tell(trainer, Entry(name, "settings", summary, effect), line=summary)


def tell_no_test(trainer: Trainer, name: str) -> None:
    """Tell that a resumed fit is not tested; all ranks call it."""
    summary = "The fit is resumed, and no test had been made: none is made now, since training has begun."
    tell(trainer, Entry(name, "no test", summary, f"LR stays {peak_lr(trainer):.3g}"))


def fit_warms_up(trainer: Trainer, pl_module: LightningModule) -> bool:
    """Return whether the run begins with a lower LR than its highest; all ranks call it."""
    planned = [each.warms_up(trainer, pl_module) for each in callbacks_of(trainer, Schedules)]
    return any(planned) or current_lr(trainer) < _LOW_START * peak_lr(trainer)


def told_of_schedule(trainer: Trainer, lr: float) -> str:
    """Return what schedules make of the LR found, and warn if it is not their peak; all ranks call it."""
    told, peak = "", highest_left(trainer)
    if not math.isclose(peak, lr, rel_tol=_TOLERANCE):
        rank_zero_warn(
            f"The LR found is {lr:.3g}, but the highest LR of this fit will be {peak:.3g}: its schedule has"
            " an LR of its own that stays, for example `eta_min`. Set that to 0, or use LRDecay."
        )
        told = f", but the highest LR will be {peak:.3g}"
    base, current = base_lr(trainer), current_lr(trainer)
    if trainer.global_step > 0 and not math.isclose(whole := peak_lr(trainer), peak, rel_tol=_TOLERANCE):
        told += f", the highest of the rest of the run: that of the whole schedule is {whole:.3g} now"
    elif schedulers_of(trainer) and base > _FAR * peak:
        # Their rise is longer than the run.
        told += f", the highest of this run: the base LR {base:.3g} is not reached"
    if trainer.global_step > 0 and current < (1 - _TOLERANCE) * peak:
        told += f", of which the schedule makes {current:.3g} now"
    elif trainer.global_step > 0 and current > (1 + _TOLERANCE) * lr:
        told += f", but a floor keeps it at {current:.3g}"
    return told


def why_too_late(trainer: Trainer) -> str | None:
    """Return why an LR that is found now would be of no use; None before that; all ranks call it."""
    if trainer.global_step == 0:
        return None
    left, whole = highest_left(trainer), peak_lr(trainer)
    if left >= _LEAST_LEFT * whole:
        return None
    left = max(left, current_lr(trainer))  # a floor
    return (
        f"The schedule has come down: the highest LR of the rest of the run is {left:.2g}, that of the whole"
        f" {whole:.2g}. Test earlier."
    )


def _of_cost(planned: int | float, length: float) -> list[str]:
    steps = planned * length if isinstance(planned, float) else planned
    if math.isinf(length) or steps <= _CHEAP * length:
        return []
    cost = f"The test takes about {steps:,.0f} steps and the run {length:,.0f}: {steps / length:.0%} more."
    return [f"{cost} To save that, test once with `stop_after=True`, and give the LR to the optimizer."]


def _of_others(trainer: Trainer, finder: Callback) -> list[str]:
    finders: list[Any] = callbacks_of(trainer, Finds)
    applied = [type(each).__name__ for each in finders if each.apply]
    used = f", and that of {applied[-1]} is used" if applied else ""
    others = [type(each).__name__ for each in finders if each is not finder]
    if others and finders[0] is finder:
        return [f"{', '.join(others)} will look for an LR too{used}. One will do."]
    rivals = [type(each).__name__ for each in callbacks_of(trainer, LearningRateFinder)]
    return [f"{each} of Lightning looks for an LR too{used}. One will do." for each in rivals]
