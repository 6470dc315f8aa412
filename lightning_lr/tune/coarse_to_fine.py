"""From coarse to fine on the log axis, over whole runs: which LR to train with next.

The LRs that somebody has put first come first. Then LRs 16x apart over the range, then 4x, 2x and closer
around the best so far. Runs of several workers overlap, so an LR that another one is training with counts as
tried, with a result that is not known yet.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

__all__ = ["Tried", "next_lr"]

# In octaves: 16x, then 4x, 2x and closer, as long as there are trials.
_COARSE = 4.0
_FINE = (2.0, 1.0, 0.5, 0.25, 0.125)
# An LR counts as tried if one is within this share of the distance at which LRs are placed.
_NEAR = 0.3


@dataclass(frozen=True)
class Tried:
    """A run that has ended or is under way.

    Args:
        lr: The LR of the run.
        loss: What it ended with, lower is better; infinite if it diverged, None if it has not ended.
        is_cut: Whether it was ended early because others were better: it is never the best.
    """

    lr: float
    loss: float | None = None
    is_cut: bool = False


def next_lr(tried: Iterable[Tried], *, low: float, high: float, first: Sequence[float] = ()) -> float:
    """Return the LR to train with next.

    The same runs always lead to the same LR.

    Args:
        tried: The runs so far.
        low: Lowest LR, above 0.
        high: Highest LR, at least `low`.
        first: LRs to begin with; those outside of the range are left out. The coarse ones lie around the
            first.

    Example:
        >>> round(next_lr([], low=1e-4, high=1.0), 6)
        0.01
        >>> runs = [Tried(0.01, 0.5), Tried(0.000625, 2.3), Tried(0.16, math.inf)]
        >>> round(next_lr(runs, low=1e-4, high=1.0), 6)
        0.0025
    """
    runs = list(tried)
    for lr in _candidates(runs, low, high, [lr for lr in first if low <= lr <= high]):
        return min(max(lr, low), high)
    return _widest_gap(runs, low, high)


def _candidates(runs: Sequence[Tried], low: float, high: float, first: Sequence[float]) -> Iterator[float]:
    octaves = {math.log2(run.lr): run for run in runs}
    yield from (lr for lr in first if not _is_taken(math.log2(lr), octaves, _FINE[-1]))
    center = math.log2(first[0]) if first else math.log2(low) / 2 + math.log2(high) / 2
    lowest, highest = math.log2(low) - 1e-9, math.log2(high) + 1e-9
    reach = math.ceil((highest - lowest) / _COARSE)
    coarse = [
        center + _COARSE * place for place in sorted(range(-reach, reach + 1), key=lambda at: (abs(at), at))
    ]
    best = _best(runs)
    for octave in coarse:
        is_open = not _is_taken(octave, octaves, _COARSE) and not _has_diverged(octave, octaves, best)
        if lowest <= octave <= highest and is_open:
            yield 2.0**octave
    if best is None:
        return
    for distance in _FINE:
        for octave in _sides(math.log2(best.lr), octaves, distance):
            is_open = not _is_taken(octave, octaves, distance) and not _is_beyond(octave, best, octaves)
            if lowest <= octave <= highest and is_open:
                yield 2.0**octave


def _best(runs: Iterable[Tried]) -> Tried | None:
    ended = [run for run in runs if run.loss is not None and math.isfinite(run.loss) and not run.is_cut]
    return min(ended, key=lambda run: run.loss or 0.0, default=None)


def _is_taken(octave: float, octaves: Iterable[float], distance: float) -> bool:
    return any(abs(octave - other) < _NEAR * distance for other in octaves)


def _has_diverged(octave: float, octaves: dict[float, Tried], best: Tried | None) -> bool:
    """Tell whether an LR lies above one with which a run has diverged."""
    lowest = min((other for other, run in octaves.items() if run.loss == math.inf), default=math.inf)
    return octave >= lowest and (best is None or math.log2(best.lr) < lowest)


def _is_beyond(octave: float, best: Tried, octaves: dict[float, Tried]) -> bool:
    """Tell whether a run that ended worse than the best lies between it and an LR."""
    center = math.log2(best.lr)
    between = [other for other in octaves if min(center, octave) < other < max(center, octave)]
    return any(octaves[other].loss is not None for other in between)


def _sides(center: float, octaves: dict[float, Tried], distance: float) -> list[float]:
    """Return the places on both sides of the best, the more promising one first."""

    def nearest(side: int) -> float:
        known: list[tuple[float, float]] = [
            (abs(octave - center), run.loss)
            for octave, run in octaves.items()
            if run.loss is not None and (octave - center) * side > 0
        ]
        return min(known, default=(0.0, math.inf))[1]

    # Above the best LR the loss rises faster than below it: where nothing is known, the lower side is first.
    return [center + side * distance for side in sorted((-1, 1), key=nearest)]


def _widest_gap(runs: Sequence[Tried], low: float, high: float) -> float:
    """Return the middle of the widest gap between tried LRs, in octaves."""
    octaves = sorted({math.log2(low), math.log2(high), *(math.log2(run.lr) for run in runs)})
    _, below, above = max((b - a, a, b) for a, b in zip(octaves, [*octaves[1:], octaves[-1]], strict=True))
    return min(max(math.pow(2.0, (below + above) / 2), low), high)
