"""Train without a warm-up at the LR of a range test, as it is and after it was tried from a cold start.

    cd tests; python -m benchmarks.finders.cold_start [--seeds 2] [part of a task's name ...]

What is printed is the final validation loss, after a linear decay from the first step on, over that of the
best LR of `truth.json`, which has a warm-up.
"""

import argparse
import json
import math
from collections.abc import Sequence
from functools import partial
from statistics import fmean, median

import numpy as np
import torch
from benchmarks.finders.held_out import TASKS
from benchmarks.finders.searches import ramp_and_trainings, try_lr
from benchmarks.finders.shapes import final_loss
from benchmarks.finders.task import Task
from benchmarks.finders.truth import TRUTH
from tqdm import tqdm

from lightning_lr.finders import Suggestion
from lightning_lr.finders.trials.cold_start import fitted_to_cold_start
from lightning_lr.finders.trials.proposal import trial_factors

__all__ = ["found"]

TRIAL_STEPS = 45
COLD = partial(trial_factors, warmup=0.0)


def found(task: Task, seed: int) -> tuple[Suggestion, Suggestion] | None:
    """Return what the range test shows, and what is left of it after trials without a warm-up."""
    shown, _ = ramp_and_trainings(task, seed, run=0)
    if not isinstance(shown, Suggestion):
        return None

    def loss_after(lr: float) -> float:
        judged, _, outcome = try_lr(task, seed, lr, COLD(TRIAL_STEPS))
        return fmean(judged) if outcome == "finished" else math.inf

    return shown, fitted_to_cold_start(shown, loss_after)


def main(names: Sequence[str], seeds: int) -> None:
    """Print the comparison."""
    torch.set_num_threads(1)
    truth = json.loads(TRUTH.read_text())
    ratios: dict[str, list[float]] = {"as it is": [], "tried": []}
    for task in tqdm([each for each in TASKS if not names or any(name in each.name for name in names)]):
        best = min(map(median, truth[task.name].values()))
        for seed in range(seeds):
            both = found(task, seed)
            if both is None:
                continue
            for row, suggestion in zip(ratios.values(), both, strict=True):
                row.append(min(final_loss(task, suggestion.lr, seed, COLD) / best, 1000.0))
    for name, row in ratios.items():
        logs = np.log(row)
        print(
            f"{name:10s} {len(row)} runs: geometric mean {math.exp(logs.mean()):.3f}, at most 1.1 in"
            f" {np.mean(logs <= math.log(1.1)):.0%}, above 2 in {np.mean(logs > math.log(2)):.1%}"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("names", nargs="*")
    arguments = parser.parse_args()
    main(arguments.names, arguments.seeds)
