"""What all rules share: when a curve says nothing, and how sure the LR is that was read off it."""

import math
from abc import ABC, abstractmethod
from functools import lru_cache
from typing import final

import numpy as np

from lightning_lr.finders.range_test.curve import CLEAR_FALL, INITIAL_SPAN, LossCurve, SmoothCurve, smooth
from lightning_lr.finders.suggestion import Abstention, Decision, Suggestion

__all__ = ["Rule"]

_FEWEST_POINTS = 10
_BOOTSTRAPS = 32


class Rule(ABC):
    """How one LR is read off a loss curve; own rules implement `read`."""

    @abstractmethod
    def read(self, curve: SmoothCurve) -> tuple[float, str] | str:
        """Read the LR off a curve that is known to fall.

        Args:
            curve: The first basin of the smoothed loss, see `SmoothCurve.first_basin`.

        Returns:
            The LR and what was seen, or only the reason why there is none.
        """

    @final
    def suggest(self, curve: LossCurve) -> Decision:
        """Return the LR that this rule reads off `curve`, or why it reads none.

        Abstains for fewer than 10 finite losses, where the loss falls by less than 5 standard deviations of a
        smoothed point, and where its minimum lies in the first 0.7 decade of the ramp. The uncertainty is the
        range from the 10th to the 90th percentile of 32 readings of the smoothed curve with its residuals
        drawn anew.

        Args:
            curve: As recorded.
        """
        name = type(self).__name__
        finite = sum(map(math.isfinite, curve.losses))
        if finite < _FEWEST_POINTS:
            return Abstention(
                name,
                f"Only {finite} finite losses, at least {_FEWEST_POINTS} are needed: start at a lower LR.",
            )
        smoothed = smooth(curve).first_basin()
        clear = CLEAR_FALL * smoothed.noise
        at_start = float(smoothed.log_lrs[smoothed.lowest] - smoothed.log_lrs[0]) <= INITIAL_SPAN
        if smoothed.drop <= clear or at_start:
            rose = smoothed.drop > clear or float(smoothed.losses[-1]) > smoothed.initial + clear
            return Abstention(name, _no_descent(smoothed, rose=rose))
        reading = self.read(smoothed)
        if isinstance(reading, str):
            return Abstention(name, reading)
        lr, reason = reading
        low, high = self._interval(curve, lr)
        return Suggestion(lr=float(lr), low=low, high=high, rule=name, reason=reason)

    def _interval(self, curve: LossCurve, lr: float) -> tuple[float, float]:
        """Read resampled curves; those that give no LR are left out."""
        readings = [self.read(again) for again in _resampled(curve) if again.drop > 0]
        logs = [math.log10(reading[0]) for reading in readings if not isinstance(reading, str)]
        low, high = np.quantile([*logs, math.log10(lr)], [0.1, 0.9])
        return min(lr, 10 ** float(low)), max(lr, 10 ** float(high))


# All rules of one test read the same curve.
@lru_cache(maxsize=8)
def _resampled(curve: LossCurve) -> tuple[SmoothCurve, ...]:
    """Draw the residuals of a curve anew, and smooth what results."""
    whole = smooth(curve)
    losses = np.array(curve.losses)
    fitted = np.interp(np.log10(curve.lrs), whole.log_lrs, whole.losses)
    # What was off the scale stays there: it is no noise.
    calm = np.isfinite(losses) & (losses <= whole.ceiling)
    residuals = (losses - fitted)[calm]
    generator = np.random.default_rng(0)
    curves = []
    for _ in range(_BOOTSTRAPS):
        noise = generator.choice(residuals - residuals.mean(), len(losses))
        drawn = np.where(calm, fitted + noise, losses)
        again = LossCurve(curve.lrs, tuple(drawn), diverged=curve.diverged)
        curves.append(smooth(again).first_basin())
    return tuple(curves)


def _no_descent(curve: SmoothCurve, *, rose: bool) -> str:
    if rose:
        return (
            f"The loss rose from {curve.initial:.3g} without having clearly fallen first: take more steps or "
            f"larger batches, or a `min_lr` below {10 ** curve.log_lrs[0]:.2g}, or there is nothing to learn."
        )
    return (
        f"The loss stayed at {curve.initial:.3g}: its largest dip of {max(curve.drop, 0.0):.2g} is within "
        "its noise. Raise `max_lr`, take more steps or larger batches, or there is nothing to learn."
    )
