"""Compare searches whose trials have the shape of the run with those whose trials have the usual one.

    cd tests; python -m benchmarks.finders.shapes [--tasks 15] [--seeds 2] [--budget 300] [--runs NAME ...]

A run keeps its LR, with a warm-up over 5 % or without, or decays by half a cosine or as WSD does after one.
For each the truth is measured first, at LRs an octave apart around the best one of `truth.json`, until both
ends are worse. A trial of the usual shape ramps up over a tenth of its steps and falls linearly.
"""

import argparse
import json
import math
from collections.abc import Iterator, Sequence
from statistics import fmean

import numpy as np
import torch
from benchmarks.finders.searches import Shape, search
from benchmarks.finders.suggestions import Judgement, judge
from benchmarks.finders.task import Task
from benchmarks.finders.tasks import TUNING
from benchmarks.finders.truth import TRUTH

from lightning_lr.finders import Suggestion
from lightning_lr.policies import Constant, Cosine, Policy, WarmupStableDecay

__all__ = ["SHAPES", "final_loss", "measure", "table"]

BELOW, ABOVE, FURTHEST = 3, 2, 8
WARMUP = 0.05


def planned(policy: Policy, warmup: float) -> Shape:
    """Return the factors of a run of any length under a policy."""

    def factors(steps: int) -> list[float]:
        ramp = math.ceil(warmup * steps)
        rest = steps - ramp
        ramped = [(step + 1) / (ramp + 1) for step in range(ramp)]
        return ramped + [policy.factor(step, rest) for step in range(rest)]

    return factors


SHAPES: dict[str, Shape] = {
    "constant": planned(Constant(), 0.0),
    "constant, warm-up": planned(Constant(), WARMUP),
    "WSD": planned(WarmupStableDecay(0.2), WARMUP),
    "cosine": planned(Cosine(), WARMUP),
}


def final_loss(task: Task, lr: float, seed: int, shape: Shape) -> float:
    """Train once and return the final validation loss; infinite where the training diverged."""
    model = task.make_model(seed)
    optimizer = task.make_optimizer(model.parameters(), lr)
    torch.manual_seed(seed)
    for factor, batch in zip(shape(task.total_steps), task.batches(seed), strict=False):
        for group in optimizer.param_groups:
            group["lr"] = lr * factor
        loss = task.loss(model, batch)
        if not math.isfinite(loss.item()):
            return math.inf
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    loss = task.validation_loss(model)
    return loss if math.isfinite(loss) else math.inf


def measure(task: Task, shape: Shape, seeds: int, around: float) -> dict[str, list[float]]:
    """Return the final validation losses by LR."""
    found: dict[int, list[float]] = {}

    def train(octave: int) -> float:
        if octave not in found:
            found[octave] = [final_loss(task, around * 2.0**octave, seed, shape) for seed in range(seeds)]
        return fmean(found[octave])

    for octave in range(-BELOW, ABOVE + 1):
        train(octave)
    while (best := min(found, key=train)) - min(found) < 2 and min(found) > -FURTHEST:
        train(min(found) - 1)
    while max(found) - best < 2 and max(found) < FURTHEST:
        train(max(found) + 1)
        best = min(found, key=train)
    return {repr(around * 2.0**octave): found[octave] for octave in sorted(found)}


def table(judged: dict[tuple[str, str], list[Judgement | None]]) -> Iterator[str]:
    """Yield the lines of the comparison."""
    yield f"{'run':20s}{'trials':8s}  ratio   good  failed   octaves mean / median / worst   none"
    for (run, trials), each in judged.items():
        given = [one for one in each if one]
        excesses = np.array([min(one.excess, 999.0) for one in given])
        octaves = np.array([one.octaves for one in given])
        yield (
            f"{run:20s}{trials:8s}{math.exp(np.log1p(excesses).mean()):7.3f}{np.mean(excesses <= 0.1):7.0%}"
            f"{np.mean(excesses > 1):8.0%}{octaves.mean():12.2f} /{np.median(np.abs(octaves)):5.2f} /"
            f"{np.abs(octaves).max():4.1f}{1 - len(given) / len(each):8.0%}"
        )


def main(tasks: Sequence[Task], names: Sequence[str], *, seeds: int, budget: int) -> None:
    """Search in both shapes, and print the table."""
    torch.set_num_threads(1)
    truth = json.loads(TRUTH.read_text())
    judged: dict[tuple[str, str], list[Judgement | None]] = {}
    for task in tasks:
        grid = truth[task.name]
        around = min(map(float, grid), key=lambda lr: np.median(grid[repr(lr)]))
        usual = [search(task, seed, budget=budget)[1] for seed in range(seeds)]
        for name in names:
            of_run = measure(task, SHAPES[name], seeds, around)
            own = [search(task, seed, shape=SHAPES[name], budget=budget)[1] for seed in range(seeds)]
            for kind, decisions in (("usual", usual), ("own", own)):
                found = [judge(of_run, d.lr) if isinstance(d, Suggestion) else None for d in decisions]
                judged.setdefault((name, kind), []).extend(found)
                told = [f"{one.octaves:+.1f} ({one.excess:.0%})" if one else "none" for one in found]
                print(f"{task.name:40s} {name:18s} {kind:6s} {', '.join(told)}", flush=True)
    print("\n".join(table(judged)), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", type=int, default=15, help="so many of the tuning tasks")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--budget", type=int, default=300)
    parser.add_argument("--runs", nargs="+", choices=list(SHAPES), default=list(SHAPES))
    arguments = parser.parse_args()
    chosen = TUNING[:: max(1, len(TUNING) // arguments.tasks)][: arguments.tasks]
    main(chosen, arguments.runs, seeds=arguments.seeds, budget=arguments.budget)
