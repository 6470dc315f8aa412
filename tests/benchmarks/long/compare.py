"""Compare what LRSearch and LRRangeTest suggest for the long tasks with the truth.

    cd tests; python -m benchmarks.long.compare [--kept | --tuning] [--seeds 2] [--details]

A suggestion is judged as in `benchmarks.finders.suggestions`, here by the mean of two seeds.
"""

import argparse
import json
import math
from collections.abc import Iterator, Sequence
from typing import TypeAlias

import numpy as np
import torch
from benchmarks.finders.searches import ramp_and_trainings, search_within
from benchmarks.finders.suggestions import Judgement, judge
from benchmarks.finders.task import Task
from benchmarks.long.tasks import KEPT, LONG
from benchmarks.long.truth import TRUTH

from lightning_lr.finders import Suggestion

__all__ = ["answers", "table"]

BUDGETS = (600, 300, 100, 0.05, 0.02)
Answer: TypeAlias = tuple[Judgement, bool]


def answers(task: Task, seed: int) -> Iterator[tuple[str, Suggestion | None]]:
    """Yield what each finder suggests for a task."""
    for budget in BUDGETS:
        steps = int(budget * task.total_steps) if isinstance(budget, float) else budget
        decision = search_within(task, seed, steps)
        yield f"LRSearch({budget})", decision if isinstance(decision, Suggestion) else None
    decision, _ = ramp_and_trainings(task, seed)
    yield "LRRangeTest", decision if isinstance(decision, Suggestion) else None


def table(judged: dict[str, list[Answer | None]]) -> Iterator[str]:
    """Yield the lines of the comparison."""
    yield f"{'finder':16s}  excess   good   failed   octaves median / worst   best LR in the interval   none"
    for name, each in judged.items():
        given = [one for one in each if one]
        excesses = np.array([min(judgement.excess, 999.0) for judgement, _ in given])
        octaves = np.abs([judgement.octaves for judgement, _ in given])
        yield (
            f"{name:16s} {math.exp(np.log1p(excesses).mean()):7.3f} {np.mean(excesses <= 0.1):6.0%}"
            f" {np.mean(excesses > 1):8.0%} {np.median(octaves):16.2f} / {octaves.max():4.1f}"
            f" {np.mean([held for _, held in given]):25.0%} {1 - len(given) / len(each):6.0%}"
        )


def main(chosen: Sequence[Task], seeds: int, *, details: bool) -> None:
    """Run the finders on the chosen tasks and print the table."""
    torch.set_num_threads(1)
    truth = json.loads(TRUTH.read_text())
    judged: dict[str, list[Answer | None]] = {}
    for task in chosen:
        if task.name not in truth:
            continue
        grid = truth[task.name]
        best = min(map(float, grid), key=lambda lr: np.mean(grid[repr(lr)]))
        for seed in range(seeds):
            for name, found in answers(task, seed):
                one = found and (judge(grid, found.lr), found.low <= best <= found.high)
                judged.setdefault(name, []).append(one)
                if details:
                    told = f"{one[0].octaves:+.1f} octaves, {one[0].excess:.1%} {one[1]}" if one else "none"
                    print(f"{task.name:46s} {seed} {name:16s} {told}", flush=True)
    print("\n".join(table(judged)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--kept", action="store_true", help="only the tasks no rule was chosen on")
    which.add_argument("--tuning", action="store_true", help="only the others")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--details", action="store_true")
    arguments = parser.parse_args()
    tasks = [
        task
        for task in LONG
        if not (arguments.kept and task.name not in KEPT) and not (arguments.tuning and task.name in KEPT)
    ]
    main(tasks, arguments.seeds, details=arguments.details)
