"""How a warm-up rises, as a pure function of numbers."""

import math
from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias

from lightning_lr.checks import check_choice, check_number
from lightning_lr.policies.shapes import cosine, exponential, linear

__all__ = ["RampShape", "check_ramp", "ramped"]

RampShape: TypeAlias = Literal["linear", "cosine", "exponential", "1-sqrt"]


def _one_minus_sqrt(start: float, end: float, z: float) -> float:
    return linear(start, end, 1 - math.sqrt(1 - z))


_SHAPES: Mapping[str, Callable[[float, float, float], float]] = {
    "linear": linear,
    "cosine": cosine,
    "exponential": exponential,
    "1-sqrt": _one_minus_sqrt,
}


def check_ramp(owner: str, start: object, shape: object) -> None:
    """Check the start value and the shape of a warm-up, which `owner` was given.

    Raises:
        TypeError: `start` is not a number.
        ValueError: `shape` is unknown, or `start` out of [0, 1], or 0 for an exponential.

    Example:
        >>> check_ramp("LRDecay", 0.0, "exponential")
        Traceback (most recent call last):
        ValueError: `LRDecay(warmup_start=...)` must be in (0, 1], got 0.0.
    """
    check_choice(f"{owner}(warmup_shape=...)", shape, tuple(_SHAPES))
    interval = "(0, 1]" if shape == "exponential" else "[0, 1]"
    check_number(f"{owner}(warmup_start=...)", start, interval)


def ramped(
    factor: float, *, step: float, length: float, start: float = 0.0, shape: RampShape = "linear"
) -> float:
    """Return the factor of a step that may lie in the warm-up.

    With z = step / length, the ramp goes from `start` at z = 0 to 1 at z = 1: `"linear"`
    start + (1 - start) z, `"cosine"` start + (1 - start) (1 - cos(pi z)) / 2, `"1-sqrt"`
    start + (1 - start) (1 - sqrt(1 - z)), `"exponential"` start^(1 - z).

    Args:
        factor: The factor without a warm-up.
        step: Optimizer steps made before, at least 0.
        length: Length of the warm-up in optimizer steps, at least 0.
        start: Factor of the first step, in [0, 1]; the LR of step 0 is base LR x start x policy.
        shape: The curve of the ramp.

    Returns:
        `factor` times the ramp; `factor` itself from step `length` on.

    Example:
        >>> [ramped(0.5, step=step, length=4, start=0.2) for step in (0, 2, 4, 9)]
        [0.1, 0.3, 0.5, 0.5]
    """
    if step >= length:
        return factor
    if start == 0 and shape == "linear":
        # In this order, in which checkpoints have it, to the last bit.
        return factor * step / length
    return factor * _SHAPES[shape](start, 1.0, step / length)
