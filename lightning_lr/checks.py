"""Argument checks, so that every constructor refuses the same way and in the same words.

Each check names the argument as a user wrote it and is phrased so that NaN fails. A dataclass declares the
ranges of its fields as `Annotated[float, In("[0, 1]")]` or `Annotated[int, AtLeast(1)]`, and calls
`check_fields`.
"""

import math
import sys
from collections import abc
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from numbers import Integral, Real
from typing import Any

import numpy as np

__all__ = [
    "LARGEST_COUNT",
    "AtLeast",
    "In",
    "as_number",
    "as_tuple",
    "check_choice",
    "check_count",
    "check_fields",
    "check_flag",
    "check_number",
    "out_of_hydra",
]

# From here on floats, which formulas are made of, no longer tell one count from the next.
LARGEST_COUNT = 2**53


def check_number(name: str, value: object, interval: str) -> None:
    """Check that `value` is a number inside `interval`, like `[0, 1]` or `(0, inf)`.

    Example:
        >>> check_number("Cosine(end=...)", 1.5, "[0, 1]")
        Traceback (most recent call last):
        ValueError: `Cosine(end=...)` must be in [0, 1], got 1.5.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"`{name}` must be a number in {interval}, got {value!r}.")
    low, high = _ends(interval)
    try:
        number = float(value)
    except OverflowError:  # an int above the largest float
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

    Example:
        >>> check_count("Step(size=...)", 0, minimum=1)
        Traceback (most recent call last):
        ValueError: `Step(size=...)` must be at least 1, got 0.
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"`{name}` must be a whole number, got {value!r}.")
    if int(value) < minimum:
        raise ValueError(f"`{name}` must be at least {minimum}, got {value!r}.")
    if int(value) > LARGEST_COUNT:
        raise ValueError(f"`{name}` must be at most 2**53, got {value!r}.")


@dataclass(frozen=True)
class In:
    """The interval of a number, for example `Annotated[float, In("[0, 1]")]`."""

    interval: str

    def check(self, name: str, value: object) -> None:
        """Check that `value` lies in the interval."""
        check_number(name, value, self.interval)


@dataclass(frozen=True)
class AtLeast:
    """The minimum of a count, for example `Annotated[int, AtLeast(1)]`."""

    minimum: int

    def check(self, name: str, value: object) -> None:
        """Check that `value` is a count of at least the minimum."""
        check_count(name, value, self.minimum)


def check_fields(instance: object) -> None:
    """Check the fields of a dataclass that are annotated with `In` or `AtLeast`.

    Example:
        >>> from typing import Annotated
        >>> @dataclass
        ... class Warmup:
        ...     steps: Annotated[int, AtLeast(1)]
        >>> check_fields(Warmup(0))
        Traceback (most recent call last):
        ValueError: `Warmup(steps=...)` must be at least 1, got 0.
    """
    kind = type(instance)
    for field in getattr(kind, "__dataclass_fields__", {}).values():
        for mark in getattr(field.type, "__metadata__", ()):
            if isinstance(mark, In | AtLeast):
                mark.check(f"{kind.__name__}({field.name}=...)", getattr(instance, field.name))


def check_flag(name: str, value: object) -> None:
    """Check that `value` is True or False, since the text 'false' would count as true.

    Example:
        >>> check_flag("LRRangeTest(apply=...)", "false")
        Traceback (most recent call last):
        TypeError: `LRRangeTest(apply=...)` must be True or False, got 'false'.
    """
    if not isinstance(value, bool):
        raise TypeError(f"`{name}` must be True or False, got {value!r}.")


def check_choice(name: str, value: object, choices: Collection[str]) -> None:
    """Check that `value` is one of `choices`.

    Example:
        >>> check_choice("LRDecay(interval=...)", "batch", ("epoch", "step"))
        Traceback (most recent call last):
        ValueError: `LRDecay(interval=...)` must be 'epoch' or 'step', got 'batch'.
    """
    if value not in choices:
        options = " or ".join(map(repr, choices))
        raise ValueError(f"`{name}` must be {options}, got {value!r}.")


def as_number(value: Any) -> Any:
    """Return a numpy number as a Python number, and anything else as it is.

    A float32 would lower the precision of every result, and numpy warns about overflows.

    Example:
        >>> as_number(np.float32(0.5))
        0.5
    """
    return value.item() if isinstance(value, np.number) else value


def as_tuple(name: str, values: object, content: str) -> tuple[Any, ...]:
    """Return the elements of a list as a tuple, or say that it must be a list of `content`.

    Example:
        >>> as_tuple("MultiStep(milestones=...)", 30, "whole numbers")
        Traceback (most recent call last):
        TypeError: `MultiStep(milestones=...)` must be a list of whole numbers, got 30.
    """
    values = out_of_hydra(values)
    if isinstance(values, str) or not isinstance(values, abc.Sequence):
        raise TypeError(f"`{name}` must be a list of {content}, got {values!r}.")
    return tuple(map(as_number, values))


def out_of_hydra(value: Any) -> Any:
    """Return a list as Python's own, with the objects in it, if Hydra has made a config of it.

    Its `instantiate` does so with lists of dataclasses, unless the config says `_convert_: object`.
    """
    omegaconf = sys.modules.get("omegaconf")
    if omegaconf is None or not omegaconf.OmegaConf.is_config(value):
        return value
    return omegaconf.OmegaConf.to_object(value)
