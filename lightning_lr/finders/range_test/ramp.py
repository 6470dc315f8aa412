"""The LRs of a range test: where the ramp begins and ends, and its steps."""

from typing import Literal

import numpy as np

from lightning_lr.checks import check_choice, check_count, check_number

__all__ = ["model_bounds", "ramp"]


def model_bounds(mean_loss: float, mean_descent: float) -> tuple[float, float]:
    """Return the bounds of a ramp from the model's own scale.

    `eta = |mean loss| / mean <g, d>` is the step that would bring the loss to zero if it fell as fast as it
    starts to; the ramp goes from `eta 10^-3.75` to `eta 10^0.75`.

    Args:
        mean_loss: Over a few batches of the untrained model, not zero.
        mean_descent: Mean of the product of the gradient with the optimizer's direction per unit of LR, in
            (0, inf): the squared norm of the gradient over `1 - momentum` for SGD, its sum of absolute values
            for Adam and its kin.

    Returns:
        The lowest and the highest LR.

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


def ramp(
    low: float, high: float, num_steps: int, *, mode: Literal["exponential", "linear"] = "exponential"
) -> tuple[float, ...]:
    """Return the LRs of a ramp.

    `low (high / low)^(k / (n - 1))`, or `low + (high - low) k / (n - 1)`, for k = 0 .. n - 1.

    Args:
        low: The first LR, in (0, inf).
        high: The last LR, in (low, inf).
        num_steps: At least 2.
        mode: Evenly spaced on the logarithmic axis or on the plain one.

    Raises:
        ValueError: An argument is out of its range.

    Example:
        >>> [round(lr, 3) for lr in ramp(0.5, 8.0, 5)]
        [0.5, 1.0, 2.0, 4.0, 8.0]
        >>> ramp(1.0, 2.0, 3, mode="linear")
        (1.0, 1.5, 2.0)
    """
    check_number("ramp(low=...)", low, "(0, inf)")
    check_number("ramp(high=...)", high, f"({low}, inf)")
    check_count("ramp(num_steps=...)", num_steps, minimum=2)
    check_choice("ramp(mode=...)", mode, ("exponential", "linear"))
    space = np.geomspace if mode == "exponential" else np.linspace
    return tuple(space(low, high, num_steps).tolist())
