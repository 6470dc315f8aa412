"""What other LR finders read off their own ramps, re-stated from their code in plain Python and numpy."""

import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

__all__ = [
    "Points",
    "fastai_lrs",
    "fastai_points",
    "fastai_suggestions",
    "lightning_lrs",
    "lightning_suggestion",
    "torch_lr_finder_lrs",
    "torch_lr_finder_suggestion",
]

Points: TypeAlias = list[tuple[float, float]]

FASTAI_STEPS = 100


def lightning_lrs() -> list[float]:
    """LRs of Lightning 2.6.6's `lr_find`, 1e-8 to 1 in 100 steps, the second a step further than meant."""
    return [1e-8] + [1e-8 * 1e8 ** ((step + 1) / 100) for step in range(1, 100)]


def lightning_suggestion(lrs: Sequence[float], losses: Sequence[float]) -> float | None:
    """Return the steepest descent over the linear LR; the smoothing's bias correction is a step off."""
    average, best = 0.0, 0.0
    points: Points = []
    for step, (lr, loss) in enumerate(zip(lrs, losses, strict=False), start=1):
        average = 0.98 * average + 0.02 * loss
        smoothed = average / (1 - 0.98 ** (step + 1))
        points.append((lr, smoothed))
        if step > 1 and smoothed > 4 * best:
            break
        if smoothed < best or step == 1:
            best = smoothed
    points = [point for point in points[10:-1] if math.isfinite(point[1])]
    if len(points) < 2:
        return None
    kept_lrs, kept_losses = (np.array(values) for values in zip(*points, strict=True))
    return float(kept_lrs[np.argmin(np.gradient(kept_losses, kept_lrs))])


def fastai_lrs() -> list[float]:
    """LRs of fastai's `lr_find`, 1e-7 to 10."""
    return [1e-7 * 1e8 ** (step / FASTAI_STEPS) for step in range(FASTAI_STEPS)]


def fastai_points(lrs: Sequence[float], losses: Sequence[float]) -> Points:
    """Return what fastai's suggestion functions see."""
    average, best = 0.0, math.inf
    points: Points = []
    for count, (lr, loss) in enumerate(zip(lrs, losses, strict=False), start=1):
        average = 0.98 * average + 0.02 * loss
        smoothed = average / (1 - 0.98**count)
        points.append((lr, smoothed))
        best = min(best, smoothed)
        if smoothed > 4 * best:
            break
    return [point for point in points[FASTAI_STEPS // 10 : -5] if math.isfinite(point[1])]


def fastai_suggestions(points: Points) -> dict[str, float | None]:
    """Return the suggestions of fastai's four functions by their name."""
    if len(points) < 2:
        return dict.fromkeys(("valley", "slide", "minimum/10", "steep"))
    lrs, losses = (np.array(values) for values in zip(*points, strict=True))
    slopes = np.diff(losses) / np.diff(np.log(lrs))
    return {
        "valley": float(lrs[_valley(losses)]),
        "slide": _slide(lrs, losses),
        "minimum/10": float(lrs[np.argmin(losses)]) / 10,
        "steep": float(lrs[np.argmin(slopes)]),
    }


def _valley(losses: np.ndarray) -> int:
    lengths = [1] * len(losses)
    start = end = 0
    for index in range(1, len(losses)):
        for before in range(index):
            if losses[index] < losses[before] and lengths[index] < lengths[before] + 1:
                lengths[index] = lengths[before] + 1
            if lengths[end] < lengths[index]:
                end = index
                start = end - lengths[end]
    third = (end - start) / 3
    return start + int(third) + int(third / 2)


def _slide(lrs: np.ndarray, losses: np.ndarray, distance: int = 15, threshold: float = 0.005) -> float | None:
    slopes = np.gradient(losses)
    right, left = -1, -1 - distance
    if len(losses) < -left:
        return None
    lr = lrs[left]
    while left >= -len(losses) and abs(slopes[right] - slopes[left]) > threshold:
        lr = lrs[left]
        right, left = right - 1, left - 1
    return float(lr)


def torch_lr_finder_lrs() -> list[float]:
    """LRs of torch-lr-finder's `range_test`, 1e-7 to 10 in 100 steps."""
    return [1e-7 * 1e8 ** (step / 99) for step in range(100)]


def torch_lr_finder_suggestion(lrs: Sequence[float], losses: Sequence[float]) -> float | None:
    """Return the steepest descent over the step of the smoothed loss, as its plot marks it."""
    smoothed: list[float] = []
    for loss in losses:
        smoothed.append(0.05 * loss + 0.95 * smoothed[-1] if smoothed else loss)
        if not smoothed[-1] <= 5 * min(smoothed):
            break
    kept = smoothed[10:-5]
    return float(lrs[10 + int(np.argmin(np.gradient(kept)))]) if len(kept) > 1 else None
