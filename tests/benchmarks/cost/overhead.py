"""What callbacks cost per step: `python tests/benchmarks/cost/overhead.py [--groups G]`, see `--help`.

Every round fits every variant once, in random order, so that what else the machine does meets all of them
alike; what a variant adds is its time minus that of the bare fit of the same round. The time of a step is
the median over blocks of steps, each as long as LRLogger's interval between two writes. What follows the last
step until `fit` has returned is told apart: one validation, the rest of the writing, figures.
"""

import argparse
import gc
import logging
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from statistics import median
from tempfile import TemporaryDirectory
from typing import NamedTuple

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import LearningRateMonitor
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.compat.proto.summary_pb2 import Summary
from torch import Tensor, nn
from torch.optim import SGD, Optimizer
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from lightning_lr import LRDecay, LRLogger, PlateauDetector
from lightning_lr.policies import Linear

WARMUP_STEPS = 50
BLOCK_STEPS = 50  # the Trainer's default of log_every_n_steps
MONITOR_SHARE_BOUND = 1 / 8
DECAY_BOUND_US = 15.0


class Regressor(LightningModule):
    """A model so small that its step is little more than Lightning's own work."""

    groups = 1

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 1)
        # Groups that get no gradient: the step of the optimizer costs as much as without them.
        self.others = nn.ParameterList(torch.zeros(1) for _ in range(self.groups - 1))

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return self.linear(batch).square().mean()

    def validation_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return self.linear(batch).square().mean()

    def configure_optimizers(self) -> Optimizer:
        return SGD(
            [{"params": self.linear.parameters()}, *({"params": [each]} for each in self.others)], lr=0.1
        )


class LoggingRegressor(Regressor):
    """The same with its loss logged the usual way."""

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        self.log("train_loss", loss)
        return loss


class Idle(Callback):
    """Does nothing: what Lightning itself charges for a callback."""


class Variant(NamedTuple):
    """What a fit is made of."""

    callbacks: Callable[[], list[Callback]]
    module: type[Regressor] = Regressor
    log_every_n_steps: int = BLOCK_STEPS


BARE, EMPTY, MONITOR = "bare", "empty callback", "LearningRateMonitor + self.log"
LOGGER, DECAY, ALL = "LRLogger", "LRDecay", "LRDecay + PlateauDetector + LRLogger"
VARIANTS = {
    BARE: Variant(list),
    EMPTY: Variant(lambda: [Idle()]),
    MONITOR: Variant(lambda: [LearningRateMonitor("step")], LoggingRegressor, log_every_n_steps=1),
    LOGGER: Variant(lambda: [LRLogger()]),
    DECAY: Variant(lambda: [_decay()]),
    "PlateauDetector": Variant(lambda: [PlateauDetector()]),
    ALL: Variant(lambda: [_decay(), PlateauDetector(), LRLogger()]),
}


class Batches:
    """The same batch again and again; notes when a block of steps begins, and when the last one is over."""

    clock: Callable[[], float] = staticmethod(time.perf_counter)

    def __init__(self, blocks: int) -> None:
        self.blocks = blocks
        self.marks: list[float] = []

    def __len__(self) -> int:
        # One more than is measured: Lightning asks for no batch beyond the last.
        return WARMUP_STEPS + self.blocks * BLOCK_STEPS + 1

    def __iter__(self) -> Iterator[Tensor]:
        batch = torch.ones(8, 4)
        for index in range(-WARMUP_STEPS, self.blocks * BLOCK_STEPS + 1):
            if index >= 0 and index % BLOCK_STEPS == 0:
                self.marks.append(self.clock())
            yield batch


class Cost(NamedTuple):
    """What a fit took: microseconds per step, and milliseconds after the last one."""

    step_us: float
    end_ms: float


def measure(steps: int, repeats: int, *, seed: int = 0) -> dict[str, list[Cost]]:
    """Return what every variant took, one value per round.

    Args:
        steps: Steps that are measured in each fit, rounded down to whole blocks, at least one.
        repeats: Rounds; values of one round belong together.
        seed: Decides the order of the variants within the rounds.
    """
    order = random.Random(seed)
    blocks = max(1, steps // BLOCK_STEPS)
    times: dict[str, list[Cost]] = {name: [] for name in VARIANTS}
    with _quiet():
        for variant in VARIANTS.values():
            _fit(variant, blocks=1)  # whatever is loaded at first use
        for _ in tqdm(range(repeats), desc="rounds", unit="round"):
            for name in order.sample(list(VARIANTS), len(VARIANTS)):
                times[name].append(_fit(VARIANTS[name], blocks))
    return times


def measure_writes(steps: int) -> dict[str, float]:
    """Return what the two ways to write two values cost without any training, in microseconds per step."""

    def two_scalars(writer: SummaryWriter, step: int) -> None:
        writer.add_scalar("lr", 0.1, step)
        writer.add_scalar("loss", 0.5, step)

    def one_event(writer: SummaryWriter, step: int) -> None:
        values = [Summary.Value(tag=tag, simple_value=0.5) for tag in ("lr", "loss")]
        writer._get_file_writer().add_summary(Summary(value=values), step)

    costs = {}
    for name, write in (("two add_scalar calls", two_scalars), ("one packed event", one_event)):
        with TemporaryDirectory() as folder:
            writer = SummaryWriter(folder)
            started = time.perf_counter()
            for step in range(steps):
                write(writer, step)
            writer.close()
            costs[name] = (time.perf_counter() - started) / steps * 1e6
    return costs


def added(times: dict[str, list[Cost]], name: str, *, to: str = BARE) -> list[float]:
    """Return the microseconds per step that a variant added to the bare fit of its round, or to another."""
    return [cost.step_us - base.step_us for cost, base in zip(times[name], times[to], strict=True)]


def share_of_monitor(times: dict[str, list[Cost]], name: str) -> float:
    """Return the median share of a variant's added time in that of LearningRateMonitor and `self.log`."""
    return median(
        mine / theirs for mine, theirs in zip(added(times, name), added(times, MONITOR), strict=True)
    )


def report(times: dict[str, list[Cost]], writes: dict[str, float]) -> str:
    """Return the table and the verdicts."""
    row = "{:<38}{:>14}{:>22}{:>20}{:>18}{:>14}".format
    head = ("us/step added", "(min .. max)", "over empty callback", "share of monitor", "ms at the end")
    lines = [row("variant", *head)]
    for name, costs in times.items():
        if name == BARE:
            continue
        values = added(times, name)
        own = median(added(times, name, to=EMPTY))
        span, share = f"({min(values):.1f} .. {max(values):.1f})", share_of_monitor(times, name)
        end = median(cost.end_ms for cost in costs)
        lines.append(row(name, f"{median(values):.1f}", span, f"{own:.1f}", f"{share:.3f}", f"{end:.0f}"))
    bare, end = median(cost.step_us for cost in times[BARE]), median(cost.end_ms for cost in times[BARE])
    lines.append(f"\nA bare step takes {bare:.0f} us, and the end of its fit {end:.0f} ms.")
    lines += [f"Writing alone, {name}: {cost:.1f} us per step." for name, cost in writes.items()]
    own_decay = median(added(times, DECAY, to=EMPTY))
    lines += [
        _verdict("LRLogger, share of monitor", share_of_monitor(times, LOGGER), MONITOR_SHARE_BOUND),
        _verdict("LRDecay, us/step over an empty callback", own_decay, DECAY_BOUND_US),
    ]
    return "\n".join(lines)


def _verdict(name: str, value: float, bound: float) -> str:
    return f"{'REACHED' if value <= bound else 'MISSED'}: {name} {value:.3g}, bound {bound:.3g}"


def _decay() -> LRDecay:
    return LRDecay(Linear(), interval="step")


def _fit(variant: Variant, blocks: int) -> Cost:
    batches = Batches(blocks)
    with TemporaryDirectory() as folder:
        trainer = Trainer(
            accelerator="cpu",
            max_epochs=1,
            logger=TensorBoardLogger(folder),
            log_every_n_steps=variant.log_every_n_steps,
            callbacks=variant.callbacks(),
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=False,
            num_sanity_val_steps=0,
        )
        gc.collect()
        # One validation, when the epoch has ended, in every variant.
        trainer.fit(variant.module(), batches, [torch.ones(8, 4)])
        tail = batches.clock() - batches.marks[-1]
    block = median(end - start for start, end in pairwise(batches.marks))
    return Cost(block / BLOCK_STEPS * 1e6, tail * 1e3)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence Lightning's greetings, and keep other threads out of the measurement."""
    logger = logging.getLogger("lightning.pytorch")
    level, threads = logger.level, torch.get_num_threads()
    logger.setLevel(logging.WARNING)
    torch.set_num_threads(1)
    try:
        yield
    finally:
        logger.setLevel(level)
        torch.set_num_threads(threads)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Cost of the callbacks on a training step.")
    parser.add_argument("--steps", type=int, default=2000, help="steps measured in each fit")
    parser.add_argument("--repeats", type=int, default=7, help="rounds; each fits every variant once")
    parser.add_argument("--groups", type=int, default=1, help="parameter groups of the optimizer")
    parser.add_argument(
        "--cpu",
        action="store_true",
        help="CPU time of the process, writing threads included, in place of wall time: for a busy machine",
    )
    arguments = parser.parse_args()
    Regressor.groups = arguments.groups
    if arguments.cpu:
        Batches.clock = staticmethod(time.process_time)
    times = measure(arguments.steps, arguments.repeats)
    print(report(times, measure_writes(arguments.steps)))


if __name__ == "__main__":
    main()
