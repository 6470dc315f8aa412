"""The few curves that the policies are made of, each exact at both of its ends."""

import math

__all__ = ["cosine", "exponential", "linear"]


def linear(start: float, end: float, z: float) -> float:
    """Return (1 - z) start + z end, which is exactly `start` at z = 0 and `end` at z = 1.

    Example:
        >>> linear(1.0, 0.1, 1.0)
        0.1
    """
    # start + z (end - start) would round at z = 1.
    return (1 - z) * start + z * end


def cosine(start: float, end: float, z: float) -> float:
    """Go from `start` to `end` along half a cosine, flat at both ends, for z in [0, 1].

    Example:
        >>> cosine(1.0, 0.0, 0.0), round(cosine(1.0, 0.0, 0.5), 12), cosine(1.0, 0.0, 1.0)
        (1.0, 0.5, 0.0)
    """
    return linear(start, end, (1 - math.cos(math.pi * z)) / 2)


def exponential(start: float, end: float, z: float) -> float:
    """Go from `start` to `end`, both above 0, on a straight line of the logarithm.

    Example:
        >>> exponential(1.0, 0.01, 0.0), exponential(1.0, 0.01, 0.5), exponential(1.0, 0.01, 1.0)
        (1.0, 0.1, 0.01)
    """
    return float(start ** (1 - z) * end**z)
