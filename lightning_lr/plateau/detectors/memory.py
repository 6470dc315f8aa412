"""What the slope test remembers of a run, in bounded memory, and the scale on which it reads it."""

import numpy as np

from lightning_lr.fit.saved_state import Read, count, each_of, finite, flag, number, optional, read_entries
from lightning_lr.plateau.detectors.base import Mode, Observation, State
from lightning_lr.plateau.detectors.trend import Series

__all__ = ["begin", "check", "forget", "remember", "series_of"]

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


_ENTRIES: dict[str, Read] = {
    "values": each_of(finite),
    "training_losses": each_of(number),
    "first_values": each_of(finite),
    "best_level": optional(finite),
    "positive": flag,
    "non_finite": count,
    "noise": optional(finite),
    "earlier_noise": optional(finite),
}


def check(state: object) -> None:
    """Check a history that was loaded.

    Raises:
        ValueError: Not a valid state.
    """
    checked = read_entries(state, _ENTRIES)
    values, losses = len(checked["values"]), len(checked["training_losses"])
    if values != losses:
        raise ValueError(
            f"A state of `SlopeTest` must have as many values as training losses, got {values} and {losses}."
        )
    if checked["positive"] and not all(value > 0 for value in checked["values"] + checked["first_values"]):
        raise ValueError("A state of `SlopeTest` cannot have positive=True and a value that is not.")


def remember(state: State, observation: Observation, mode: Mode, *, first: int, kept: int) -> State:
    """Return the history with one more validation, of a finite value.

    Args:
        state: The history so far; stays as it is.
        observation: The validation.
        mode: Whether smaller or larger values are better.
        first: How many of the first values are kept for good.
        kept: How many of the last values are.
    """
    values = [*state["values"], observation.value][-kept:]
    level = _middle(values[-_LEVEL:])
    if state["best_level"] is not None:
        level = min(level, state["best_level"]) if mode == "min" else max(level, state["best_level"])
    positive = state["positive"] and observation.value > 0
    return {
        **state,
        "values": values,
        "training_losses": [*state["training_losses"], observation.training_loss][-kept:],
        "first_values": [*state["first_values"], observation.value][:first],
        "best_level": level,
        "positive": positive,
        "non_finite": 0,
        # A noise of logarithms says nothing of values that have none.
        "earlier_noise": state["earlier_noise"] if positive == state["positive"] else None,
    }


def forget(state: State) -> State:
    """Return the history after a change: of the validations so far only their scale and their noise."""
    noise = state["earlier_noise"] if state["noise"] is None else state["noise"]
    return {
        **state,
        "values": [],
        "training_losses": [],
        "non_finite": 0,
        "noise": None,
        "earlier_noise": noise,
    }


def series_of(state: State, mode: Mode) -> Series | None:
    """Return the values as slopes are read off them, smaller being better.

    Logarithms; or, from the first value on that is not positive, values in units of the improvement so far,
    from the median of the first values to the best median of five.

    Returns:
        None where there was no improvement so far.

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
    sign = 1.0 if mode == "min" else -1.0
    values = np.array(state["values"])
    if state["positive"]:
        return np.asarray(sign * np.log(values))
    # Differences of the largest floats are infinite.
    unit = max(map(abs, [*state["values"], *state["first_values"], state["best_level"]]))
    if not unit:
        return None
    improvement = sign * (_middle(state["first_values"]) / unit - state["best_level"] / unit)
    return np.asarray(sign * (values / unit) / improvement) if improvement > _ROUNDING else None


def _middle(values: list[float]) -> float:
    """Return the median; halves are added because the sum of the largest floats is infinite."""
    ordered = sorted(values)
    return ordered[(len(values) - 1) // 2] / 2 + ordered[len(values) // 2] / 2
