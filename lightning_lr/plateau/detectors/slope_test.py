"""A plateau detector that wants certainty: does the value surely improve too slowly to wait for more?

A slope that cannot be seen is no evidence of a plateau: enough noise hides every slope. So the test asks the
opposite question: can the slope that is worth waiting for be ruled out? It looks at as many validations as
the noise demands.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from typing_extensions import override

from lightning_lr.checks import check_count, check_number
from lightning_lr.plateau.detectors import memory
from lightning_lr.plateau.detectors.base import Detector, Mode, Observation, State, Verdict, VerdictState
from lightning_lr.plateau.detectors.trend import (
    Jumps,
    Series,
    find_jumps,
    noise_of,
    slope_error,
    slope_of,
    window_for,
)

__all__ = ["SlopeTest"]

# z standard errors must be at most this share of the slope that is worth waiting for: at 1, a constant value
# would be distinguished from that slope only half of the time.
_RESOLUTION = 0.75
_PATIENCES_KEPT = 16
_NON_FINITE = 3
_FEWEST_RECOVERING = 2
_FEWEST, _FEWEST_FIRST = 8, 5
# An estimate from before the last change counts as much as this many differences.
_EARLIER_WEIGHT = 8
# Slope, noise and both thresholds of a verdict.
_NOT_ESTIMATED = (math.nan,) * 4


class _Reading(NamedTuple):
    """What the validations since the last change or jump show; a positive `rise` is a worsening."""

    rise: float
    noise: float
    error: float
    window: int
    needed: int
    jumps: Jumps


@dataclass(frozen=True, repr=False)
class SlopeTest(Detector):
    """Call a plateau when the slope and its uncertainty rule out an improvement worth waiting for.

    Let `s` be the improvement per validation over a window of `w` validations, `e` its standard error, and
    `rate = min_improvement / patience`. The verdict is

    - plateau if `s < rate - z e`, unless the last `patience + 2` validations, or a comparison with the level
      `patience` validations ago, show an improvement worth waiting for;
    - overfitting or diverging if `s < -z e` and `s < -rate / 2`: overfitting if the training loss falls over
      the window or is not known, diverging otherwise. The same after a sudden rise from which the value does
      not recover within `patience + 2` validations (diverging unless the training loss falls). Three values
      in a row that are NaN or infinite are diverging;
    - undecided if there are fewer than `w` validations since the last change of the LR or sudden rise;
    - improving otherwise, and as soon as `s > z e`.

    `w` is the smallest window with `z e <= 0.75 rate`, at least `patience + 2` and at most `16 patience`. So
    a constant value is a plateau as early as with `Patience`, noise delays the verdict, and noise that hides
    even `rate` leaves it undecided. The estimate of the noise accounts for autocorrelation.

    Improvement is the fall (for mode `max`, the rise) of the logarithm of the value, so the same settings fit
    a loss of any scale. Once a value is not positive, improvement is measured in units of the improvement so
    far instead (from the median of the first `patience` values to the best median of five), which does not
    depend on shift or scale of the value. A NaN or infinite value is skipped.

    Args:
        patience: For how many validations to wait for `min_improvement`, at least 1.
        min_improvement: Share of the value, or of the improvement so far, in [1e-6, 1). Choose a smaller one
            for a value that cannot change much, for example an accuracy near 1.
        z: Certainty in standard errors, in (0, 100]; larger values decide later, with fewer false alarms.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of range.

    Source:
        Window and threshold are those of a test whose power matches its size; the constants are from
        `tests/benchmarks/plateau/detectors.py`.

    Example:
        >>> detector = SlopeTest()
        >>> state = detector.begin()
        >>> for epoch in range(30):
        ...     loss = max(0.95**epoch, 0.5)
        ...     state, verdict = detector.judge(state, Observation(loss), mode="min")
        ...     if verdict.state == "plateau":
        ...         break
        >>> epoch, verdict.window
        (24, 12)
    """

    patience: int = 10
    min_improvement: float = 0.02
    z: float = 6.0

    def __post_init__(self) -> None:
        check_count("SlopeTest(patience=...)", self.patience, minimum=1)
        check_number("SlopeTest(min_improvement=...)", self.min_improvement, "[1e-6, 1)")
        check_number("SlopeTest(z=...)", self.z, "(0, 100]")

    @override
    def begin(self) -> State:
        return memory.begin()

    @override
    def fewest(self, total: float) -> int:
        return self._fewest

    @override
    def check_state(self, state: State) -> None:
        memory.check(state, "SlopeTest")

    @override
    def judge(self, state: State, observation: Observation, *, mode: Mode) -> tuple[State, Verdict]:
        if not math.isfinite(observation.value):
            count = state["non_finite"] + 1
            return {**state, "non_finite": count}, memory.not_finite(observation.value, count, _NON_FINITE)
        first = max(_FEWEST_FIRST, self.patience)
        state = memory.remember(state, observation, mode, first=first, kept=self._kept)
        count, fewest = len(state["values"]), self._fewest
        if count < fewest:
            return state, _undecided(count, f"{count} of at least {fewest} validations so far.")
        series = memory.series_of(state, mode)
        if series is None:
            return state, _undecided(count, "It has not improved yet, so there is nothing to compare with.")
        reading = self._read(series, state["earlier_noise"])
        unit = "" if state["positive"] else " of the improvement so far"
        decided, why = self._decide(series, reading, np.array(state["training_losses"]))
        # NaN until there are enough validations to tell a plateau.
        band = self.z * reading.error if reading.window >= reading.needed else math.nan
        verdict = Verdict(
            state=decided,
            slope=-reading.rise,
            noise=reading.noise,
            threshold=self._rate - band,
            upper_threshold=self._rate + band,
            window=reading.window,
            reason=f"{_trend(reading, unit)}{why}",
        )
        return {**state, "noise": reading.noise}, verdict

    @override
    def after_change(self, state: State) -> State:
        return memory.forget(state)

    @property
    def _fewest(self) -> int:
        return max(_FEWEST, self.patience + 2)

    @property
    def _kept(self) -> int:
        return max(2 * self._fewest, _PATIENCES_KEPT * self.patience)

    @property
    def _rate(self) -> float:
        return self.min_improvement / self.patience

    def _read(self, series: Series, earlier: float | None) -> _Reading:
        noise = noise_of(series)
        if earlier is not None:
            seen = len(series) - 1
            noise = math.sqrt((seen * noise**2 + _EARLIER_WEIGHT * earlier**2) / (seen + _EARLIER_WEIGHT))
        needed = max(self._fewest, window_for(noise, _RESOLUTION * self._rate / self.z))
        jumps = find_jumps(series, smallest=self.min_improvement)
        # Right after a jump, the window also holds validations before it, to compare with.
        since = len(series) - jumps.last
        window = min(needed, since if since >= self._fewest else self._fewest)
        return _Reading(
            rise=slope_of(series[-window:]),
            noise=noise,
            error=slope_error(noise, window),
            window=window,
            needed=needed,
            jumps=jumps,
        )

    def _decide(self, series: Series, reading: _Reading, training: Series) -> tuple[VerdictState, str]:
        """Return the verdict's state and the rest of its reason, which follows the trend."""
        training = training[-reading.window :]
        since = len(series) - reading.jumps.last
        away = len(series) - reading.jumps.unrecovered
        recovery = slope_of(series[-since:]) if _FEWEST_RECOVERING <= since < self._fewest else reading.rise
        if away >= self._fewest and min(recovery, reading.rise) > -self._rate / 2:
            return _worse(training, f"; it got suddenly worse {away} validations ago and has not come back")
        if since < self._fewest:
            return "undecided", f"; it got suddenly worse {since} validations ago."
        if reading.rise > max(self.z * reading.error, self._rate / 2):
            return _worse(training)
        if reading.window < reading.needed:
            return self._of_short_window(reading)
        return self._of_full_window(series, reading)

    def _of_full_window(self, series: Series, reading: _Reading) -> tuple[VerdictState, str]:
        if -reading.rise >= self._rate - self.z * reading.error:
            return "improving", "."
        if self._improves_lately(series, reading.noise):
            return "improving", ", but more than that lately."
        return "plateau", f": {self._rate:.2%} or more is ruled out, at noise of {reading.noise:.2g}."

    def _of_short_window(self, reading: _Reading) -> tuple[VerdictState, str]:
        if -reading.rise > self.z * reading.error:
            return "improving", "."
        takes = f": with noise of {reading.noise:.2g} it takes {reading.needed} validations to tell"
        if reading.needed <= self._kept:
            return "undecided", f"{takes}."
        mend = "validate on more data, or raise `patience` or `min_improvement`"
        return "undecided", f"{takes}, more than the {self._kept} kept; {mend}."

    def _improves_lately(self, series: Series, noise: float) -> bool:
        """Tell whether there is a recent improvement that the slope over a long window hides."""
        lately = series[-self._fewest :]
        fall = -slope_of(lately)
        if fall > max(self._rate, 2 * slope_error(noise, len(lately))):
            return True
        before = series[: len(series) - self.patience][-2:]
        return bool(before.mean() - series[-2:].mean() >= self.min_improvement)


def _worse(training: Series, evidence: str = "") -> tuple[VerdictState, str]:
    known = training[np.isfinite(training)]
    if 2 * len(known) < len(training):
        return ("diverging" if evidence else "overfitting"), f"{evidence}; the training loss is not known."
    # Only the sign of the slope counts, and differences of the largest floats are infinite.
    if slope_of(known / max(1.0, float(np.abs(known).max()))) < 0:
        return "overfitting", f"{evidence}, while the training loss falls."
    return "diverging", f"{evidence}, and the training loss does not fall either."


def _trend(reading: _Reading, unit: str) -> str:
    direction = "worse" if reading.rise > 0 else "better"
    return f"{abs(reading.rise):.2%}{unit} {direction} per validation over the last {reading.window}"


def _undecided(count: int, reason: str) -> Verdict:
    return Verdict("undecided", *_NOT_ESTIMATED, count, reason)
