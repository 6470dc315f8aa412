"""Train every task at every LR of a grid, three times, and write the validation losses to `truth.json`.

    cd tests; python -m benchmarks.finders.truth [part of a task's name ...]

The schedule is the one a found LR is meant for: linear warm-up over 5 % of the run, then linear decay to
zero. The grid is an octave wide from the start, grows until both of its ends are worse than its middle, and
is refined to half an octave around the best.
"""

import argparse
import json
import math
import statistics
from pathlib import Path

import torch
from benchmarks.finders.held_out import TASKS
from benchmarks.finders.task import Task
from tqdm import tqdm

__all__ = ["TRUTH", "final_loss", "learning_curve", "measure"]

TRUTH = Path(__file__).with_name("truth.json")
SEEDS = (0, 1, 2)
# Exponents of two: the grid starts over 1e-4 .. 1 and its ends move while a better LR may lie beyond.
START, LIMITS = range(-13, 1), (-26, 12)


def final_loss(task: Task, lr: float, seed: int) -> float:
    """Train once and return the final validation loss; infinite where the training diverged."""
    return learning_curve(task, lr, seed, count=1)[-1]


def learning_curve(task: Task, lr: float, seed: int, *, count: int) -> list[float]:
    """Train once and return so many validation losses, evenly spaced; if it diverges, the last is inf."""
    model = task.make_model(seed)
    optimizer = task.make_optimizer(model.parameters(), lr)
    torch.manual_seed(seed)
    batches = task.batches(seed)
    warmup = math.ceil(0.05 * task.total_steps)
    losses: list[float] = []
    for step in range(task.total_steps):
        factor = min((step + 1) / warmup, (task.total_steps - step) / (task.total_steps - warmup))
        for group in optimizer.param_groups:
            group["lr"] = lr * factor
        loss = task.loss(model, next(batches))
        if step % 25 == 0 and not math.isfinite(loss.item()):
            return [*losses, math.inf]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step + 1 >= task.total_steps * (len(losses) + 1) / count:
            value = task.validation_loss(model)
            if not math.isfinite(value):
                return [*losses, math.inf]
            losses.append(value)
    return losses


def measure(task: Task, progress: tqdm) -> dict[str, list[float]]:
    """Return the final validation losses of three seeds by LR."""
    losses: dict[float, list[float]] = {}

    def train(exponent: float) -> float:
        if exponent not in losses:
            progress.set_postfix_str(f"{task.name}, 2^{exponent}")
            losses[exponent] = [final_loss(task, 2.0**exponent, seed) for seed in SEEDS]
            progress.update()
        return statistics.median(losses[exponent])

    for exponent in START:
        train(exponent)
    # Two octaves of worse LRs on either side tell a slope from noise.
    while (best := min(losses, key=train)) - min(losses) < 4 and min(losses) > LIMITS[0]:
        train(min(losses) - 1)
    while max(losses) - best < 3 and max(losses) < LIMITS[1]:
        train(max(losses) + 1)
        best = min(losses, key=train)
    for distance in (-1.5, -0.5, 0.5, 1.5):
        train(best + distance)
    return {repr(2.0**exponent): losses[exponent] for exponent in sorted(losses)}


def main() -> None:
    """Measure the tasks named on the command line, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*")
    names = parser.parse_args().names
    torch.set_num_threads(1)
    truth = json.loads(TRUTH.read_text()) if TRUTH.exists() else {}
    chosen = [task for task in TASKS if not names or any(name in task.name for name in names)]
    with tqdm(unit=" LRs") as progress:
        for task in chosen:
            truth[task.name] = measure(task, progress)
            TRUTH.write_text(json.dumps(truth, indent=1) + "\n")


if __name__ == "__main__":
    main()
