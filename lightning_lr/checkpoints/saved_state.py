"""Reads a state from a checkpoint completely and as it was written, or refuses it before any step.

A state comes from a file: it may be damaged, or from another version or configuration. An entry that is not
understood is never guessed, because nobody would notice the wrong learning rate.
"""

import math
from collections.abc import Callable, Collection, Mapping
from reprlib import Repr
from textwrap import shorten
from typing import Any, TypeAlias, TypeVar

from lightning_lr.checks import LARGEST_COUNT

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

Kind = TypeVar("Kind")

Read: TypeAlias = Callable[[Any], Any]
"""Returns the value of an entry, and raises if it has none."""

# The errors of reading an entry of the wrong type, or one without some of its parts.
_UNREADABLE = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
_LONGEST_REASON = 300
_short = Repr()
_short.maxdict = _short.maxlist = _short.maxlevel = 3


class _BadEntryError(ValueError):
    """Names a bad entry of a state and its problem."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"In its state, `{path}` {problem}.")
        self.path = path
        self.problem = problem


def read_entries(state: object, entries: Mapping[str, Read]) -> dict[str, Any]:
    """Read a state, or a part of one, by one reader for each entry.

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


def _number(value: object, holds: Callable[[float], bool], name: str) -> float:
    if not holds(number(value)):
        raise ValueError(f"it must be {name}")
    return number(value)


def finite(value: object) -> float:
    """Read a number, neither infinite nor NaN."""
    return _number(value, math.isfinite, "a finite number")


def positive(value: object) -> float:
    """Read a number above 0, infinite included."""
    return _number(value, lambda each: each > 0, "a number above 0")


def weight(value: object) -> float:
    """Read a finite number that is not negative."""
    return _number(value, lambda each: 0 <= each < math.inf, "a number in [0, inf)")


def count(value: object) -> int:
    """Read a whole number that is not negative."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= LARGEST_COUNT:
        raise ValueError("it must be a whole number from 0 to 2**53")
    return value


def length(value: object) -> float:
    """Read a whole number above 0, or infinity."""
    return positive(value) if value == math.inf else count(positive(value))


def _instance(value: object, kind: type[Kind], name: str) -> Kind:
    if not isinstance(value, kind):
        raise ValueError(f"it must be {name}")  # noqa: TRY004 (a bad file)
    return value


def flag(value: object) -> bool:
    """Read True or False."""
    return _instance(value, bool, "True or False")


def text(value: object) -> str:
    """Read a text."""
    return _instance(value, str, "a text")


def mapping(value: object) -> dict[Any, Any]:
    """Read a dict of anything."""
    return dict(_instance(value, Mapping, "a dict"))


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
    return lambda values: [read(value) for value in _instance(values, list, "a list")]
