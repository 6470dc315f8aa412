"""Reads what a checkpoint holds: all of it, as it was written, or a refusal before any step.

A state comes from a file: it may be of an older or newer version, of another configuration, or damaged. What
is not understood is never taken for something else, since a wrong learning rate would show in nothing.
"""

import math
from collections.abc import Callable, Collection, Mapping
from reprlib import Repr
from textwrap import shorten
from typing import Any, TypeAlias

__all__ = [
    "Read",
    "count",
    "each_of",
    "finite",
    "flag",
    "length",
    "mapping",
    "number",
    "one_of",
    "optional",
    "positive",
    "read_entries",
    "text",
    "weight",
]

Read: TypeAlias = Callable[[Any], Any]
"""Returns what an entry stands for, and raises where it stands for nothing."""

# What reading an entry of the wrong type or with parts missing raises.
_UNREADABLE = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
_LARGEST_COUNT = 2**53
_LONGEST_REASON = 300
_short = Repr()
_short.maxdict = _short.maxlist = _short.maxlevel = 3


class _BadEntryError(ValueError):
    """Says where in a state something is wrong, and what."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"In its state, `{path}` {problem}.")
        self.path = path
        self.problem = problem


def read_entries(state: object, entries: Mapping[str, Read]) -> dict[str, Any]:
    """Read a state, or a part of one.

    Args:
        state: From a checkpoint.
        entries: How to read each entry that there must be.

    Raises:
        ValueError: An entry is unknown, missing or unreadable.

    Example:
        >>> read_entries({"step": 3, "best": None}, {"step": count, "best": optional(number)})
        {'step': 3, 'best': None}
    """
    if not isinstance(state, Mapping):
        raise ValueError(f"Its state must be a dict, got {_short.repr(state)}.")  # noqa: TRY004 (a bad file)
    unknown = [key for key in state if key not in entries]
    if unknown:
        raise _BadEntryError(str(unknown[0]), "is an entry that this version does not know")
    return {key: _entry(state, key, read) for key, read in entries.items()}


def _entry(state: Mapping[str, Any], key: str, read: Read) -> Any:
    if key not in state:
        raise _BadEntryError(key, "is missing")
    try:
        return read(state[key])
    except _BadEntryError as error:
        raise _BadEntryError(f"{key}.{error.path}", error.problem) from error
    except _UNREADABLE as error:
        reason = shorten(str(error), _LONGEST_REASON).removesuffix(".")
        raise _BadEntryError(key, f"is {_short.repr(state[key])}: {reason}") from error


def number(value: object) -> float:
    """Read a number, infinite or NaN included."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("it must be a number")  # noqa: TRY004 (a bad file)
    # `float` overflows for larger ints.
    float(value)
    return value


def finite(value: object) -> float:
    """Read a number, neither infinite nor NaN."""
    if not math.isfinite(number(value)):
        raise ValueError("it must be a finite number")
    return number(value)


def positive(value: object) -> float:
    """Read a number above 0, infinite included."""
    if not number(value) > 0:
        raise ValueError("it must be a number above 0")
    return number(value)


def weight(value: object) -> float:
    """Read a finite number that is not negative."""
    if not 0 <= number(value) < math.inf:
        raise ValueError("it must be a number in [0, inf)")
    return number(value)


def count(value: object) -> int:
    """Read a whole number that is not negative."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _LARGEST_COUNT:
        raise ValueError("it must be a whole number from 0 to 2**53")
    return value


def length(value: object) -> float:
    """Read a whole number above 0, or infinity."""
    return positive(value) if value == math.inf else count(positive(value))


def flag(value: object) -> bool:
    """Read True or False."""
    if not isinstance(value, bool):
        raise ValueError("it must be True or False")  # noqa: TRY004 (a bad file)
    return value


def text(value: object) -> str:
    """Read a text."""
    if not isinstance(value, str):
        raise ValueError("it must be a text")  # noqa: TRY004 (a bad file)
    return value


def mapping(value: object) -> dict[Any, Any]:
    """Read a dict of anything."""
    if not isinstance(value, Mapping):
        raise ValueError("it must be a dict")  # noqa: TRY004 (a bad file)
    return dict(value)


def one_of(choices: Collection[str]) -> Read:
    """Return a reader of one of some texts.

    Example:
        >>> one_of(("min", "max"))("max")
        'max'
    """

    def read_choice(value: object) -> str:
        if text(value) not in choices:
            raise ValueError(f"it must be one of {sorted(choices)}")
        return text(value)

    return read_choice


def optional(read: Read) -> Read:
    """Return a reader that leaves None as it is.

    Example:
        >>> optional(count)(None), optional(count)(3)
        (None, 3)
    """
    return lambda value: None if value is None else read(value)


def each_of(read: Read) -> Read:
    """Return a reader of lists.

    Example:
        >>> each_of(count)([1, 2])
        [1, 2]
    """

    def read_list(values: object) -> list[Any]:
        if not isinstance(values, list):
            raise ValueError("it must be a list")  # noqa: TRY004 (a bad file)
        return [read(value) for value in values]

    return read_list
