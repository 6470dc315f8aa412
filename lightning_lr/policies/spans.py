"""Parts of a run, given as a count or as a share.

The convention is that of Lightning's `limit_train_batches`: an int is a count, a float a share. So `1` is one
step and `1.0` the whole run, for every argument that takes a span.
"""

import math
from numbers import Integral, Real

from lightning_lr.checks import check_count, check_number

__all__ = ["check_span", "is_share", "snap", "span"]

# Far above the rounding errors of a few products and sums, far below a step of any run.
_ROUNDING = 1e-12


def is_share(value: float) -> bool:
    """Tell whether a span is a share of the run, as every float is.

    Example:
        >>> is_share(0.2), is_share(20)
        (True, False)
    """
    return not isinstance(value, Integral)


def check_span(name: str, value: object, *, positive: bool = False) -> None:
    """Check that `value` is a count of at least 0 or a share in [0, 1].

    Args:
        name: The argument as the user knows it, for example `LRDecay(warmup=...)`.
        value: What was given.
        positive: Whether to refuse a span of length 0 too.

    Raises:
        TypeError: `value` is not a number.
        ValueError: `value` is NaN or out of range.

    Example:
        >>> check_span("LRDecay(warmup=...)", 1.5)
        Traceback (most recent call last):
        ValueError: `LRDecay(warmup=...)` must be a count (int >= 0) or a share (float in [0, 1]), got 1.5.
    """
    least, bracket = (1, "(") if positive else (0, "[")
    wanted = f"a count (int >= {least}) or a share (float in {bracket}0, 1])"
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"`{name}` must be {wanted}, got {value!r}.")
    number = int(value) if isinstance(value, Integral) else float(value)
    # For counts and shares alike, positive means not 0.
    fits = number >= 0 and not (positive and number == 0)
    if not fits or (is_share(number) and number > 1):
        raise ValueError(f"`{name}` must be {wanted}, got {value!r}.")
    if not is_share(number):
        check_count(name, number, minimum=0)


def snap(length: float, total: float = math.inf) -> float:
    """Return `total` or a whole number if `length` differs from it by rounding alone, or else `length`.

    Otherwise 7 % of 100 steps would end at 7.000000000000001, one step late.

    Example:
        >>> snap(0.07 * 100), snap(0.1 + 0.2, total=0.3), snap(2.5)
        (7.0, 0.3, 2.5)
    """
    if length == math.inf:
        return length
    for mark in (float(total), float(round(length))):
        if math.isclose(length, mark, rel_tol=_ROUNDING):
            return mark
    return length


def span(value: float, total: float) -> float:
    """Return the length of a span in the units of `total`.

    Args:
        value: An int, the length itself, or a float, a share of `total` in [0, 1].
        total: Length of the run in (0, inf].

    Returns:
        The length, without rounding errors of whole numbers; infinite for a share of an infinite run.

    Raises:
        TypeError: An argument is not a number.
        ValueError: An argument is out of range.

    Example:
        >>> span(30, 200), span(0.25, 200), span(1, 200), span(1.0, 200)
        (30.0, 50.0, 1.0, 200.0)
    """
    check_span("span(value=...)", value)
    check_number("span(total=...)", total, "(0, inf]")
    if not is_share(value):
        return float(value)
    return snap(float(value) * total, total) if value > 0 else 0.0
