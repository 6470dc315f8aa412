"""Train every long task at a grid of LRs, and write the validation losses to `truth.json`.

    cd tests; python -m benchmarks.long.truth [part of a task's name ...]

Linear warm-up over 5 % of the run, then linear decay to zero. One seed goes over LRs three octaves apart,
until both of its ends are worse than its middle; two seeds go over the octaves around the best, and the half
ones next to it. What is in the file already is not trained again.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
from benchmarks.finders.task import Task
from benchmarks.finders.truth import final_loss
from benchmarks.long.tasks import LONG

__all__ = ["SEEDS", "TRUTH", "measure"]

TRUTH = Path(__file__).with_name("truth.json")
SEEDS = (0, 1)
# Exponents of two: where the grid starts, and how far its ends may move.
START, LIMITS = range(-13, 3, 3), (-25, 11)


def measure(task: Task) -> dict[str, list[float]]:
    """Return the final validation losses by LR."""
    losses: dict[float, list[float]] = {}

    def train(exponent: float, seeds: int) -> float:
        known = losses.setdefault(exponent, [])
        known += [final_loss(task, 2.0**exponent, seed) for seed in SEEDS[len(known) : seeds]]
        return statistics.fmean(known)

    for exponent in START:
        train(exponent, 1)
    while (best := min(losses, key=lambda exponent: losses[exponent][0])) == min(losses) > LIMITS[0]:
        train(best - 3, 1)
    while (best := min(losses, key=lambda exponent: losses[exponent][0])) == max(losses) < LIMITS[1]:
        train(best + 3, 1)
    for distances in ((-1, 0, 1), (-2, -1, 0, 1, 2), (-1, -0.5, 0, 0.5, 1)):
        scores = {best + distance: train(best + distance, 2) for distance in distances}
        best = min(scores, key=scores.__getitem__)
    return {repr(2.0**exponent): losses[exponent] for exponent in sorted(losses)}


def main(names: list[str]) -> None:
    """Measure the tasks named, or all that are not measured yet."""
    torch.set_num_threads(1)
    truth = json.loads(TRUTH.read_text()) if TRUTH.exists() else {}
    for task in LONG:
        if any(name in task.name for name in names) if names else task.name not in truth:
            begin = time.perf_counter()
            truth[task.name] = measure(task)
            TRUTH.write_text(json.dumps(truth, indent=1) + "\n")
            least = min(map(statistics.fmean, truth[task.name].values()))
            best = next(lr for lr, losses in truth[task.name].items() if statistics.fmean(losses) == least)
            print(f"{task.name:48s} {best} {least:.4g} {time.perf_counter() - begin:.0f} s", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="parts of the names of the tasks to measure again")
    main(parser.parse_args().names)
