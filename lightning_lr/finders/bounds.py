"""The bounds between which to look for an LR: the user's, or those of the model's own scale."""

import math

from lightning_lr.checks import check_number
from lightning_lr.dry_run.dry_run import DryRun

__all__ = ["PROBED_STEPS", "check_bounds", "find_bounds", "model_bounds"]

PROBED_STEPS = 4
# If only one bound is given, the other is at least this far away.
_LEAST_DECADES = 3


def check_bounds(owner: str, **bounds: float | None) -> None:
    """Check the two optional bounds of a finder, the lower one first."""
    (low_name, low), (high_name, high) = bounds.items()
    if low is not None:
        check_number(f"{owner}({low_name}=...)", low, "(0, inf)")
    if high is not None:
        check_number(f"{owner}({high_name}=...)", high, f"({float(low or 0)}, inf)")


def find_bounds(dry: DryRun, low: float | None, high: float | None) -> tuple[float, float] | str:
    """Return the lowest and the highest LR to try, or why the model gives none.

    `PROBED_STEPS` dry steps measure the model's scale for a bound that is None.
    """
    if low is not None and high is not None:
        return low, high
    probes = [probe for probe in dry.descents(PROBED_STEPS) if all(map(math.isfinite, probe))]
    if not probes:
        return dry.problem or "The loss is no finite number at the start: look for the cause."
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


def model_bounds(mean_loss: float, mean_descent: float) -> tuple[float, float]:
    """Return the bounds of a ramp from the model's own scale.

    `eta = |mean loss| / mean <g, d>` is the step that would bring the loss to zero if it kept its initial
    slope; the ramp goes from `eta 10^-3.75` to `eta 10^0.75`.

    Args:
        mean_loss: Over a few batches of the untrained model.
        mean_descent: Mean product of the gradient with the optimizer's direction per unit of LR: the squared
            norm of the gradient over `1 - momentum` for SGD, its sum of absolute values for Adam.

    Raises:
        ValueError: A number is not finite, or zero: such a model has no scale.

    Source:
        Polyak (1987), Introduction to Optimization, for the step length.

    Example:
        >>> low, high = model_bounds(2.3, 4.6)
        >>> round(low, 6), round(high, 2)
        (8.9e-05, 2.81)
    """
    check_number("model_bounds(mean_loss=...)", mean_loss, "(-inf, inf)")
    check_number("model_bounds(mean_descent=...)", mean_descent, "(0, inf)")
    scale = abs(mean_loss) / mean_descent
    if not 1e-30 < scale < 1e30:
        raise ValueError(
            f"The model gives no scale for an LR: its mean loss is {mean_loss!r} and its mean descent "
            f"{mean_descent!r}. Set the bounds of the ramp yourself."
        )
    return scale * 10**-3.75, scale * 10**0.75
