"""What a long run with all callbacks holds in memory: `python -m benchmarks.cost.memory`, see `--help`.

At some steps of a tiny fit it tells the memory of the process, and how many objects the garbage collector of
Python follows. Both are flat if nothing grows with the number of steps. With `--trace`, Python's allocations
too, by the lines that made what has come since the first of these steps; that takes several times as long.
"""

import argparse
import gc
import os
import tracemalloc
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import torch
from benchmarks.cost.overhead import Regressor
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch.utils.data import DataLoader

from lightning_lr import LRDecay, LRLogger, LRRangeTest, PlateauDetector
from lightning_lr.policies import Linear

STEPS = (20_000, 100_000, 200_000)
VALIDATION_EVERY = 1_000


class Seen(NamedTuple):
    """What there is at a step: MiB of the process, objects, and MiB that Python has allocated."""

    step: int
    process_mib: float
    objects: int
    traced_mib: float


class Watch(Callback):
    """Notes what there is at some steps."""

    def __init__(self, steps: tuple[int, ...]) -> None:
        self.steps = steps
        self.seen: list[Seen] = []
        self.first: tracemalloc.Snapshot | None = None

    def on_train_batch_end(self, trainer: Trainer, *_: object) -> None:
        if trainer.global_step not in self.steps:
            return
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        traced = tracemalloc.get_traced_memory()[0] if tracemalloc.is_tracing() else 0
        objects = len(gc.get_objects())
        mib = pages * os.sysconf("SC_PAGE_SIZE") / 2**20
        self.seen.append(Seen(trainer.global_step, mib, objects, traced / 2**20))
        print(f"step {trainer.global_step:>7,}: {mib:7.1f} MiB, {objects:>8,} objects", flush=True)
        if tracemalloc.is_tracing() and self.first is None:
            self.first = tracemalloc.take_snapshot()


def callbacks() -> list[Callback]:
    """Return all of them."""
    return [LRRangeTest(), LRDecay(Linear(), interval="step", warmup=0.05), PlateauDetector(), LRLogger()]


def measure(steps: tuple[int, ...], *, ours: bool = True, validation_every: int = VALIDATION_EVERY) -> Watch:
    """Return what there was at some steps of one fit."""
    watch = Watch(steps)
    module: LightningModule = Regressor()
    with TemporaryDirectory() as folder:
        Trainer(
            accelerator="cpu",
            max_steps=steps[-1],
            max_epochs=-1,
            val_check_interval=validation_every,
            logger=TensorBoardLogger(folder),
            callbacks=[*(callbacks() if ours else []), watch],
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=False,
            num_sanity_val_steps=0,
        ).fit(module, DataLoader(torch.ones(8 * validation_every, 4), 8), DataLoader(torch.ones(8, 4), 8))
    return watch


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Memory of long runs.")
    parser.add_argument("--steps", type=int, nargs="+", default=STEPS, help="when to look, rising")
    parser.add_argument("--bare", action="store_true", help="without our callbacks, what Lightning does")
    parser.add_argument("--trace", action="store_true", help="which lines have allocated what has come")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.trace:
        tracemalloc.start(6)
    watch = measure(tuple(arguments.steps), ours=not arguments.bare)
    if watch.first is not None:
        for line in tracemalloc.take_snapshot().compare_to(watch.first, "lineno")[:15]:
            print(line)
    print(f"{watch.seen[-1].process_mib - watch.seen[0].process_mib:+.1f} MiB from the first to the last.")


if __name__ == "__main__":
    main()
