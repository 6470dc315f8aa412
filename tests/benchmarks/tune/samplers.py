"""Count the trials, and the runs they come to, that samplers need to come within 5 % of the grid's best loss.

    cd tests; python -m benchmarks.tune.samplers [--seeds 3] [--tasks 40] [--long]

No training is made: the losses of a trial are those of `curves.json` around its LR, interpolated in the
logarithms. Every study begins with the LR that a range test might have found: the best, off by a normal
distribution of 2 octaves, about what LRRangeTest has shown. The range is 64x to both sides of that. All
samplers try that LR first. Four workers go on at the same pace, and a new trial knows what the others have
told so far. With pruning, trials end early as under `lightning_lr.tune`: after a third of the run, if they
are among the worst quarter at that time. The cost is counted in whole runs: a trial that ends
after four of ten validations costs 0.4, and what other workers have begun counts too.
"""

import argparse
import json
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import optuna
from benchmarks.finders.truth import TRUTH as SHORT
from benchmarks.long.truth import TRUTH as LONG
from benchmarks.tune.curves import CURVES, LONG_PREFIX, VALIDATIONS
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import TrialState
from tqdm import tqdm

from lightning_lr.tune import CoarseToFine
from lightning_lr.tune.sampler import FirstThen
from lightning_lr.tune.workers.trial_run import is_judged
from lightning_lr.tune.workers.worker import make_pruner

__all__ = ["SAMPLERS", "Cost", "curve_of", "needed", "report", "run"]

MOST, GOOD = 30, 1.05
REACH, ERROR = 6, 2.0  # octaves
# What a diverged run counts as where a line is drawn from it to one that has not.
_DIVERGED = 1000.0

Curve = Callable[[float], Sequence[float]]
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


@dataclass(frozen=True)
class Cost:
    """What a study has cost until its best trial was good.

    Args:
        trials: The number of that trial, from 1; one more than `MOST` if there was none.
        runs: The training of all workers until then, in whole runs.
        time: How long it took, in whole runs.
    """

    trials: int
    runs: float
    time: float


def curve_of(losses: dict[str, list[float]]) -> Curve:
    """Return what gives the losses of all validations at any LR, over the grid's best at the end.

    A run that diverges ends with an infinite one.
    """
    logs = np.log2([float(lr) for lr in losses])
    table = np.array([curve + [math.inf] * (VALIDATIONS - len(curve)) for curve in losses.values()])
    diverged = np.isinf(table).astype(float)
    ratios = np.log(np.minimum(table / table[:, -1].min(), _DIVERGED))

    def curve(lr: float) -> list[float]:
        found: list[float] = []
        for ratio, is_gone in zip(ratios.T, diverged.T, strict=True):
            if np.interp(math.log2(lr), logs, is_gone) > 0.99:
                return [*found, math.inf]
            found.append(float(np.exp(np.interp(math.log2(lr), logs, ratio))))
        return found

    return curve


def needed(study: Study, curve: Curve, low: float, high: float, *, workers: int) -> Cost:
    """Return what it costs until a trial has ended with a good loss."""
    running: list[tuple[optuna.Trial, list[float]]] = []
    asked, validations, ticks = 0, 0, 0
    while True:
        while len(running) < workers and asked < MOST:
            trial = study.ask()
            running.append((trial, list(curve(trial.suggest_float("lr", low, high, log=True)))))
            asked += 1
        ticks += 1
        for trial, left in tuple(running):
            validations += 1
            value = left.pop(0)
            share = 1 - len(left) / VALIDATIONS
            if math.isfinite(value):
                trial.report(value, step=VALIDATIONS - len(left) - 1)
            if not left:
                study.tell(trial, value)
            elif is_judged(share) and trial.should_prune():
                study.tell(trial, state=TrialState.PRUNED)
            else:
                continue
            running.remove((trial, left))
            is_good = not left and value <= GOOD
            if is_good or (asked == MOST and not running):
                number = trial.number + 1 if is_good else MOST + 1
                return Cost(number, validations / VALIDATIONS, ticks / VALIDATIONS)


def run(make: Make, losses: dict[str, list[float]], *, seed: int, workers: int, prunes: bool) -> Cost:
    """Return what one study of one task costs."""
    curve = curve_of(losses)
    best = min((float(lr) for lr in losses), key=lambda lr: curve(lr)[-1])
    first = best * 2 ** np.random.default_rng(seed).normal(0, ERROR)
    low, high = first / 2**REACH, first * 2**REACH
    study = optuna.create_study(
        sampler=make(first, low, high, seed), pruner=make_pruner() if prunes else optuna.pruners.NopPruner()
    )
    return needed(study, curve, low, high, workers=workers)


def report(costs: dict[str, Sequence[Cost]]) -> str:
    """Return the table: quantiles of the trials needed, how many studies never came there, and their cost."""
    lines = [f"{'sampler':24s} trials: median   90 %   never   runs: mean   90 %   time: mean"]
    for name, found in costs.items():
        trials, runs = [each.trials for each in found], [each.runs for each in found]
        never = sum(each > MOST for each in trials) / len(trials)
        lines.append(
            f"{name:24s} {statistics.median(trials):14.0f} {np.quantile(trials, 0.9):6.0f} {never:7.0%}"
            f" {statistics.fmean(runs):12.1f} {np.quantile(runs, 0.9):6.1f}"
            f" {statistics.fmean(each.time for each in found):12.1f}"
        )
    return "\n".join(lines)


def main() -> None:
    """Run all samplers, with and without pruning, with one worker and with four."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tasks", type=int, default=40)
    parser.add_argument("--long", action="store_true", help="the tasks of `long`")
    parser.add_argument("--samplers", nargs="*", default=list(SAMPLERS))
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    curves = json.loads(CURVES.read_text())
    prefix, truth = (LONG_PREFIX, LONG) if options.long else ("", SHORT)
    names = [prefix + name for name in json.loads(truth.read_text())]
    tasks = [curves[name] for name in names[: options.tasks]]
    for workers in (1, 4):
        for prunes in (False, True):
            costs: dict[str, list[Cost]] = {}
            for name in tqdm(options.samplers, unit=" samplers"):
                one = partial(run, SAMPLERS[name], workers=workers, prunes=prunes)
                costs[name] = [
                    one(losses, seed=100 * index + seed)
                    for index, losses in enumerate(tasks)
                    for seed in range(options.seeds)
                ]
            how = "with" if prunes else "without"
            print(f"{len(tasks)} tasks x {options.seeds} seeds, {workers} workers, {how} pruning")
            print(report(costs), flush=True)


if __name__ == "__main__":
    main()
