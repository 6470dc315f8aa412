"""The slope of a noisy series and its uncertainty, estimated robustly against outliers."""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Jumps", "Series", "find_jumps", "noise_of", "slope_error", "slope_of", "spread_of", "window_for"]

Series = NDArray[np.float64]

# The median absolute deviation of a normal distribution, in standard deviations.
_MAD = 0.6745
# Short enough that the series is nearly straight within a block, long enough for a correlation.
_BLOCK = 16
_RECENT_BLOCKS = 2
_WINSOR = 3.0
# A block with this many times the variance of the last one belongs to a steep start or another learning rate.
_OTHER_PHASE = 9.0
# A few differences say little about the correlation, so a prior of 0.5 counts as much as ten of them.
_PRIOR_WEIGHT, _PRIOR_CORRELATION, _LARGEST_CORRELATION = 10.0, 0.5, 0.85
_JUMP = 8.0


def slope_of(series: Series) -> float:
    """Return the slope per point: the median of the slopes between all pairs of points.

    For normal noise it is nearly as precise as least squares, and a few outliers do not affect it.

    Args:
        series: At least two points.

    Source:
        Theil (1950); Sen (1968), doi 10.1080/01621459.1968.10480934.

    Example:
        >>> slope_of(np.array([0.0, 1.0, 2.0, 90.0, 4.0]))
        1.0
    """
    first, second, gaps = _pairs(len(series))
    return float(_medians((series[second] - series[first]) / gaps)[0])


@lru_cache(maxsize=512)
def _pairs(length: int) -> tuple[NDArray[np.intp], NDArray[np.intp], Series]:
    first, second = np.triu_indices(length, k=1)
    return first, second, (second - first).astype(np.float64)


def _medians(values: Series) -> Series:
    """Return the medians along the last axis, which is kept; the values must hold no NaN.

    `np.median` takes ten times as long for a few dozen values, and a verdict needs five medians.
    """
    length = values.shape[-1]
    ordered = np.sort(values, axis=-1)
    return np.asarray((ordered[..., (length - 1) // 2, None] + ordered[..., length // 2, None]) / 2.0)


def slope_error(noise: float, length: int) -> float:
    """Return the standard error of a slope over `length` points: `noise sqrt(12 / (length^3 - length))`.

    Example:
        >>> round(slope_error(0.01, 25), 6)
        0.000277
    """
    return noise * math.sqrt(12.0 / (length**3 - length))


def window_for(noise: float, error: float) -> int:
    """Return the number of points over which the standard error of a slope is at most `error`.

    `ceil((noise sqrt(12) / error)^(2/3) + 1)`

    Example:
        >>> window_for(0.01, 0.000277)
        27
    """
    return math.ceil(math.pow(noise * math.sqrt(12.0) / error, 2 / 3) + 1)


def noise_of(series: Series) -> float:
    """Return the standard deviation of a point around the trend, adjusted for autocorrelation.

    The differences of neighbors are centered in blocks and winsorized at 3 standard deviations. Let `v` be
    their variance over the last two blocks and `r` their lag-1 correlation over all blocks. The result is
    `sqrt(v (1 + rho) / 2) / (1 - rho)`, where `rho = 1 + 2 r`, shrunk toward 0.5. For independent points this
    is the standard deviation of a point; for correlated ones, that of independent points whose slope would be
    equally uncertain.

    Args:
        series: At least four points.

    Example:
        >>> points = np.random.default_rng(0).standard_normal(1000) + 0.1 * np.arange(1000)
        >>> 0.7 < noise_of(points) < 1.6
        True
    """
    differences = np.diff(series)
    count = max(1, round(len(differences) / _BLOCK))
    length = len(differences) // count
    blocks = differences[len(differences) - count * length :].reshape(count, length)
    blocks = blocks - _medians(blocks)
    limits = _WINSOR / _MAD * _medians(np.abs(blocks))
    blocks = np.clip(blocks, -limits, limits)
    sums = np.einsum("ij,ij->i", blocks, blocks)
    alike = (sums > 0) & (sums <= _OTHER_PHASE * sums[-1])
    if not alike.any():
        return 0.0
    variance = float(sums[alike][-_RECENT_BLOCKS:].mean()) / (length - 1)
    lagged = np.einsum("ij,ij->i", blocks[:, 1:], blocks[:, :-1])
    measured = 1.0 + 2.0 * float(np.mean(lagged[alike] / sums[alike]))
    seen = int(alike.sum()) * length
    shrunk = (seen * measured + _PRIOR_WEIGHT * _PRIOR_CORRELATION) / (seen + _PRIOR_WEIGHT)
    rho = min(max(shrunk, 0.0), _LARGEST_CORRELATION)
    return math.sqrt(variance * (1.0 + rho) / 2.0) / (1.0 - rho)


def spread_of(series: Series) -> float:
    """Return the standard deviation of a point around the trend as if the points were independent.

    It is the median absolute second difference over `0.6745 sqrt(6)`, so a steep start does not matter.

    Args:
        series: At least three points.

    Example:
        >>> points = np.random.default_rng(0).standard_normal(1000) + 0.1 * np.arange(1000)
        >>> 0.9 < spread_of(points) < 1.1
        True
    """
    return float(_medians(np.abs(np.diff(series, n=2)))[0]) / (_MAD * math.sqrt(6.0))


class Jumps(NamedTuple):
    """Sudden rises in a series.

    Args:
        last: Index of the first point after the last jump; 0 if there is no jump.
        unrecovered: Index of the first point after the first jump from which the series has not recovered;
            the length of the series if there is no such jump.
    """

    last: int
    unrecovered: int


def find_jumps(series: Series, smallest: float) -> Jumps:
    """Find where a series rose suddenly and stayed up for two of the next three points.

    A jump is a difference that exceeds 8 robust standard deviations of the differences. The series has
    recovered once a point is less than half the jump above the median of the three points before it.

    Args:
        series: At least two points.
        smallest: The smallest rise that counts as a jump.

    Example:
        >>> find_jumps(np.array([1.0, 1.0, 1.0, 5.0, 1.0, 1.0, 3.0, 3.0, 2.9]), smallest=0.1)
        Jumps(last=6, unrecovered=6)
    """
    differences = np.diff(series)
    deviations = np.abs(differences - _medians(differences))
    smallest = max(smallest, _JUMP / _MAD * float(_medians(deviations)[0]))
    last, unrecovered = 0, len(series)
    for index in map(int, np.flatnonzero(differences > smallest)):
        before = float(_medians(series[max(0, index - 2) : index + 1])[0])
        rises = np.sort(series[index + 1 : index + 4]) - before
        if len(rises) < 2 or rises[-2] <= smallest:
            continue
        last = index + 1
        if unrecovered == len(series) and float(series[last:].min()) - before > rises[-2] / 2:
            unrecovered = last
    return Jumps(last, unrecovered)
