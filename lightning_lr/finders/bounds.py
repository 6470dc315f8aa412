"""Where to look for an LR: between the bounds that the user gave, or those of the model's own scale."""

import math

from lightning_lr.dry_run.dry_run import DryRun
from lightning_lr.finders.range_test.ramp import model_bounds

__all__ = ["find_bounds"]

PROBED_STEPS = 4
# Where only one bound is given, the other is at least so far away.
_LEAST_DECADES = 3


def find_bounds(dry: DryRun, low: float | None, high: float | None) -> tuple[float, float] | str:
    """Return the lowest and the highest LR to try, or why the model gives none.

    Args:
        dry: To make `PROBED_STEPS` steps in, where a bound is missing.
        low: The user's lower bound; None to take the model's.
        high: The user's upper bound; None to take the model's.
    """
    if low is not None and high is not None:
        return low, high
    probes = [probe for probe in dry.descents(PROBED_STEPS) if all(map(math.isfinite, probe))]
    if not probes:
        return "The loss is no finite number at the start: look for the cause."
    losses, descents = zip(*probes, strict=True)
    try:
        lowest, highest = model_bounds(sum(losses) / len(probes), sum(descents) / len(probes))
    except ValueError as error:
        return str(error)
    if low is not None:
        return low, max(highest, low * 10**_LEAST_DECADES)
    if high is not None:
        return min(lowest, high / 10**_LEAST_DECADES), high
    return lowest, highest
