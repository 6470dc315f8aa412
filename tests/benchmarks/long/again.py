"""Compare a run that searches at its start with one that searches again in its middle.

    cd tests; python -m benchmarks.long.again [--budget 300] [--seeds 2] [--share 1.0] [part of a name ...]

All steps count: the run is shorter by the budgets of its searches, so all variants of a task take as many.
A ratio is the final validation loss over that of one search at the start. Five of the long tasks are trained,
none of them kept from tuning.
"""

import argparse
import logging
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from benchmarks.finders.end_to_end import train
from benchmarks.finders.task import Task
from benchmarks.long.tasks import TUNING

from lightning_lr import LRSearch
from lightning_lr.finders import Suggestion
from lightning_lr.policies import Constant, Linear, Policy

__all__ = ["POLICIES", "VARIANTS", "measure", "table"]

NAMES = (
    "digits, BatchNorm MLP, momentum, weight decay",
    "teacher, deep MLP, SGD",
    "teacher, MLP, Adagrad",
    "classes, residual LayerNorm MLP, Adam",
    "jumps, tanh MLP, RMSprop",
)
POLICIES: dict[str, Policy] = {"linear decay": Linear(), "constant LR": Constant()}
# When the run is searched.
VARIANTS: dict[str, tuple[float, ...]] = {
    "at 0": (0,),
    "at 0 and 0.1": (0, 0.1),
    "at 0 and 0.3": (0, 0.3),
}
LARGEST_RATIO = 1000.0


def measure(
    task: Task, policy: Policy, milestones: Sequence[float], *, budget: int, seed: int, share: float = 1.0
) -> tuple[float, float]:
    """Return the final validation loss, and the LR that the last search found, 0 if it found none."""
    search = LRSearch(budget=budget, milestones=milestones)
    steps = int(share * task.total_steps) - budget * len(milestones)
    loss = train(task, seed, search, policy=policy, steps=steps)
    return loss, search.suggestion.lr if isinstance(search.suggestion, Suggestion) else 0.0


def table(losses: Mapping[tuple[str, str], Sequence[float]]) -> Iterator[str]:
    """Yield the lines of the comparison, of losses by policy and variant."""
    first, *_ = VARIANTS
    yield f"{'run':14s}{'searches':26s}ratio    least / most   better in"
    for (policy, variant), each in losses.items():
        if variant == first:
            continue
        ratios = np.minimum(np.array(each) / np.array(losses[policy, first]), LARGEST_RATIO)
        yield (
            f"{policy:14s}{variant:26s}{math.exp(np.log(ratios).mean()):.3f}   {ratios.min():.2f} /"
            f" {ratios.max():.2f}    {np.mean(ratios < 1):.0%}"
        )


def main(tasks: Sequence[Task], *, budget: int, seeds: int, share: float) -> None:
    """Train the tasks and print the table."""
    torch.set_num_threads(1)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    losses: dict[tuple[str, str], list[float]] = {}
    for seed in range(seeds):
        for task in tasks:
            for policy_name, policy in POLICIES.items():
                for name, milestones in VARIANTS.items():
                    loss, lr = measure(task, policy, milestones, budget=budget, seed=seed, share=share)
                    losses.setdefault((policy_name, name), []).append(loss)
                    told = f"{task.name:46s} {seed} {policy_name:14s}{name:24s} loss {loss:.4g}, LR {lr:.3g}"
                    print(told, flush=True)
    print("\n".join(table(losses)), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--budget", type=int, default=300, help="steps of a search")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--share", type=float, default=1.0, help="of the steps of each task")
    parser.add_argument("names", nargs="*", help="parts of the names of other tasks")
    arguments = parser.parse_args()
    wanted = arguments.names or NAMES
    main(
        [task for task in TUNING if any(name in task.name for name in wanted)],
        budget=arguments.budget,
        seeds=arguments.seeds,
        share=arguments.share,
    )
