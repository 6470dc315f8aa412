"""Argument checks, so that every constructor refuses the same way and in the same words.

Each check names the argument as a user wrote it and is phrased so that NaN fails.
"""

import math
from collections import abc
from collections.abc import Collection
from functools import lru_cache
from numbers import Integral, Real
from typing import Any

import numpy as np

__all__ = ["as_number", "as_tuple", "check_choice", "check_count", "check_flag", "check_number"]

# From here on floats, which formulas are made of, no longer tell one count from the next.
_LARGEST_COUNT = 2**53


def check_number(name: str, value: object, interval: str) -> None:
    """Check that `value` is a number inside `interval`.

    Args:
        name: The argument as the user knows it, such as `Cosine(floor=...)`.
        value: What was given.
        interval: Mathematical notation such as `[0, 1]` or `(0, inf)`; a round bracket excludes its end.

    Raises:
        TypeError: `value` is no real number.
        ValueError: `value` is NaN or outside `interval`.

    Example:
        >>> check_number("Cosine(floor=...)", 1.5, "[0, 1]")
        Traceback (most recent call last):
        ValueError: `Cosine(floor=...)` must be in [0, 1], got 1.5.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"`{name}` must be a number in {interval}, got {value!r}.")
    low, high = _ends(interval)
    try:
        number = float(value)
    except OverflowError:  # of an int beyond every float
        number = math.inf if value > 0 else -math.inf  # type: ignore[operator]
    above = low <= number if interval[0] == "[" else low < number
    below = number <= high if interval[-1] == "]" else number < high
    if not (above and below):
        raise ValueError(f"`{name}` must be in {interval}, got {value!r}.")


@lru_cache
def _ends(interval: str) -> tuple[float, float]:
    low, high = interval[1:-1].split(",")
    return float(low), float(high)


def check_count(name: str, value: object, minimum: int) -> None:
    """Check that `value` is a whole number of at least `minimum`, and no larger than a float can count.

    Raises:
        TypeError: `value` is no integer.
        ValueError: `value` is below `minimum`, or above 2**53.

    Example:
        >>> check_count("Step(size=...)", 0, minimum=1)
        Traceback (most recent call last):
        ValueError: `Step(size=...)` must be at least 1, got 0.
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"`{name}` must be a whole number, got {value!r}.")
    if int(value) < minimum:
        raise ValueError(f"`{name}` must be at least {minimum}, got {value!r}.")
    if int(value) > _LARGEST_COUNT:
        raise ValueError(f"`{name}` must be at most 2**53, got {value!r}.")


def check_flag(name: str, value: object) -> None:
    """Check that `value` is True or False: the text 'false' would count as true.

    Raises:
        TypeError: It is neither.

    Example:
        >>> check_flag("LRRangeTest(apply=...)", "false")
        Traceback (most recent call last):
        TypeError: `LRRangeTest(apply=...)` must be True or False, got 'false'.
    """
    if not isinstance(value, bool):
        raise TypeError(f"`{name}` must be True or False, got {value!r}.")


def check_choice(name: str, value: object, choices: Collection[str]) -> None:
    """Check that `value` is one of `choices`.

    Raises:
        ValueError: it is not.

    Example:
        >>> check_choice("LRDecay(interval=...)", "batch", ("epoch", "step"))
        Traceback (most recent call last):
        ValueError: `LRDecay(interval=...)` must be 'epoch' or 'step', got 'batch'.
    """
    if value not in choices:
        options = " or ".join(map(repr, choices))
        raise ValueError(f"`{name}` must be {options}, got {value!r}.")


def as_number(value: Any) -> Any:
    """Return a number of numpy as Python's own, and anything else as it is.

    A float32 would decide the precision of all that is computed with it, and numpy warns of an overflow.

    Example:
        >>> as_number(np.float32(0.5))
        0.5
    """
    return value.item() if isinstance(value, np.number) else value


def as_tuple(name: str, values: object, content: str) -> tuple[Any, ...]:
    """Return a list's elements as a tuple, numbers as `as_number` has them.

    Args:
        name: The argument as the user knows it, such as `MultiStep(milestones=...)`.
        values: What was given.
        content: What the list should hold, for the message.

    Raises:
        TypeError: `values` is no list.

    Example:
        >>> as_tuple("MultiStep(milestones=...)", 30, "whole numbers")
        Traceback (most recent call last):
        TypeError: `MultiStep(milestones=...)` must be a list of whole numbers, got 30.
    """
    if isinstance(values, str) or not isinstance(values, abc.Sequence):
        raise TypeError(f"`{name}` must be a list of {content}, got {values!r}.")
    return tuple(map(as_number, values))
