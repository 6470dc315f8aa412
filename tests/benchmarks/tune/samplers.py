"""Count the trials that samplers need to come within 5 % of the grid's best loss.

    cd tests; python -m benchmarks.tune.samplers [--seeds 3] [--tasks 40]

No training is made: a trial's loss is that of `finders/truth.json` at its LR, interpolated in the logarithms
as in `finders/suggestions.py`. Every study begins with the LR that a range test might have found: the best,
off by a normal distribution of 2 octaves, about what LRRangeTest has shown. The range is 64x to both sides of
that. All samplers try that LR first. With four workers, trials end in the order in which they began, and a
new one knows all but the three that are running.
"""

import argparse
import json
import math
import statistics
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import optuna
from benchmarks.finders.truth import TRUTH
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler
from optuna.study import Study
from tqdm import tqdm

from lightning_lr.tune import CoarseToFine
from lightning_lr.tune.sampler import FirstThen

__all__ = ["SAMPLERS", "needed", "report", "run"]

MOST, GOOD, DIVERGED = 30, 1.05, 1000.0
REACH, ERROR = 6, 2.0  # octaves

Loss = Callable[[float], float]
Make = Callable[[float, float, float, int], BaseSampler]


def _grid(first: float, low: float, high: float, seed: int) -> BaseSampler:
    """Try LRs an octave apart in random order, as a GridSampler does, which needs `Study.optimize`."""
    lrs = np.random.default_rng(seed).permutation(np.geomspace(low, high, 2 * REACH + 1)[1:-1])
    return FirstThen(
        "lr", [first, *(float(lr) for lr in lrs if abs(math.log2(lr / first)) > 0.5)], RandomSampler()
    )


def _first_then(make: Callable[[float, float, int], BaseSampler]) -> Make:
    return lambda first, low, high, seed: FirstThen("lr", [first], make(low, high, seed))


SAMPLERS: dict[str, Make] = {
    "CoarseToFine": lambda first, low, high, seed: CoarseToFine("lr", first=[first]),
    "TPESampler": _first_then(lambda low, high, seed: TPESampler(seed=seed, constant_liar=True)),
    "TPESampler, 3 random": _first_then(
        lambda low, high, seed: TPESampler(seed=seed, constant_liar=True, n_startup_trials=3)
    ),
    "GPSampler": _first_then(lambda low, high, seed: GPSampler(seed=seed, n_startup_trials=3)),
    "RandomSampler": _first_then(lambda low, high, seed: RandomSampler(seed=seed)),
    "grid, an octave apart": _grid,
}


def loss_of(truth: dict[str, list[float]]) -> Loss:
    """Return the final loss over that of the grid's best, at any LR."""
    logs = np.log2([float(lr) for lr in truth])
    losses = np.array([np.median(seeds) for seeds in truth.values()])
    ratios = np.minimum(losses / losses.min(), DIVERGED)

    def loss(lr: float) -> float:
        ratio = float(np.exp(np.interp(math.log2(lr), logs, np.log(ratios))))
        return math.inf if ratio > 0.99 * DIVERGED else ratio

    return loss


def needed(study: Study, loss: Loss, low: float, high: float, *, workers: int) -> int:
    """Return after how many trials the best loss is good; one more than `MOST` if it never is."""
    running: deque[optuna.Trial] = deque()
    for asked in range(MOST):
        running.append(study.ask())
        running[-1].suggest_float("lr", low, high, log=True)
        if len(running) == workers or asked == MOST - 1:
            trial = running.popleft()
            value = loss(trial.params["lr"])
            study.tell(trial, value)
            if value <= GOOD:
                return trial.number + 1
    return MOST + 1


def run(make: Make, truth: dict[str, list[float]], *, seed: int, workers: int) -> int:
    """Return how many trials one study of one task needs."""
    loss = loss_of(truth)
    best = min((float(lr) for lr in truth), key=loss)
    first = best * 2 ** np.random.default_rng(seed).normal(0, ERROR)
    low, high = first / 2**REACH, first * 2**REACH
    return needed(optuna.create_study(sampler=make(first, low, high, seed)), loss, low, high, workers=workers)


def report(counts: dict[str, Sequence[int]]) -> str:
    """Return the table: quantiles of the trials needed, and how many studies never came there."""
    lines = [f"{'sampler':24s} median   90 %   worst   never"]
    for name, found in counts.items():
        never = sum(each > MOST for each in found) / len(found)
        high, worst = np.quantile(found, 0.9), max(found)
        lines.append(f"{name:24s} {statistics.median(found):6.0f} {high:6.0f} {worst:7d} {never:7.0%}")
    return "\n".join(lines)


def main() -> None:
    """Run all samplers, with one worker and with four."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tasks", type=int, default=40)
    parser.add_argument("--samplers", nargs="*", default=list(SAMPLERS))
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    tasks = list(json.loads(TRUTH.read_text()).values())[: options.tasks]
    for workers in (1, 4):
        counts: dict[str, list[int]] = {}
        for name in tqdm(options.samplers, unit=" samplers"):
            one = partial(run, SAMPLERS[name], workers=workers)
            counts[name] = [
                one(truth, seed=100 * index + seed)
                for index, truth in enumerate(tasks)
                for seed in range(options.seeds)
            ]
        print(f"{len(tasks)} tasks x {options.seeds} seeds, {workers} workers")
        print(report(counts))


if __name__ == "__main__":
    main()
