"""Train every task with LRSearch + LRDecay and compare with the best of a grid of LRs under the same decay.

    cd tests; python -m benchmarks.finders.end_to_end [--budget 600] [part of a task's name ...]

The grid is the one of `truth.json`: at least 16 LRs, each trained with three seeds by linear warm-up over 5 %
of the run and linear decay to zero. A ratio is the final validation loss with LRSearch over the median one of
the grid's best LR.
"""

import argparse
import json
import logging
import math
import statistics
import warnings
from collections.abc import Iterator

import numpy as np
import torch
from benchmarks.finders.held_out import TASKS
from benchmarks.finders.task import Batch, Task
from benchmarks.finders.truth import SEEDS, TRUTH
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, optim
from torch.utils.data import DataLoader, IterableDataset, TensorDataset
from tqdm import tqdm

from lightning_lr import LRDecay, LRRangeTest, LRSearch
from lightning_lr.policies import Linear, Policy

__all__ = ["train"]

LARGEST_RATIO = 1000.0
_LINEAR = Linear()


class Batches(IterableDataset):
    """The batches that the grid was trained on."""

    def __init__(self, task: Task, seed: int) -> None:
        self.task = task
        self.seed = seed

    def __iter__(self) -> Iterator[Batch]:
        return self.task.batches(self.seed)


class Module(LightningModule):
    """A task as a module."""

    def __init__(self, task: Task, seed: int) -> None:
        super().__init__()
        self.task = task
        self.model = task.make_model(seed)
        # The order of random numbers is the one of the grid's training.
        torch.manual_seed(seed)

    def training_step(self, batch: Batch) -> Tensor:
        return self.task.loss(self.model, batch)

    def validation_step(self, batch: Batch) -> Tensor:
        return self.task.loss(self.model, batch)

    def configure_optimizers(self) -> optim.Optimizer:
        return self.task.make_optimizer(self.model.parameters(), 1e-3)


def train(
    task: Task,
    seed: int,
    finder: LRSearch | LRRangeTest,
    *,
    policy: Policy = _LINEAR,
    steps: int | None = None,
) -> float:
    """Train once and return the final validation loss, infinite where it diverged.

    Args:
        task: What to train.
        seed: Of model and batches.
        finder: What finds the LR.
        policy: The decay after a warm-up over 5 % of the run.
        steps: Of the run; None for the task's own.
    """
    split, steps = task.split(), task.total_steps if steps is None else steps
    validation = TensorDataset(split.validation_inputs, split.validation_targets)
    module = Module(task, seed)
    trainer = Trainer(
        max_steps=steps,
        callbacks=[finder, LRDecay(policy, interval="step", warmup=0.05)],
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        check_val_every_n_epoch=None,
        val_check_interval=steps,
    )
    trainer.fit(
        module,
        DataLoader(Batches(task, seed), batch_size=None),
        DataLoader(validation, task.batch_size),
    )
    loss = task.validation_loss(module.model)
    return loss if math.isfinite(loss) else math.inf


def ratio(task: Task, loss: float) -> float:
    """Return the loss over the one of the grid's best LR."""
    grid = json.loads(TRUTH.read_text())[task.name]
    return min(loss / min(map(statistics.median, grid.values())), LARGEST_RATIO)


def main(budget: int | None, names: list[str]) -> None:
    """Train all tasks and print a table."""
    torch.set_num_threads(1)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    chosen = [task for task in TASKS if not names or any(name in task.name for name in names)]
    ratios: dict[str, list[float]] = {"LRSearch": [], "LRRangeTest": []}
    steps: list[int] = []
    print(f"{'task':44s} {'steps of run + search':>22s}   ratio with LRSearch, LRRangeTest (3 seeds)")
    for task in tqdm(chosen, unit=" tasks"):
        rows: dict[str, list[float]] = {name: [] for name in ratios}
        for seed in SEEDS:
            search = LRSearch(budget=budget)
            rows["LRSearch"].append(ratio(task, train(task, seed, search)))
            rows["LRRangeTest"].append(ratio(task, train(task, seed, LRRangeTest())))
            steps.append(search.trials.steps if search.trials else 0)
        for name, row in rows.items():
            ratios[name] += row
        used = statistics.fmean(steps[-len(SEEDS) :])
        shown = "   ".join(" ".join(f"{value:6.2f}" for value in row) for row in rows.values())
        tqdm.write(f"{task.name:44s} {task.total_steps:>12d} + {used:6.0f}   {shown}")
    for name, all_ratios in ratios.items():
        logs = np.log(all_ratios)
        print(
            f"{name}: geometric mean {math.exp(logs.mean()):.3f}, median {math.exp(np.median(logs)):.3f}, at"
            f" most 1.1 in {np.mean(logs <= math.log(1.1)):.0%}, above 2 in {np.mean(logs > math.log(2)):.0%}"
        )
    print(f"LRSearch took {statistics.fmean(steps):.0f} steps on average, {max(steps)} at most")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--budget", type=int)
    parser.add_argument("names", nargs="*")
    arguments = parser.parse_args()
    main(arguments.budget, arguments.names)
