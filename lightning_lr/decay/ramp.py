"""How a warm-up rises and how far a decay may fall, as pure functions of numbers."""

from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias

from lightning_lr.checks import check_choice, check_number
from lightning_lr.policies.shapes import cosine, exponential, linear

__all__ = ["RampShape", "check_ramp", "floored", "ramped"]

RampShape: TypeAlias = Literal["linear", "cosine", "exponential"]

_SHAPES: Mapping[str, Callable[[float, float, float], float]] = {
    "linear": linear,
    "cosine": cosine,
    "exponential": exponential,
}


def check_ramp(start: object, shape: object) -> None:
    """Check the start value and the shape of a warm-up.

    Raises:
        TypeError: `start` is not a number.
        ValueError: `shape` is unknown, or `start` out of [0, 1], or 0 for an exponential.

    Example:
        >>> check_ramp(0.0, "exponential")
        Traceback (most recent call last):
        ValueError: `LRDecay(warmup_start=...)` must be in (0, 1], got 0.0.
    """
    check_choice("LRDecay(warmup_shape=...)", shape, _SHAPES)
    interval = "(0, 1]" if shape == "exponential" else "[0, 1]"
    check_number("LRDecay(warmup_start=...)", start, interval)


def ramped(
    factor: float, *, step: float, length: float, start: float = 0.0, shape: RampShape = "linear"
) -> float:
    """Return the factor of a step that may lie in the warm-up.

    With z = step / length, the ramp goes from `start` at z = 0 to 1 at z = 1: `"linear"`
    start + (1 - start) z, `"cosine"` start + (1 - start) (1 - cos(pi z)) / 2, `"exponential"` start^(1 - z).

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


def floored(lr: float, *, base_lr: float, min_lr: float) -> float:
    """Return the LR of a decay that does not go below `min_lr`.

    A group whose base LR is below `min_lr` keeps its base LR, and a frozen group (0) stays frozen: a floor
    never raises an LR above its base. It is for the decay alone: a warm-up may start below it.

    Args:
        lr: The LR as planned, base LR x factor.
        base_lr: The base LR of the group, in [0, inf).
        min_lr: The least LR, in [0, inf).

    Example:
        >>> [floored(lr, base_lr=0.1, min_lr=0.01) for lr in (0.1, 0.02, 0.003, 0.0)]
        [0.1, 0.02, 0.01, 0.01]
        >>> floored(0.0, base_lr=0.001, min_lr=0.01), floored(0.0, base_lr=0.0, min_lr=0.01)
        (0.001, 0.0)
    """
    return max(lr, min(min_lr, base_lr))
