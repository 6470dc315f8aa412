"""What LRSearch costs in time, beside as many plain training steps.

    cd tests; python -m benchmarks.cost.search

A fit is timed in two parts over the same loader: all that LRSearch does before the first batch, and the
training loop that follows. Each is divided by its number of optimizer steps, and the ratio is of one fit.
"""

import logging
import time
from statistics import median

import torch
from benchmarks.cost.range_test import MODELS, Classifier, Mark, Model, make_loader, make_trainer
from tqdm import tqdm

from lightning_lr import LRSearch

__all__ = ["cost"]


def cost(model: Model, *, steps: int, budget: int) -> float:
    """Return the time of a step of the search in plain training steps."""
    before, search = Mark(steps, time.process_time), LRSearch(budget=budget, apply=False)
    after = Mark(steps, time.process_time)
    make_trainer([before, search, after]).fit(Classifier(model.widths), make_loader(model, steps))
    if search.trials is None:
        raise RuntimeError(f"There was no search: {search.suggestion!r}.")
    plain = (after.ended - after.started) / steps
    return (after.started - before.started) / search.trials.steps / plain


def main() -> None:
    """Measure every model and print a table."""
    torch.set_num_threads(1)
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.ERROR)
    for name, model in MODELS.items():
        large = sum(model.widths) > 1000
        steps, budget, rounds = (40, 120, 3) if large else (300, 300, 9)
        cost(model, steps=30, budget=100)  # whatever is loaded at first use
        shares = [cost(model, steps=steps, budget=budget) for _ in tqdm(range(rounds), desc=name)]
        print(f"{name}: {median(shares):.2f} ({min(shares):.2f} .. {max(shares):.2f}) plain steps per step")


if __name__ == "__main__":
    main()
