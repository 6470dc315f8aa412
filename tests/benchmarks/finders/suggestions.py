"""Compare what rules and other finders suggest with the truth, task by task.

    cd tests; python -m benchmarks.finders.suggestions [--held-out | --tuning] [--details]

A suggestion is judged by the final validation loss at its LR, read off the grid of `truth.json` by linear
interpolation of the logarithms (median over seeds); beyond the grid its last loss counts, and a training that
diverged as a thousand times the best. Where a finder gives no LR, that counts as neither good nor failed.
"""

import argparse
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from benchmarks.finders import peers
from benchmarks.finders.held_out import HELD_OUT, TASKS
from benchmarks.finders.ramps import fixed_ramp, range_test
from benchmarks.finders.searches import search_within
from benchmarks.finders.task import Task
from benchmarks.finders.tasks import TUNING
from benchmarks.finders.truth import SEEDS, TRUTH
from tqdm import tqdm

from lightning_lr.finders import Suggestion, read_all

__all__ = ["Judgement", "judge", "suggestions", "table"]

DIVERGED = 1000.0
SEARCH_BUDGETS = (100, 300, 600)


@dataclass(frozen=True)
class Judgement:
    """How far a suggestion is from the best LR.

    Args:
        octaves: log2 of its ratio to the best LR.
        excess: Relative excess of its final validation loss over the best LR's.
    """

    octaves: float
    excess: float


def judge(truth: dict[str, list[float]], lr: float) -> Judgement:
    """Judge one LR by the grid of one task."""
    logs = np.log2([float(grid_lr) for grid_lr in truth])
    losses = np.array([np.median(seeds) for seeds in truth.values()])
    ratios = np.minimum(losses / losses.min(), DIVERGED)
    octave = math.log2(lr)
    excess = float(np.exp(np.interp(octave, logs, np.log(ratios)))) - 1
    return Judgement(octaves=octave - float(logs[np.argmin(losses)]), excess=excess)


def suggestions(task: Task, seed: int) -> dict[str, float | None]:
    """Return every finder's LR for one task; None where it gives none."""
    found: dict[str, float | None] = {}
    lrs = peers.lightning_lrs()
    found["Lightning lr_find"] = peers.lightning_suggestion(lrs, fixed_ramp(task, seed, lrs))
    lrs = peers.fastai_lrs()
    by_name = peers.fastai_suggestions(peers.fastai_points(lrs, fixed_ramp(task, seed, lrs)))
    found |= {f"fastai {name}": lr for name, lr in by_name.items()}
    lrs = peers.torch_lr_finder_lrs()
    found["torch-lr-finder"] = peers.torch_lr_finder_suggestion(lrs, fixed_ramp(task, seed, lrs))
    for name, decision in read_all(range_test(task, seed)).items():
        found[name] = decision.lr if isinstance(decision, Suggestion) else None
    for budget in SEARCH_BUDGETS:
        decision = search_within(task, seed, budget)
        found[f"LRSearch({budget})"] = decision.lr if isinstance(decision, Suggestion) else None
    return found


def table(judgements: dict[str, list[Judgement | None]]) -> Iterator[str]:
    """Yield the lines of the comparison."""
    yield f"{'finder':20s} octaves median / worst   excess median   good   failed   none"
    for name, judged in judgements.items():
        given = [judgement for judgement in judged if judgement]
        octaves = np.abs([judgement.octaves for judgement in given])
        excesses = np.array([judgement.excess for judgement in given])
        good, failed = np.sum(excesses <= 0.1) / len(judged), np.sum(excesses > 1) / len(judged)
        yield (
            f"{name:20s} {np.median(octaves):14.1f} / {octaves.max():5.1f} {np.median(excesses):14.0%} "
            f"{good:8.0%} {failed:8.0%} {1 - len(given) / len(judged):6.0%}"
        )


def main(chosen: Sequence[Task], *, details: bool) -> None:
    """Run all finders on the chosen tasks and print the table."""
    torch.set_num_threads(1)
    truth = json.loads(TRUTH.read_text())
    judgements: dict[str, list[Judgement | None]] = {}
    for task in tqdm(chosen, unit=" tasks"):
        for seed in SEEDS:
            for name, lr in suggestions(task, seed).items():
                judged = None if lr is None else judge(truth[task.name], lr)
                judgements.setdefault(name, []).append(judged)
    if details:
        for index, task in enumerate(chosen):
            ours = judgements["Basin"][index * len(SEEDS) : (index + 1) * len(SEEDS)]
            told = [f"{one.octaves:+.1f} ({one.excess:.0%})" if one else "none" for one in ours]
            print(f"{task.name:42s} {', '.join(told)}")
    print(f"{len(chosen)} tasks x {len(SEEDS)} seeds")
    print("\n".join(table(judgements)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--held-out", action="store_true", help="only the tasks no rule was chosen on")
    which.add_argument("--tuning", action="store_true", help="only the tasks the rule was chosen on")
    parser.add_argument("--details", action="store_true", help="the default rule's answers task by task")
    arguments = parser.parse_args()
    main(HELD_OUT if arguments.held_out else TUNING if arguments.tuning else TASKS, details=arguments.details)
