"""The default plateau detector: can progress still be seen, in time to do something about it?

A test that waits for certainty waits longer than a run lasts: at the noise of a real validation, it takes
more validations than there are to rule out an improvement. So the burden of proof changes sides at a
deadline. Progress that has not shown by then is hidden by the noise of the LR, and to lower the LR is right.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from typing_extensions import override

from lightning_lr.checkpoints.saved_state import each_of, number, optional, read_entries
from lightning_lr.checks import check_count, check_number
from lightning_lr.plateau.detectors import memory
from lightning_lr.plateau.detectors.base import Detector, Mode, Observation, State, Verdict, VerdictState
from lightning_lr.plateau.detectors.trend import (
    Series,
    find_jumps,
    noise_of,
    slope_error,
    slope_of,
    spread_of,
    window_for,
)

__all__ = ["Progress", "patience_of"]

# A plateau is looked for over at least patience + 2 and at most this many patiences, the deadline.
_DEADLINE = 2.5
# An improvement is worth waiting for if it shows within so many validations.
_HORIZON = 10
_LEVEL, _FEWEST = 5, 5
_NON_FINITE = 3
_EARLIER_WEIGHT = 8
# Standard errors: to see an improvement, to see that it got worse.
_SEEN, _WORSE = 2.0, 3.0
# The standard error of a median of five, in standard deviations of one value.
_MEDIAN_ERROR = 0.56
# Autocorrelation makes a level uncertain by up to this factor more.
_TRUSTED = 1.5
# A smaller rise is not sudden.
_JUMP = 0.1
# A rise by this much is divergence even while the training loss is below what it was.
_FAR = 0.5
_RESOLUTION = 0.75
# Slope, noise and both thresholds of a verdict.
_NOT_ESTIMATED = (math.nan,) * 4
_SHORTEST_PATIENCE, _USUAL_PATIENCE, _LONGEST_PATIENCE, _PATIENCES_IN_RUN = 5, 10, 15, 6


def patience_of(total: float) -> int:
    """Return the patience for a run of `total` validations: a sixth of them, from 5 to 15; 10 if unknown.

    Example:
        >>> patience_of(20), patience_of(60), patience_of(1000), patience_of(math.inf)
        (5, 10, 15, 10)
    """
    if not math.isfinite(total):
        return _USUAL_PATIENCE
    return int(min(max(total / _PATIENCES_IN_RUN, _SHORTEST_PATIENCE), _LONGEST_PATIENCE))


class _Reading(NamedTuple):
    """What the validations since the last change show.

    Args:
        series: What is tested; smaller is better.
        since: How many values there are since the last sudden rise.
        noise: Standard deviation of one value.
        spread: The same without regard for autocorrelation, or for what has changed since the start.
        level: The median of the last five values.
        best: The best level of the run, in the same units, with its noise and training loss; or None.
        patience: In validations.
        window: How many values a plateau has to be seen over.
        rise: The slope over the last `window` values, or over all since the jump if there are fewer.
        error: Its standard error.
        rate: The slope that is worth waiting for.
    """

    series: Series
    since: int
    noise: float
    spread: float
    level: float
    best: tuple[float, float, float] | None
    patience: int
    window: int
    rise: float
    error: float
    rate: float


@dataclass(frozen=True, repr=False)
class Progress(Detector):
    """Call a plateau when improvement is ruled out, or has not shown by a deadline.

    Let `s` be the improvement per validation over the last `w` validations, `e` its standard error, `sd` the
    standard deviation of one validation, and `rate = max(min_improvement, sd) / max(patience, 10)`, the
    slowest improvement that is worth waiting for. The verdict is

    - plateau if `s < max(rate - 2 e, e)`. `w` is the smallest window with `2 e <= 0.75 rate`, but at least
      `patience + 2` and at most `2.5 patience`: the deadline, at which an improvement that does not stand
      out from the noise counts as none;
    - overfitting or diverging if the value rises by more than 3 standard errors, or its level (the median of
      five) is that much above the best level of the run, also the one before the last change: overfitting if
      the training loss falls, or is below what it was at the best level, or is not known; diverging
      otherwise. Three values in a row that are NaN or infinite are diverging;
    - improving if an improvement stands out by 2 standard errors, or a plateau is denied;
    - undecided otherwise, and right after a sudden rise.

    Improvement is measured as in `SlopeTest`: the fall (for mode `max`, the rise) of the logarithm of the
    value; or, once a value is not positive, in units of the improvement so far. A NaN or infinite value is
    skipped.

    Args:
        patience: For how many validations to wait, at least 3. None: a sixth of those of the run, from 5 to
            15, or 10 if the run has no known end.
        min_improvement: The improvement within 10 validations (or `patience`, if that is more) that is worth
            waiting for: a share of the value, or of the improvement so far, in [1e-6, 1). One that is smaller
            than the noise of a validation never is.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of range.

    Source:
        The constants are from `tests/benchmarks/plateau`.

    Example:
        >>> detector = Progress()
        >>> state = detector.begin()
        >>> for epoch in range(40):
        ...     loss = max(0.95**epoch, 0.5)
        ...     state, verdict = detector.judge(state, Observation(loss, total=60), mode="min")
        ...     if verdict.state == "plateau":
        ...         break
        >>> epoch, verdict.window
        (22, 12)
    """

    patience: int | None = None
    min_improvement: float = 0.02

    def __post_init__(self) -> None:
        if self.patience is not None:
            check_count("Progress(patience=...)", self.patience, minimum=3)
        check_number("Progress(min_improvement=...)", self.min_improvement, "[1e-6, 1)")

    @override
    def begin(self) -> State:
        return {**memory.begin(), "best": None}

    @override
    def fewest(self, total: float) -> int:
        return (patience_of(total) if self.patience is None else self.patience) + 2

    @override
    def check_state(self, state: State) -> None:
        read_entries(state, {**memory.ENTRIES, "best": optional(each_of(number))})
        memory.check({name: value for name, value in state.items() if name != "best"}, "Progress")
        if state["best"] is not None and len(state["best"]) != 3:
            raise ValueError(
                "`best` in a state of `Progress` must be a level, its noise and a training loss."
            )

    @override
    def judge(self, state: State, observation: Observation, *, mode: Mode) -> tuple[State, Verdict]:
        if not math.isfinite(observation.value):
            count = state["non_finite"] + 1
            return {**state, "non_finite": count}, memory.not_finite(observation.value, count, _NON_FINITE)
        patience = patience_of(observation.total) if self.patience is None else self.patience
        was_positive = state["positive"]
        kept = 4 * patience + 2
        state = memory.remember(state, observation, mode, first=max(_FEWEST, patience), kept=kept)
        if state["positive"] != was_positive and state["best"] is not None:
            # The noise of logarithms says nothing of values that have none.
            state = {**state, "best": [state["best"][0], 0.0, state["best"][2]]}
        count = len(state["values"])
        if count < _FEWEST:
            return state, _undecided(count, f"{count} of at least {_FEWEST} validations so far.")
        series = memory.series_of(state, mode)
        if series is None:
            return state, _undecided(count, "It has not improved yet, so there is nothing to compare with.")
        training = np.array(state["training_losses"])
        state = _note_best(state, series, training, mode)
        reading = self._read(state, series, patience, mode)
        decided, why = self._decide(reading, training)
        whole = reading.since >= reading.window
        unit = "" if state["positive"] else " of the improvement so far"
        verdict = Verdict(
            state=decided,
            slope=-reading.rise,
            noise=reading.spread,
            threshold=_threshold(reading) if whole else math.nan,
            upper_threshold=reading.rate + _SEEN * reading.error if whole else math.nan,
            window=min(reading.window, reading.since),
            reason=f"{_trend(reading, unit)}{why}",
        )
        return {**state, "noise": reading.noise}, verdict

    @override
    def after_change(self, state: State) -> State:
        return memory.forget(state)

    def _read(self, state: State, series: Series, patience: int, mode: Mode) -> _Reading:
        noise = _noise(series, state["earlier_noise"])
        spread = spread_of(series)
        since = len(series) - find_jumps(series, smallest=_JUMP).last
        rate = max(self.min_improvement, spread) / max(patience, _HORIZON)
        needed = window_for(noise, _RESOLUTION * rate / _SEEN)
        window = max(patience + 2, min(math.ceil(_DEADLINE * patience), needed))
        seen = series[-min(window, max(since, 2)) :]
        best = state["best"]
        if best is not None:
            [level] = memory.on_scale(state, [best[0]], mode)
            best = (level, best[1], best[2])
        return _Reading(
            series=series,
            since=since,
            noise=noise,
            spread=min(noise, _TRUSTED * spread),
            level=float(np.median(series[-_LEVEL:])),
            best=best,
            patience=patience,
            window=window,
            rise=slope_of(seen),
            error=slope_error(noise, len(seen)),
            rate=rate,
        )

    def _decide(self, reading: _Reading, training: Series) -> tuple[VerdictState, str]:
        """Return the verdict's state and the rest of its reason, which follows the trend."""
        worse = _above_best(reading, training, self.min_improvement)
        worse = worse or _rising(reading, training, self.min_improvement)
        if worse:
            return worse
        if reading.since < _FEWEST:
            return "undecided", f"; it got suddenly worse {reading.since} validations ago."
        fall, is_short = -reading.rise, reading.since < reading.window
        if fall > _SEEN * reading.error if is_short else fall >= _threshold(reading):
            return "improving", "."
        if is_short:
            takes = f"it takes {reading.window} validations to tell a plateau"
            return "undecided", f": with noise of {reading.spread:.2%} {takes}."
        if fall < reading.rate - _SEEN * reading.error:
            return "plateau", f": {reading.rate:.2%} or more is ruled out, at noise of {reading.spread:.2%}."
        return "plateau", f": no progress stands out from noise of {reading.spread:.2%}."


def _threshold(reading: _Reading) -> float:
    return max(reading.rate - _SEEN * reading.error, reading.error)


def _noise(series: Series, earlier: float | None) -> float:
    noise = noise_of(series)
    if earlier is None:
        return noise
    seen = len(series) - 1
    return math.sqrt((seen * noise**2 + _EARLIER_WEIGHT * earlier**2) / (seen + _EARLIER_WEIGHT))


def _note_best(state: State, series: Series, training: Series, mode: Mode) -> State:
    """Return the state with the best level so far, the noise there and the training loss there."""
    level = float(np.median(state["values"][-_LEVEL:]))
    best = state["best"]
    scaled = memory.on_scale(state, [level] if best is None else [level, best[0]], mode)
    if best is not None and not scaled[0] < scaled[1]:
        return state
    noise = min(_noise(series, state["earlier_noise"]), _TRUSTED * spread_of(series))
    return {**state, "best": [level, noise, _mean(training)]}


def _mean(training: Series) -> float:
    """Return the mean of the last finite losses, NaN without any; the largest floats have no sum."""
    known = training[-_LEVEL:][np.isfinite(training[-_LEVEL:])]
    return float((known / len(known)).sum()) if len(known) else math.nan


def _above_best(
    reading: _Reading, training: Series, min_improvement: float
) -> tuple[VerdictState, str] | None:
    """Tell whether the level is surely above the best one of the run and does not come back."""
    if reading.best is None:
        return None
    best, noise, loss = reading.best
    above = reading.level - best
    sure = _WORSE * _MEDIAN_ERROR * math.hypot(reading.spread, noise)
    recent = reading.series[-max(3, min(reading.since, reading.patience + 2)) :]
    recovers = -slope_of(recent) > slope_error(reading.noise, len(recent)) / 2
    if recovers or above <= max(sure, 2 * min_improvement):
        return None
    now = _mean(training)
    evidence = f"; its level is {above:.1%} above the best"
    if math.isnan(now) or math.isnan(loss):
        return "overfitting", f"{evidence}; the training loss is not known."
    if now < loss:
        return "overfitting", f"{evidence}, while the training loss is {now:.3g} and was {loss:.3g} there."
    if above > max(2 * sure, _FAR) and len(recent) >= reading.patience:
        return "diverging", f"{evidence}, and the training loss is not below what it was there."
    return None


def _rising(reading: _Reading, training: Series, min_improvement: float) -> tuple[VerdictState, str] | None:
    """Tell whether it surely gets worse, lately or since the last change."""
    shortest = reading.patience + 2
    for length in (shortest, reading.since) if reading.since >= shortest else ():
        rise = slope_of(reading.series[-length:])
        sure = _WORSE * slope_error(reading.spread, length)
        if rise > max(sure, 2 * min_improvement / length):
            return _worse(rise, training[-length:])
    return None


def _worse(rise: float, losses: Series) -> tuple[VerdictState, str]:
    length = len(losses)
    known = losses[np.isfinite(losses)]
    evidence = f"; {rise * length:.1%} worse in {length} validations"
    if 2 * len(known) < length:
        return "overfitting", f"{evidence}; the training loss is not known."
    # Only the sign of the slope counts, and differences of the largest floats are infinite.
    if slope_of(known / max(1.0, float(np.abs(known).max()))) < 0:
        return "overfitting", f"{evidence}, while the training loss falls."
    return "diverging", f"{evidence}, and the training loss does not fall either."


def _trend(reading: _Reading, unit: str) -> str:
    direction = "worse" if reading.rise > 0 else "better"
    window = min(reading.window, reading.since)
    return f"{abs(reading.rise):.2%}{unit} {direction} per validation over the last {window}"


def _undecided(count: int, reason: str) -> Verdict:
    return Verdict("undecided", *_NOT_ESTIMATED, count, reason)
