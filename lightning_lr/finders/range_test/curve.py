"""What an LR range test records: when its ramp must end, and the smoothed curve that rules read.

Everything here uses differences of losses and the logarithm of the LR, so that what a rule reads depends
neither on the scale or the shift of a loss nor on the number of steps of the ramp.
"""

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from lightning_lr.checks import check_number
from lightning_lr.output.plain import plain
from lightning_lr.shown import figure_html

__all__ = ["LossCurve", "SmoothCurve", "has_diverged", "has_risen", "highest_to_try", "is_noisy", "smooth"]

# In decades of LR, not in points, so that a ramp of 50 steps reads like one of 400.
_BANDWIDTH = 0.15
INITIAL_SPAN = 0.7
_GRID_STEP = 0.01
# In standard deviations of a smoothed point: one in a hundred constant losses with noise dips that far.
CLEAR_FALL = 5.0
# By what factor a training from the start keeps below the LR of a ramp at which the loss is half back.
_BELOW_WALL = 1.5
# Losses are float32 numbers: smaller differences are rounding.
_ROUNDING = 1e-7
# The median absolute deviation of a normal distribution, in standard deviations.
_MAD = 0.6745


@dataclass(frozen=True)
class LossCurve:
    """The losses of a range test, each with the LR of the update before it.

    Args:
        lrs: LRs, positive and increasing.
        losses: As many losses; NaN and infinities count as the worst loss.
        diverged: Whether the ramp ended because the loss blew up.

    Raises:
        ValueError: The LRs are not positive or do not increase, or there are more or fewer losses.

    Example:
        >>> curve = LossCurve(lrs=(0.01, 0.1, 1.0), losses=(2.3, 1.9, float("inf")), diverged=True)
        >>> LossCurve.from_dict(curve.to_dict()) == curve
        True
    """

    lrs: tuple[float, ...]
    losses: tuple[float, ...]
    diverged: bool = False

    def __post_init__(self) -> None:
        # Callers hold numpy scalars; checkpoints and JSON take plain numbers only.
        object.__setattr__(self, "lrs", tuple(float(lr) for lr in self.lrs))
        object.__setattr__(self, "losses", tuple(float(loss) for loss in self.losses))
        object.__setattr__(self, "diverged", bool(self.diverged))
        if len(self.lrs) != len(self.losses):
            raise ValueError(
                f"`LossCurve(lrs=..., losses=...)` must be equally long, got {len(self.lrs)} LRs "
                f"and {len(self.losses)} losses."
            )
        for lr in self.lrs:
            check_number("LossCurve(lrs=...)", lr, "(0, inf)")
        for before, after in pairwise(self.lrs):
            if not before < after:
                raise ValueError(f"`LossCurve(lrs=...)` must increase, got {after!r} after {before!r}.")

    @override
    def __repr__(self) -> str:
        span = f", LR {self.lrs[0]:.3g} to {self.lrs[-1]:.3g}" if self.lrs else ""
        return f"LossCurve({len(self.lrs)} steps{span}{', diverged' * self.diverged})"

    def _repr_html_(self) -> str:
        from lightning_lr.finders.range_test.figure import range_test_figure  # noqa: PLC0415 (it reads curves)

        return figure_html(lambda: range_test_figure(self), repr(self))

    def to_dict(self) -> dict[str, Any]:
        """Return lists of plain numbers, for checkpoints."""
        return {"lrs": list(self.lrs), "losses": list(self.losses), "diverged": self.diverged}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "LossCurve":
        """Return the curve that `to_dict` gave."""
        losses = tuple(float(loss) for loss in values["losses"])
        return cls(lrs=tuple(values["lrs"]), losses=losses, diverged=values["diverged"])

    def to_csv(self, path: str | Path) -> None:
        """Write one line per step under the header `lr,loss`."""
        with Path(path).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(("lr", "loss"))
            writer.writerows(zip(self.lrs, self.losses, strict=True))

    def to_json(self, path: str | Path) -> None:
        """Write the curve as JSON; losses that are not finite become strings, which JSON has."""
        Path(path).write_text(json.dumps(plain(self.to_dict()), allow_nan=False), encoding="utf-8")

    @classmethod
    def from_json(cls, path: str | Path) -> "LossCurve":
        """Read the curve that `to_json` wrote."""
        return cls.from_dict(json.loads(Path(path).read_text(encoding="utf-8")))


@dataclass(frozen=True, eq=False)
class SmoothCurve:
    """A loss curve without its noise, on an even grid of log10 LR.

    Args:
        log_lrs: The grid, in decades, of shape `(points,)`.
        losses: The smoothed losses, of shape `(points,)`.
        initial: The loss before the LR was large enough to matter.
        noise: Standard deviation of the smoothed loss at its minimum.
        ceiling: The largest loss; larger ones were clipped.
    """

    log_lrs: NDArray[np.float64]
    losses: NDArray[np.float64]
    initial: float
    noise: float
    ceiling: float

    @property
    def lowest(self) -> int:
        """Index of the minimum."""
        return int(np.argmin(self.losses))

    @property
    def drop(self) -> float:
        """How far the loss fell, from `initial` to the minimum; negative if it only rose."""
        return self.initial - float(self.losses[self.lowest])

    def fallen(self, fraction: float) -> float:
        """Return the log10 LR at which the loss has first fallen by `fraction` of its drop."""
        return float(self.log_lrs[np.argmax(self.losses <= self.initial - fraction * self.drop)])

    def risen(self, fraction: float) -> float | None:
        """Return the log10 LR at which the loss, after its minimum, has given back `fraction` of its drop."""
        level = self.initial - (1 - fraction) * self.drop
        above = np.flatnonzero(self.losses[self.lowest :] >= level)
        return float(self.log_lrs[self.lowest + above[0]]) if above.size else None

    def floor(self, fraction: float) -> float:
        """Return the mean log10 LR where the loss is within `fraction` of its drop above the minimum."""
        level = self.initial - (1 - fraction) * self.drop
        return float(self.log_lrs[self.losses <= level].mean())

    def first_basin(self) -> "SmoothCurve":
        """Return the curve up to its return to the initial level after a clear fall.

        A fall is clear if it exceeds half of the largest and 5 standard deviations of a smoothed point. A
        model that blew up and learned again at still larger LRs is not the model to train.
        """
        fallen = self.initial - np.minimum.accumulate(self.losses)
        clear = max(0.5 * self.drop, CLEAR_FALL * self.noise)
        back = np.flatnonzero((self.losses >= self.initial) & (fallen > clear))
        stop = int(back[0]) + 1 if back.size else len(self.losses)
        return replace(self, log_lrs=self.log_lrs[:stop], losses=self.losses[:stop])


def smooth(curve: LossCurve) -> SmoothCurve:
    """Smooth a curve without lag: clip, median of three, Gaussian kernel in log10 LR.

    Losses above `initial + 2 max(drop, 6 noise)` are clipped: three times the initial loss for a positive
    loss that falls to zero, and defined for any other. The kernel is symmetric, so that the minimum stays
    where it was, unlike under a running average.

    Raises:
        ValueError: The curve has fewer than 3 points, or no finite loss.

    Example:
        >>> from lightning_lr.finders.range_test.ramp import ramp
        >>> lrs = ramp(1e-4, 1.0, 100)
        >>> losses = [1.0 + (math.log10(lr) + 2) ** 2 for lr in lrs]
        >>> curve = smooth(LossCurve(lrs, losses))
        >>> round(float(curve.log_lrs[curve.lowest]), 1)
        -2.0
    """
    if len(curve.lrs) < 3:
        raise ValueError(f"`smooth(curve=...)` must have at least 3 points, got {len(curve.lrs)}.")
    log_lrs, losses = np.log10(curve.lrs), np.array(curve.losses)
    finite = losses[np.isfinite(losses)]
    if not finite.size:
        raise ValueError("`smooth(curve=...)` must have a finite loss, got none.")
    at_start = max(3, int(np.searchsorted(log_lrs, log_lrs[0] + INITIAL_SPAN)))
    initial = _level(losses[:at_start], default=float(finite.max()))
    noise = max(_noise(finite), _ROUNDING * abs(initial))
    ceiling = initial + 2 * max(initial - float(_median_of_three(finite).min()), 6 * noise)
    losses = np.where(np.isfinite(losses), np.minimum(losses, ceiling), ceiling)
    # A diverged curve would go on upwards: its last point is no outlier.
    losses = _median_of_three(losses, after=ceiling if curve.diverged else None)
    grid = np.arange(log_lrs[0], log_lrs[-1] + _GRID_STEP / 2, _GRID_STEP)
    weights = _kernel(grid, log_lrs)
    smoothed = weights @ losses
    return SmoothCurve(
        log_lrs=grid,
        losses=smoothed,
        initial=float(smoothed[grid <= log_lrs[at_start - 1]].mean()),
        # Larger at the ends of the curve, where the kernel averages over fewer points.
        noise=noise * float(np.linalg.norm(weights[np.argmin(smoothed)])),
        ceiling=ceiling,
    )


def has_diverged(losses: Sequence[float]) -> bool:
    """Tell whether a ramp should stop, given all its losses so far.

    It should if the last loss is not finite, or if the median of the last three exceeds
    `initial + 4 max(drop, 6 noise)`: five times the initial loss for a positive loss that had fallen to
    zero, and defined for any other. `initial` is the median of the first 8 losses, `drop` how far the median
    of three fell below it, `noise` comes from the second differences. Fewer than 11 finite losses are too few
    to know the noise.

    Example:
        >>> has_diverged([2.3, 2.2, float("nan")])
        True
        >>> has_diverged([-1.0, -1.1] * 10), has_diverged([-1.0, -1.1] * 10 + [9.0, 9.0])
        (False, True)
    """
    if losses and not math.isfinite(losses[-1]):
        return True
    finite = np.array([loss for loss in losses if math.isfinite(loss)])
    if len(finite) < 11:
        return False
    initial = float(np.median(finite[:8]))
    drop = initial - float(_median_of_three(finite).min())
    return float(np.median(finite[-3:])) > initial + 4 * max(drop, 6 * _noise(finite))


def has_risen(curve: LossCurve) -> bool:
    """Tell whether a ramp has diverged, or its smoothed loss has given back its drop after the minimum.

    Example:
        >>> from lightning_lr.finders.range_test.ramp import ramp
        >>> lrs = ramp(1e-4, 1.0, 100)
        >>> has_risen(LossCurve(lrs, [1.0 / (1 + 100 * lr) for lr in lrs]))
        False
    """
    if curve.diverged:
        return True
    if len(curve.lrs) < 3 or not any(map(math.isfinite, curve.losses)):
        return False
    smoothed = smooth(curve)
    gain = max(smoothed.drop, 6 * smoothed.noise)
    return bool(smoothed.losses[-1] > smoothed.initial - smoothed.drop + gain)


def highest_to_try(curve: LossCurve) -> float:
    """Return the highest LR that is worth a training from the start.

    It lies safely below that at which a ramp has given back half of its fall, or below the end of the ramp.
    If the curve tells nothing, it is 0.

    Example:
        >>> from lightning_lr.finders.range_test.ramp import ramp
        >>> lrs = ramp(1e-4, 1.0, 100)
        >>> curve = LossCurve(lrs, [1.0 / (1 + 1000 * lr) + lr**2 for lr in lrs])
        >>> print(f"{highest_to_try(curve):.2f}")
        0.42
    """
    if len(curve.lrs) < 3 or not any(map(math.isfinite, curve.losses)):
        return 0.0
    basin = smooth(curve).first_basin()
    wall = basin.risen(0.5)
    return float(10 ** (basin.log_lrs[-1] if wall is None else wall)) / _BELOW_WALL


def is_noisy(curve: LossCurve) -> bool:
    """Tell whether more steps may show what the noise of a curve hides.

    Example:
        >>> is_noisy(LossCurve((0.1, 0.2, 0.3, 0.4), (1.0, 1.1, 0.9, 1.0)))
        True
        >>> is_noisy(LossCurve((0.1, 0.2, 0.3, 0.4), (1.0, 1.0, 1.0, 1.0)))
        False
    """
    finite = np.array([loss for loss in curve.losses if math.isfinite(loss)])
    return len(finite) > 3 and _noise(finite) > _ROUNDING * float(np.abs(finite).max())


def _kernel(grid: NDArray[np.float64], log_lrs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the weight of each loss at each point of the grid, of shape `(grid points, losses)`."""
    # Weighted by spacing, since the points of a linear ramp crowd at its upper end.
    spacings = np.gradient(log_lrs)
    widths = np.maximum(_BANDWIDTH, np.interp(grid, log_lrs, spacings))
    weights = spacings * np.exp(-0.5 * ((grid[:, None] - log_lrs) / widths[:, None]) ** 2)
    normalized: NDArray[np.float64] = weights / weights.sum(axis=1, keepdims=True)
    return normalized


def _median_of_three(values: NDArray[np.float64], *, after: float | None = None) -> NDArray[np.float64]:
    """Return running medians; mirrored ends let an outlier there count as one."""
    padded = np.pad(values, 1, mode="reflect" if values.size > 1 else "edge")
    if after is not None:
        padded[-1] = after
    middle: NDArray[np.float64] = np.median(np.stack([padded[:-2], padded[1:-1], padded[2:]]), axis=0)
    return middle


def _level(values: NDArray[np.float64], *, default: float) -> float:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if finite.size else default


def _noise(values: NDArray[np.float64]) -> float:
    """Estimate the standard deviation of white noise on a smooth curve from its second differences."""
    if len(values) < 4:
        return 0.0
    return float(np.median(np.abs(np.diff(values, n=2)))) / (_MAD * math.sqrt(6))
