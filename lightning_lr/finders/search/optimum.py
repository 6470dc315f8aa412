"""Reads one LR off the trials of a search."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lightning_lr.finders.drift import Drift, doublings_between
from lightning_lr.finders.suggestion import Abstention, Decision, Suggestion
from lightning_lr.finders.trials.trials import Trial, Trials

__all__ = ["read_optimum"]

_RULE = "LRSearch"
_USUAL = Drift()
# How fast a trial's weight falls with its distance.
_TOLERANCE = 0.04
# A parabola is fitted to the trials up to about a third above the best, the short ones at half weight. It
# counts as much as the other center if its root mean square error is 7 % of the loss.
_BREADTH, _SHORT, _FIT, _LEAST_CURVATURE = 0.3, 0.5, 0.005, 1e-4
# The share of a fall between short and long trials, beyond that of the optimizer's family, that goes on for
# three more doublings. A rise does not: above the best LR a loss rises faster than below it.
_SHARE, _STEEPEST, _MOST_DOUBLINGS = 0.25, -1.0, 3.0
# In the reported range: trials whose loss is less than that above the best, and so many octaves on either
# side, within which the best LR of most of the benchmark's tasks is.
_GOOD, _SPREAD = 0.1, 2.0
# In standard errors.
_LIKELY = 2.0
# Losses are float32 numbers: smaller differences are rounding.
_ROUNDING = 1e-6
# Beside trials of which none came below the start, any other is this high.
_HIGHEST = 1e12


def read_optimum(trials: Trials, *, horizon: float, drift: Drift = _USUAL) -> Decision:
    """Return the best LR for a training of a given length, or why the trials do not show it.

    The center of the longest trials is their mean log2 LR, weighted by `exp(-z / 0.04)` with `z = (loss -
    best) / min(best, start - best)`, or over the drop alone if losses are negative. The better a parabola in
    (log LR, log loss) fits all trials, the more its lowest point counts instead. The LR is then moved,
    because the best one changes with the length of a training: as it does for the optimizer, and per doubling
    by a quarter of what it fell from the short trials to the long ones beyond that.

    Args:
        trials: All trials of the search.
        horizon: Optimizer steps of the training that the LR is for; infinite if it has no end.
        drift: How the best LR of the optimizer changes with the length.

    Example:
        >>> losses = {0.01: 2.0, 0.02: 1.0, 0.04: 2.0}
        >>> trials = Trials(
        ...     3.0, "validation loss", tuple(Trial(lr, loss, 50, 50, "final") for lr, loss in losses.items())
        ... )
        >>> round(read_optimum(trials, horizon=50).lr, 6)
        0.02
    """
    finished = [trial for trial in trials if trial.outcome == "finished"]
    why_none = _why_none(trials, finished)
    if why_none:
        return Abstention(_RULE, why_none)
    best = min(finished, key=lambda trial: trial.loss)
    long = [trial for trial in finished if trial.stage == "final"]
    short = [trial for trial in finished if trial.stage != "final"]
    read = long if len(long) > 1 or not short else short
    center = _blend(read, short, trials.start_loss)
    octave = center + drift.between(read[0].length, horizon)
    if read is not short and short:
        octave += _trend(read, short, trials.start_loss, horizon, drift)
    good = _span_of_good(read, trials.start_loss)
    return Suggestion(
        lr=2.0**octave,
        low=2.0 ** min(octave - _SPREAD, good[0]),
        high=2.0 ** max(octave + _SPREAD, good[1]),
        rule=_RULE,
        reason=_reason(trials, best, 2.0**center, octave - center),
    )


def _why_none(trials: Trials, finished: Sequence[Trial]) -> str:
    """Return why no LR can be read off the losses of the finished trials; empty if one can."""
    losses = [trial.loss for trial in finished]
    if not losses:
        lowest = min(trial.lr for trial in trials)
        return (
            f"Each of the {len(trials)} trials diverged, down to an LR of {lowest:.2g}: look for the cause in"
            " the data or the model."
        )
    if len(losses) > 1 and max(losses) - min(losses) <= _ROUNDING * max(map(abs, losses)):
        return f"The loss stays at {losses[0]:.4g} whatever the LR is."
    if not min(losses) < trials.start_loss:
        return f"No LR brought the loss below the {trials.start_loss:.4g} of the start: try longer trials."
    best = min(finished, key=lambda trial: trial.loss)
    # Beside a small gain that is clear, a large one that is likely will do.
    is_likely = trials.start_loss - best.loss > _LIKELY * best.noise and any(map(trials.has_gained, finished))
    if not is_likely and not trials.show_gain(finished):
        return (
            f"No LR brought the loss below the {trials.start_loss:.4g} of the start by more than noise: the"
            f" least was {best.loss:.4g}, with a standard error of {best.noise:.2g}. Try longer trials or"
            " more `validation_batches`, or there is nothing to learn."
        )
    return ""


def _heights(trials: Sequence[Trial], start_loss: float) -> NDArray[np.float64]:
    """Return how far each loss is above the best one, relative to the drop from the start."""
    losses: NDArray[np.float64] = np.array([trial.loss for trial in trials])
    # Only other trials may have come below the start.
    best = float(losses.min())
    scale = max(start_loss - best, math.ulp(0.0))
    if best > 0:
        scale = min(scale, best)
    with np.errstate(over="ignore"):
        heights: NDArray[np.float64] = np.minimum((losses - best) / scale, _HIGHEST)
    return heights


def _center(trials: Sequence[Trial], start_loss: float) -> float:
    weights = np.exp(-_heights(trials, start_loss) / _TOLERANCE)
    octaves = np.log2([trial.lr for trial in trials])
    return float(weights @ octaves / weights.sum())


def _blend(long: Sequence[Trial], short: Sequence[Trial], start_loss: float) -> float:
    center, vertex = _center(long, start_loss), _vertex(long, short, start_loss)
    if vertex is None:
        return center
    octave, error = vertex
    trust = _FIT / (_FIT + error)
    # A real curve is steeper above its best LR, which shifts a parabola upwards.
    return (1 - trust) * center + trust * max(center - 1.0, min(center + 0.5, octave))


def _vertex(long: Sequence[Trial], short: Sequence[Trial], start_loss: float) -> tuple[float, float] | None:
    """Return the lowest octave of a parabola, with a level for each length, and its mean squared error.

    The error is in log loss. Return None if there are too few trials, or if the parabola opens downwards.
    """
    groups = [long] if short is long else [long, short]
    heights = np.concatenate([_heights(group, start_loss) for group in groups if group])
    octaves = np.log2([trial.lr for group in groups for trial in group])
    is_short = np.repeat([0.0, 1.0], [len(long), len(heights) - len(long)])
    weights = np.exp(-heights / _BREADTH) * np.where(is_short, _SHORT, 1.0)
    columns = [np.ones_like(octaves), octaves, octaves**2, *([is_short] if is_short.any() else [])]
    if np.sum(weights > 1e-3) < len(columns):
        return None
    design, logs = np.stack(columns, axis=1), np.log1p(heights)
    scale = np.sqrt(weights)
    solution, *_ = np.linalg.lstsq(design * scale[:, None], logs * scale, rcond=None)
    _, slope, curvature, *_ = solution.tolist()
    if not curvature > _LEAST_CURVATURE:
        return None
    error = float(weights @ (logs - design @ solution) ** 2 / weights.sum())
    return -slope / (2 * curvature), error


def _trend(
    long: Sequence[Trial], short: Sequence[Trial], start_loss: float, horizon: float, drift: Drift
) -> float:
    """Return how far a fall of the best LR that the drift does not explain goes on, in octaves, at most 0."""
    between = doublings_between(short[0].length, long[0].length)
    if not between:
        return 0.0
    seen = _center(long, start_loss) - _center(short, start_loss)
    # What the drift makes of either for the whole training.
    expected = drift.between(short[0].length, horizon) - drift.between(long[0].length, horizon)
    fall = max(_STEEPEST, min(0.0, _SHARE * (seen - expected) / between))
    return fall * min(_MOST_DOUBLINGS, doublings_between(long[0].length, horizon))


def _span_of_good(trials: Sequence[Trial], start_loss: float) -> tuple[float, float]:
    heights = _heights(trials, start_loss)
    octaves = [math.log2(trial.lr) for trial, height in zip(trials, heights, strict=True) if height <= _GOOD]
    return min(octaves), max(octaves)


def _reason(trials: Trials, best: Trial, center: float, shift: float) -> str:
    told = (
        f"Of {len(trials)} trials in {trials.steps} steps the one at {best.lr:.2g} brought the loss from"
        f" {trials.start_loss:.4g} to {best.loss:.4g}; their center is {center:.2g}"
    )
    if shift:
        direction = "lowered" if shift < 0 else "raised"
        told += f", {direction} {2 ** abs(shift):.2g}x because the run is longer than the trials"
    return f"{told}."
