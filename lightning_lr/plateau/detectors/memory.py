"""What the detectors remember of a run, in bounded memory, and the scale on which it reads the values."""

import math

import numpy as np

from lightning_lr.checkpoints.saved_state import (
    Read,
    count,
    each_of,
    finite,
    flag,
    number,
    optional,
    read_entries,
)
from lightning_lr.plateau.detectors.base import Mode, Observation, State, Verdict, VerdictState, is_better
from lightning_lr.plateau.detectors.trend import Series

__all__ = ["ENTRIES", "begin", "check", "forget", "not_finite", "on_scale", "remember", "series_of"]

_LEVEL = 5
# Improvement below this share of the values is rounding.
_ROUNDING = 1e-12


def begin() -> State:
    """Return the history before the first validation."""
    return {
        "values": [],
        "training_losses": [],
        "first_values": [],
        "best_level": None,
        "positive": True,
        "non_finite": 0,
        "noise": None,
        "earlier_noise": None,
    }


ENTRIES: dict[str, Read] = {
    "values": each_of(finite),
    "training_losses": each_of(number),
    "first_values": each_of(finite),
    "best_level": optional(finite),
    "positive": flag,
    "non_finite": count,
    "noise": optional(finite),
    "earlier_noise": optional(finite),
}


def check(state: object, name: str) -> None:
    """Check the history of the detector `name` from a checkpoint; raises ValueError if it is not valid."""
    checked = read_entries(state, ENTRIES)
    values, losses = len(checked["values"]), len(checked["training_losses"])
    if values != losses:
        raise ValueError(
            f"A state of `{name}` must have as many values as training losses, got {values} and {losses}."
        )
    if checked["positive"] and not all(value > 0 for value in checked["values"] + checked["first_values"]):
        raise ValueError(f"A state of `{name}` cannot have positive=True and a value that is not.")


def remember(state: State, observation: Observation, mode: Mode, *, first: int, kept: int) -> State:
    """Return the history with one more validation, whose value is finite.

    Args:
        state: The history so far; it is not changed.
        observation: The validation.
        mode: Whether smaller or larger values are better.
        first: How many of the first values of the run to keep for good.
        kept: How many of the last values to keep.
    """
    values = [*state["values"], observation.value][-kept:]
    level, best = _middle(values[-_LEVEL:]), state["best_level"]
    positive = state["positive"] and observation.value > 0
    return {
        **state,
        "values": values,
        "training_losses": [*state["training_losses"], observation.training_loss][-kept:],
        "first_values": [*state["first_values"], observation.value][:first],
        "best_level": level if best is None or is_better(level, best, mode) else best,
        "positive": positive,
        "non_finite": 0,
        # A noise of logarithms says nothing of values that have none.
        "earlier_noise": state["earlier_noise"] if positive == state["positive"] else None,
    }


def forget(state: State) -> State:
    """Return the history after a change of LR or weights: only scale and noise are kept."""
    noise = state["earlier_noise"] if state["noise"] is None else state["noise"]
    fresh = {"values": [], "training_losses": [], "non_finite": 0, "noise": None, "earlier_noise": noise}
    return {**state, **fresh}


def series_of(state: State, mode: Mode) -> Series | None:
    """Return the series whose slope is tested; smaller is better.

    The series holds logarithms as long as all values are positive. After that, it holds the values in units
    of the improvement so far, from the median of the first values to the best median of five.

    Returns:
        The series; None if there has been no improvement yet.

    Example:
        >>> from math import e
        >>> state = begin()
        >>> for value in (1.0, e, e**2):
        ...     state = remember(state, Observation(value), "max", first=1, kept=9)
        >>> series_of(state, "max").round(9).tolist()
        [-0.0, -1.0, -2.0]
        >>> for value in (5.0, -1.0, 5.0, 5.0):
        ...     state = remember(state, Observation(value), "max", first=1, kept=3)
        >>> series_of(state, "max").tolist()
        [0.25, -1.25, -1.25]
    """
    return _scaled(state, state["values"], mode)


def on_scale(state: State, values: list[float], mode: Mode) -> list[float]:
    """Return other values on the scale of the series, which must exist."""
    scaled = _scaled(state, values, mode)
    return [] if scaled is None else list(map(float, scaled))


def _scaled(state: State, of: list[float], mode: Mode) -> Series | None:
    sign = 1.0 if mode == "min" else -1.0
    values = np.array(of)
    if state["positive"]:
        return np.asarray(sign * np.log(values))
    # Differences of the largest floats are infinite.
    unit = max(map(abs, [*state["values"], *state["first_values"], state["best_level"]]))
    if not unit:
        return None
    improvement = sign * (_middle(state["first_values"]) / unit - state["best_level"] / unit)
    return np.asarray(sign * (values / unit) / improvement) if improvement > _ROUNDING else None


def not_finite(value: float, count: int, fewest: int) -> Verdict:
    """Return the verdict on the last of `count` values in a row that are NaN or infinite."""
    state: VerdictState = "diverging" if count >= fewest else "undecided"
    reason = f"The value is {value}, {count} in a row without a finite one; {fewest} are divergence."
    return Verdict(state, math.nan, math.nan, math.nan, math.nan, count, reason)


def _middle(values: list[float]) -> float:
    """Return the median; halves are added because the sum of the largest floats is infinite."""
    ordered = sorted(values)
    return ordered[(len(values) - 1) // 2] / 2 + ordered[len(values) // 2] / 2
