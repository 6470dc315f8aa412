"""Rules that read one LR off the loss curve of a range test, or say why they cannot.

A rule sees only the smoothed curve, so it gives the same LR at any scale or shift of the loss and any number
of steps.
"""

import math
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, ClassVar, final

import numpy as np
from typing_extensions import Self, override

from lightning_lr.checks import In, check_fields
from lightning_lr.finders.range_test.curve import CLEAR_FALL, INITIAL_SPAN, LossCurve, SmoothCurve, smooth
from lightning_lr.finders.suggestion import Abstention, Decision, Suggestion
from lightning_lr.shown import as_call

__all__ = ["Basin", "GiveBack", "MidDescent", "MinimumOver", "Rule", "Steepest", "Valley", "read_all"]

_FEWEST_POINTS = 10
_BOOTSTRAPS = 32
# A loss that falls below this share of the initial one has little further to fall, and the LR should be no
# higher than so many decades above where it fell.
_NEAR_ZERO, _BEYOND_FALL = 0.02, 0.45
# A ramp that ends sooner after 95 % of the fall has not shown that the fall is over.
_SETTLED_DECADES = 0.5


class Rule(ABC):
    """How to read one LR off a loss curve; your own rule implements `read`.

    Attributes:
        fits_run: Whether LRRangeTest adapts the LR to the length of the run.
        spread: In octaves, how far away the best LR of a run may be, beside the noise of the curve.

    Example:
        >>> class Third(Rule):
        ...     def read(self, curve):
        ...         return 10 ** curve.fallen(1 / 3), "A third of the fall."
    """

    fits_run: ClassVar[bool] = False
    spread: ClassVar[float] = 0.0

    def __post_init__(self) -> None:
        check_fields(self)

    @override
    def __repr__(self) -> str:
        return as_call(self)

    @abstractmethod
    def read(self, curve: SmoothCurve) -> tuple[float, str] | str:
        """Read the LR off a curve that clearly falls.

        Args:
            curve: The first basin of the smoothed loss, see `SmoothCurve.first_basin`.

        Returns:
            The LR and what the rule saw, or only the reason why it reads none.
        """

    @final
    def suggest(self, curve: LossCurve) -> Decision:
        """Return the LR that this rule reads off a recorded curve, or why it reads none.

        It abstains if the curve has fewer than 10 finite losses, if the loss falls by less than 5 standard
        deviations of a smoothed point, or if its minimum lies in the first 0.7 decade of the ramp. The
        uncertainty ranges from the 10th to the 90th percentile of 32 readings of the smoothed curve with
        resampled residuals, and at least over `spread` octaves on either side.
        """
        name = type(self).__name__
        finite = sum(map(math.isfinite, curve.losses))
        if finite < _FEWEST_POINTS:
            seen = f"Only {finite} finite losses, at least {_FEWEST_POINTS} are needed"
            return Abstention(name, f"{seen}: start at a lower LR.", seen)
        smoothed = smooth(curve).first_basin()
        clear = CLEAR_FALL * smoothed.noise
        at_start = float(smoothed.log_lrs[smoothed.lowest] - smoothed.log_lrs[0]) <= INITIAL_SPAN
        if smoothed.drop <= clear or at_start:
            rose = smoothed.drop > clear or float(smoothed.losses[-1]) > smoothed.initial + clear
            return _no_descent(name, smoothed, rose=rose)
        reading = self.read(smoothed)
        if isinstance(reading, str):
            return Abstention(name, str(reading), reading.seen if isinstance(reading, _Reason) else "")
        lr, reason = reading
        low, high = self._interval(curve, lr)
        return Suggestion(lr=float(lr), low=low, high=high, rule=name, reason=reason)

    def _interval(self, curve: LossCurve, lr: float) -> tuple[float, float]:
        """Return the uncertainty of `lr`, from resampled curves that give an LR too."""
        readings = [self.read(again) for again in _resampled(curve) if again.drop > 0]
        logs = [math.log10(reading[0]) for reading in readings if not isinstance(reading, str)]
        low, high = np.quantile([*logs, math.log10(lr)], [0.1, 0.9])
        return min(lr / 2**self.spread, 10 ** float(low)), max(lr * 2**self.spread, 10 ** float(high))


@dataclass(frozen=True, repr=False)
class Basin(Rule):
    """The log-mean of the basin's two walls and its floor, at a distance from the far wall.

    `lr = min((d50 f5 u50)^(1/3), u50 / margin)`: at `d50` the loss has first fallen by half of its drop, at
    `u50` it has given half of it back, and `f5` is the log-mean of all LRs where it is within 5 % of its drop
    above the minimum. If `u50` lies beyond the ramp, the end of the ramp replaces it. Where a positive loss
    falls to below a fiftieth, it says nothing about LRs above that of the fall: the LR is then at most 2.8
    times that at which the loss has fallen by 95 %.

    If the basin is wide, some trainings want its near end and some its far one, and the curve does not show
    which: the middle errs least. `u50` is close to the largest LR that is stable after a warm-up, and the
    margin keeps away from it.

    Args:
        margin: How far below `u50` the LR must stay, in [1, inf).

    Raises:
        ValueError: `margin` is below 1.

    Source:
        Smith (2018), arXiv 1803.09820; Kalra and Barkeshli (2024), arXiv 2406.09405; weights and margin from
        `tests/benchmarks/finders/suggestions.py`.

    Example:
        >>> from lightning_lr.finders.range_test.curve import LossCurve
        >>> from lightning_lr.finders.range_test.ramp import ramp
        >>> lrs = ramp(1e-5, 10.0, 100)
        >>> curve = LossCurve(lrs, tuple(1 / (1 + 300 * lr) + lr**2 for lr in lrs))
        >>> decision = Basin().suggest(curve)
        >>> print(f"{decision.lr:.2f}")
        0.06
        >>> decision.reason[:73]
        'The loss fell from 0.992 to 0.0465, half of that by LR 0.0031, was lowest'
    """

    margin: Annotated[float, In("[1, inf)")] = 3.0
    fits_run: ClassVar[bool] = True
    spread: ClassVar[float] = 2.9

    @override
    def read(self, curve: SmoothCurve) -> tuple[float, str] | str:
        near, floor, far = curve.fallen(0.5), curve.floor(0.05), curve.risen(0.5)
        given_back = "had given half back"
        if far is None:
            given_back, far = "had not given half back", float(curve.log_lrs[-1])
            if far - curve.fallen(0.95) < _SETTLED_DECADES:
                return _ended_too_low(curve, " and was still falling")
        reason = (
            f"{_descent(curve)}, half of that by LR {10**near:.2g}, was lowest around {10**floor:.2g} and "
            f"{given_back} by {10**far:.2g}."
        )
        log_lr = min((near + floor + far) / 3, far - math.log10(self.margin))
        if 0 < curve.initial - curve.drop < _NEAR_ZERO * curve.initial:
            log_lr = min(log_lr, curve.fallen(0.95) + _BEYOND_FALL)
        return 10**log_lr, reason


@dataclass(frozen=True, repr=False)
class GiveBack(Rule):
    """A fraction of the LR at which the loss, after its minimum, has given back half of its drop.

    `lr = u50 / divisor`: `u50` estimates the largest LR that is stable after a warm-up.

    Args:
        divisor: In (0, inf).

    Raises:
        ValueError: `divisor` is not positive.

    Source:
        Kalra and Barkeshli (2024), arXiv 2406.09405; Smith (2015), arXiv 1506.01186.

    Example:
        >>> from lightning_lr.finders.range_test.curve import LossCurve
        >>> curve = LossCurve(
        ...     tuple(10 ** (k / 10) for k in range(-40, 1)), (1.0,) * 20 + (0.5,) * 11 + (2.0,) * 10
        ... )
        >>> print(f"{GiveBack().suggest(curve).lr:.3f}")
        0.015
    """

    divisor: Annotated[float, In("(0, inf)")] = 5.6

    @override
    def read(self, curve: SmoothCurve) -> tuple[float, str] | str:
        back = curve.risen(0.5)
        if back is None:
            return _ended_too_low(curve, ", and had not given half of that back")
        lr = 10**back
        return lr / self.divisor, f"{_descent(curve)} and had given half back by LR {lr:.3g}."


@dataclass(frozen=True, repr=False)
class MidDescent(Rule):
    """The middle of the descent: where the loss has first fallen by half of its drop.

    Example:
        A long gentle fall, and a short steep one after it. The middle lies in the first:

        >>> from lightning_lr.finders.range_test.curve import LossCurve
        >>> from lightning_lr.finders.range_test.ramp import ramp
        >>> lrs = ramp(1e-5, 10.0, 100)
        >>> losses = [0.7 / (1 + 1000 * lr) + 0.3 / (1 + (10 * lr) ** 4) + lr**2 for lr in lrs]
        >>> decision = MidDescent().suggest(LossCurve(lrs, tuple(losses)))
        >>> print(f"{decision.lr:.3f}", decision.reason)
        0.002 The loss fell from 0.983 to 0.0867, half of that by LR 0.00204.
    """

    @override
    def read(self, curve: SmoothCurve) -> tuple[float, str] | str:
        lr = 10 ** curve.fallen(0.5)
        return lr, f"{_descent(curve)}, half of that by LR {lr:.3g}."


@dataclass(frozen=True, repr=False)
class Steepest(Rule):
    """Where the smoothed loss falls fastest over the logarithm of the LR.

    Example:
        A long gentle fall, and a short steep one after it. The second is the steepest, however small:

        >>> from lightning_lr.finders.range_test.curve import LossCurve
        >>> from lightning_lr.finders.range_test.ramp import ramp
        >>> lrs = ramp(1e-5, 10.0, 100)
        >>> losses = [0.7 / (1 + 1000 * lr) + 0.3 / (1 + (10 * lr) ** 4) + lr**2 for lr in lrs]
        >>> decision = Steepest().suggest(LossCurve(lrs, tuple(losses)))
        >>> print(f"{decision.lr:.3f}", decision.reason)
        0.093 The loss fell from 0.983 to 0.0867, fastest at LR 0.0933.
    """

    @override
    def read(self, curve: SmoothCurve) -> tuple[float, str] | str:
        slopes = np.diff(curve.losses)
        lr = 10 ** float(curve.log_lrs[int(np.argmin(slopes))])
        return lr, f"{_descent(curve)}, fastest at LR {lr:.3g}."


@dataclass(frozen=True, repr=False)
class Valley(Rule):
    """The middle of the longest decreasing subsequence of the smoothed losses.

    Source:
        fastai, `fastai.callback.schedule.valley`.

    Example:
        A loss that falls evenly over four decades, and then rises:

        >>> from lightning_lr.finders.range_test.curve import LossCurve
        >>> from lightning_lr.finders.range_test.ramp import ramp
        >>> lrs = ramp(1e-5, 10.0, 100)
        >>> losses = [-math.log10(lr) / 5 if lr < 0.1 else 0.2 + 10 * (lr - 0.1) for lr in lrs]
        >>> decision = Valley().suggest(LossCurve(lrs, tuple(losses)))
        >>> print(f"{decision.lr:.4f}", decision.reason)
        0.0008 The longest descent goes from LR 1.1e-05 to 0.0537.
    """

    @override
    def read(self, curve: SmoothCurve) -> tuple[float, str] | str:
        # Rounded to the noise, or ripples would count as a descent.
        levels = np.round((curve.losses - curve.initial) / max(curve.noise, curve.drop / 100))
        first, last = _longest_descent(levels.tolist())
        low, high = float(curve.log_lrs[first]), float(curve.log_lrs[last])
        return 10 ** ((low + high) / 2), f"The longest descent goes from LR {10**low:.3g} to {10**high:.3g}."


@dataclass(frozen=True, repr=False)
class MinimumOver(Rule):
    """A fraction of the LR at the minimum of the smoothed loss.

    Args:
        divisor: In (0, inf).

    Raises:
        ValueError: `divisor` is not positive.

    Source:
        fastai, `fastai.callback.schedule.minimum`.

    Example:
        >>> from lightning_lr.finders.range_test.curve import LossCurve
        >>> lrs = tuple(10 ** (k / 10) for k in range(-40, 1))
        >>> curve = LossCurve(lrs, tuple((math.log10(lr) + 1) ** 2 for lr in lrs))
        >>> print(f"{MinimumOver().suggest(curve).lr:.3f}")
        0.010
    """

    divisor: Annotated[float, In("(0, inf)")] = 10.0

    @override
    def read(self, curve: SmoothCurve) -> tuple[float, str] | str:
        if len(curve.losses) - curve.lowest == 1:
            return _ended_too_low(curve, " and was still falling")
        lr = 10 ** float(curve.log_lrs[curve.lowest])
        return lr / self.divisor, f"The loss is lowest at LR {lr:.3g}."


def read_all(curve: LossCurve) -> dict[str, Decision]:
    """Return what every rule with its defaults reads off one recorded `curve`, by the rule's name.

    Example:
        >>> curve = LossCurve((0.1, 0.2), (1.0, 0.9))
        >>> list(read_all(curve))
        ['Basin', 'GiveBack', 'MidDescent', 'Steepest', 'Valley', 'MinimumOver']
    """
    rules = (Basin(), GiveBack(), MidDescent(), Steepest(), Valley(), MinimumOver())
    return {type(rule).__name__: rule.suggest(curve) for rule in rules}


class _Reason(str):
    """What was seen, and behind it how to mend it."""

    seen: str

    def __new__(cls, seen: str, advice: str) -> Self:
        reason = super().__new__(cls, seen + advice)
        reason.seen = seen
        return reason


def _descent(curve: SmoothCurve) -> str:
    return f"The loss fell from {curve.initial:.3g} to {curve.initial - curve.drop:.3g}"


def _ended_too_low(curve: SmoothCurve, told: str) -> _Reason:
    seen = f"{_descent(curve)}{told} at the highest LR {10 ** float(curve.log_lrs[-1]):.3g}"
    return _Reason(seen, ": raise `max_lr`.")


def _longest_descent(levels: Sequence[float]) -> tuple[int, int]:
    """Return the first and last index of the longest strictly decreasing subsequence, by patience sorting."""
    tails: list[float] = []
    firsts: list[int] = []
    span = (0, 0)
    for index, level in enumerate(levels):
        length = bisect_left(tails, -level)
        # The latest predecessor, so that a descent starts at the end of a plateau.
        first = firsts[length - 1] if length else index
        if length == len(tails):
            tails.append(-level)
            firsts.append(first)
            span = (first, index)
        else:
            tails[length], firsts[length] = -level, first
    return span


# All rules of one test read the same curve.
@lru_cache(maxsize=8)
def _resampled(curve: LossCurve) -> tuple[SmoothCurve, ...]:
    """Return smoothed curves whose residuals are drawn anew from those of `curve`."""
    whole = smooth(curve)
    losses = np.array(curve.losses)
    fitted = np.interp(np.log10(curve.lrs), whole.log_lrs, whole.losses)
    # Losses above the ceiling are no noise and stay.
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


def _no_descent(rule: str, curve: SmoothCurve, *, rose: bool) -> Abstention:
    if rose:
        seen = f"The loss rose from {curve.initial:.3g} without having clearly fallen first"
        advice = (
            f": take more steps or larger batches, or a `min_lr` below {10 ** curve.log_lrs[0]:.2g}, or there"
            " is nothing to learn."
        )
    else:
        dip = f"its largest dip of {max(curve.drop, 0.0):.2g} is within its noise"
        seen = f"The loss stayed at {curve.initial:.3g}: {dip}"
        advice = ". Raise `max_lr`, take more steps or larger batches, or there is nothing to learn."
    return Abstention(rule, seen + advice, seen)
