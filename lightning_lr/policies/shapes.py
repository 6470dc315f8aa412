"""The few curves that the policies are made of, each exact at both of its ends."""

import math

__all__ = ["cosine", "linear"]


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
