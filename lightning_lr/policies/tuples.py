"""Lists as YAML and users give them, made into tuples: a policy is a value, hashable and out of reach."""

from collections import abc
from typing import Any

__all__ = ["as_tuple"]


def as_tuple(name: str, values: object, content: str) -> tuple[Any, ...]:
    """Return a list's elements as a tuple.

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
    return tuple(values)
