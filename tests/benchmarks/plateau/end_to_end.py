"""What a PlateauDetector is worth: the validation loss at the end of real trainings, beside the alternatives.

    cd tests; python -m benchmarks.plateau.end_to_end [--held-out] [--seeds 3] [--methods ...]

For every task and method, the final validation loss over that of a linear decay from the same LR: the
geometric mean over the seeds. `all` is the geometric mean over the tasks, `best` that of the best loss on the
way over the final loss of the linear decay, and `worst` the largest ratio to the constant LR on any task.
"""

import argparse
import math
import statistics
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

import torch
from benchmarks.plateau.methods import BASELINE, METHODS
from benchmarks.plateau.tasks import HELD_OUT, TUNED, Task
from benchmarks.plateau.training import Run, train

__all__ = ["measure", "report"]

CONSTANT = "constant LR"
# What a run that ended with NaN counts as.
LOST = 100.0
Runs: TypeAlias = dict[str, list[Run]]


def measure(
    tasks: Iterable[Task], seeds: int, methods: Iterable[str] = METHODS
) -> Iterator[tuple[str, Runs]]:
    """Yield the runs of each method, by task and seed."""
    tasks = list(tasks)
    for method in methods:
        yield (
            method,
            {task.name: [train(task, seed, METHODS[method]) for seed in range(seeds)] for task in tasks},
        )


def ratio(runs: Iterable[Run], of: Iterable[Run], *, best: bool = False) -> float:
    """Return the geometric mean over the seeds of the final, or the best, losses over final ones."""
    logs = []
    for run, other in zip(runs, of, strict=True):
        value = run.best if best else run.final
        logs.append(math.log(value / other.final) if math.isfinite(value) else math.log(LOST))
    return math.exp(statistics.fmean(logs))


def report(found: Mapping[str, Runs]) -> str:
    """Return the table as Markdown."""
    base, constant = found[BASELINE], found[CONSTANT]
    lines = [f"| | all | best | worst | {' | '.join(base)} |", "|---" * (4 + len(base)) + "|"]
    for method, runs in found.items():
        ratios = [ratio(runs[task], base[task]) for task in base]
        bests = [ratio(runs[task], base[task], best=True) for task in base]
        worst = max(ratio(runs[task], constant[task]) for task in base)
        cells = [statistics.geometric_mean(ratios), statistics.geometric_mean(bests), worst, *ratios]
        lines.append(f"| {method} | " + " | ".join(f"{cell:.3f}" for cell in cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--held-out", action="store_true", help="the tasks that were kept from tuning")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each task and method (default: 3)")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, Runs] = {}
    methods = dict.fromkeys([BASELINE, CONSTANT, *arguments.methods])
    for method, runs in measure(HELD_OUT if arguments.held_out else TUNED, arguments.seeds, methods):
        found[method] = runs
        print(method, flush=True)
    print(report(found))


if __name__ == "__main__":
    main()
