"""Arguments as YAML and users give them, made plain: a policy is a value, hashable and out of reach."""

from collections import abc
from typing import Any

import numpy as np

__all__ = ["as_number", "as_tuple"]


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
