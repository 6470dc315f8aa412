"""What LRRangeTest costs: `python tests/benchmarks/cost/range_test.py [--steps N --rounds R]`.

Time. A fit is timed in two parts that make the same number of optimizer steps over the same loader: all that
LRRangeTest does in `on_train_start` (the copy, a loader of its own, the steps, reading every loss, the rule,
putting everything back, the line in the console; no figure, for there is no logger), and the training loop
that follows, to the end of its last batch. Lightning's finder is timed from its `save_checkpoint` to its
suggestion, without the start of the Trainer. Every round does all of them in random order, and ratios are of
one round, so that what else the machine does meets all alike. `--cpu-time` is for a machine that is busy with
other things: everything runs in one thread, so it leaves out no more than waiting.

Memory. Torch's profiler counts every allocation of tensor memory from before the model is built, to the byte.
What a test adds is the peak of a fit with it minus the peak of the same fit without.
"""

import argparse
import gc
import io
import json
import logging
import random
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stderr
from itertools import accumulate, pairwise
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import NamedTuple
from unittest.mock import patch

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import LearningRateFinder
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from lightning.pytorch.tuner import Tuner
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.profiler import ProfilerActivity, profile
from torch.utils.data import DataLoader, TensorDataset
from tqdm import tqdm

from lightning_lr import LRRangeTest
from lightning_lr.finders.range_test import dry_ramp

Clock = Callable[[], float]

# The same for both finders, and low enough that neither test ends early.
MIN_LR, MAX_LR = 1e-6, 1e-3
TIME_BOUND = 1.1
MEMORY_STEPS = 5


class Model(NamedTuple):
    """Widths of the layers of a network, and the size of its batches."""

    widths: tuple[int, ...]
    batch_size: int


MODELS = {
    "small (5 k parameters)": Model((32, 64, 32, 10), batch_size=32),
    "mid-size (10 M parameters)": Model((1024, 2048, 2048, 1536, 10), batch_size=64),
}


class Classifier(LightningModule):
    """Linear layers with BatchNorm, so that there are buffers."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers += [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU()]
        self.network = nn.Sequential(*layers[:-2])

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        images, labels = batch
        return nn.functional.cross_entropy(self.network(images), labels)

    def configure_optimizers(self) -> Optimizer:
        return AdamW(self.parameters(), lr=1e-4)


class Round(NamedTuple):
    """Seconds, all of one round."""

    plain: float
    test: float
    finder: float
    copy: float

    @property
    def test_share(self) -> float:
        """The test without one copy of the state, in plain training."""
        return (self.test - self.copy) / self.plain


class Peak(NamedTuple):
    """Tensor memory of fits with and without a test, in bytes."""

    without: int
    with_test: int
    bound: int
    gradients: int

    @property
    def added(self) -> int:
        return self.with_test - self.without


class Mark(Callback):
    """Notes when training starts, and when its last batch is over."""

    def __init__(self, steps: int, clock: Clock) -> None:
        self.steps = steps
        self.clock = clock
        self.started = self.ended = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.started = self.clock()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        if batch_idx == self.steps - 1:
            self.ended = self.clock()


def measure(
    steps: int,
    rounds: int,
    *,
    models: Iterable[str] = tuple(MODELS),
    clock: Clock = time.perf_counter,
    seed: int = 0,
) -> dict[str, list[Round]]:
    """Return the times of every model, one of each per round.

    Args:
        steps: Optimizer steps of the test, of the finder and of the plain training, at least 12.
        rounds: How often to measure.
        models: Which of `MODELS`.
        clock: What is read, in seconds.
        seed: Decides the order within the rounds.
    """
    order = random.Random(seed)
    found: dict[str, list[Round]] = {name: [] for name in models}
    with _quiet():
        for name in found:
            _round(MODELS[name], 12, order, clock)  # whatever is loaded at first use
        for _ in tqdm(range(rounds), desc="rounds", unit="round"):
            for name in order.sample(list(found), len(found)):
                found[name].append(_round(MODELS[name], steps, order, clock))
    return found


def measure_report(steps: int) -> float:
    """Return the seconds that a TensorBoardLogger adds to a test, with what is imported for it."""
    small = next(iter(MODELS.values()))
    with _quiet(), TemporaryDirectory() as folder:
        without, _ = _test_and_plain(small, steps, time.perf_counter)
        with_logger, _ = _test_and_plain(small, steps, time.perf_counter, logger=TensorBoardLogger(folder))
    return with_logger - without


def measure_memory(model: Model) -> dict[int, Peak]:
    """Return the peaks by the epoch at whose start a test runs: 0, and 1, where there is optimizer state."""
    peaks = {}
    for milestone in (0, 1):
        gc.collect()
        without, sizes = _peak_bytes(model, [])
        gc.collect()
        with_test, _ = _peak_bytes(model, [_range_test(MEMORY_STEPS, milestones=(milestone,))])
        bound = sizes["module"] + (sizes["optimizer"] if milestone else 0)
        peaks[milestone] = Peak(without, with_test, bound, sizes["gradients"])
    return peaks


def report(
    times: dict[str, list[Round]], report_seconds: float, memory: dict[int, Peak], *, steps: int
) -> str:
    """Return the tables and the verdicts."""
    row = "{:<28}{:>15}{:>12}{:>26}{:>26}".format
    lines = [row("model", "plain us/step", "copy ms", "LRRangeTest / plain", "lr_find / plain")]
    for name, rounds in times.items():
        plain, copy = (median(values) for values in zip(*[(r.plain, r.copy) for r in rounds], strict=True))
        test = _span([each.test / each.plain for each in rounds])
        finder = _span([each.finder / each.plain for each in rounds])
        lines.append(row(name, f"{plain / steps * 1e6:.0f}", f"{copy * 1e3:.2f}", test, finder))
    lines.append(
        f"Text and figure for TensorBoard take {report_seconds:.2f} s more, once, with what they import.\n"
    )
    row = "{:<28}{:>15}{:>15}{:>15}{:>15}{:>15}".format
    lines.append(row("test at the start of", "without, MB", "with it, MB", "added", "bound", "gradients"))
    for milestone, peak in memory.items():
        sizes = (peak.without, peak.with_test, peak.added, peak.bound, peak.gradients)
        lines.append(row(f"epoch {milestone}", *[f"{size / 1e6:.1f}" for size in sizes]))
    lines += [
        _verdict(f"{name}, (test - copy) / plain", median(each.test_share for each in rounds), TIME_BOUND)
        for name, rounds in times.items()
    ]
    lines += [
        # The losses, LRs and random states are a few KB; pages and counters of torch another few.
        _verdict(f"epoch {milestone}, memory added / state", peak.added / peak.bound, 1.001)
        for milestone, peak in memory.items()
    ]
    return "\n".join(lines)


def _span(ratios: list[float]) -> str:
    return f"{median(ratios):.3f} ({min(ratios):.3f} .. {max(ratios):.3f})"


def _verdict(name: str, value: float, bound: float) -> str:
    return f"{'REACHED' if value <= bound else 'MISSED'}: {name} {value:.4g}, bound {bound:.4g}"


def _round(model: Model, steps: int, order: random.Random, clock: Clock) -> Round:
    seconds: dict[str, float] = {}

    def fit() -> None:
        seconds["test"], seconds["plain"] = _test_and_plain(model, steps, clock)

    def find() -> None:
        seconds["finder"] = _finder(model, steps, clock)

    def copy() -> None:
        seconds["copy"] = _copy(model, clock)

    tasks: list[Callable[[], None]] = [fit, find, copy]
    for task in order.sample(tasks, len(tasks)):
        gc.collect()
        task()
    return Round(**seconds)


def _test_and_plain(
    model: Model, steps: int, clock: Clock, *, logger: Logger | None = None
) -> tuple[float, float]:
    before, test, after = Mark(steps, clock), _range_test(steps), Mark(steps, clock)
    # A second, longer ramp would be another cost.
    with patch.object(dry_ramp, "is_noisy", return_value=False):
        make_trainer([before, test, after], logger=logger).fit(
            Classifier(model.widths), make_loader(model, steps)
        )
    if test.curve is None or len(test.curve.losses) != steps - 1:
        raise RuntimeError(f"The test did not make {steps} steps: {test.suggestion!r}.")
    return after.started - before.started, after.ended - after.started


def _range_test(steps: int, *, milestones: tuple[int, ...] = (0,)) -> LRRangeTest:
    # A loss shows what the update before it did, hence n LRs take n + 1 steps.
    return LRRangeTest(steps - 1, min_lr=MIN_LR, max_lr=MAX_LR, apply=False, milestones=milestones)


def _finder(model: Model, steps: int, clock: Clock) -> float:
    seconds: list[float] = []
    lr_find = LearningRateFinder.lr_find

    def timed(self: LearningRateFinder, trainer: Trainer, pl_module: LightningModule) -> None:
        started = clock()
        try:
            lr_find(self, trainer, pl_module)
        finally:  # it ends with an exception, which ends the fit
            seconds.append(clock() - started)

    # Its bar cannot be turned off.
    with (
        TemporaryDirectory() as folder,
        redirect_stderr(io.StringIO()),
        patch.object(LearningRateFinder, "lr_find", timed),
    ):
        found = Tuner(make_trainer([], folder=folder)).lr_find(
            Classifier(model.widths),
            make_loader(model, steps),
            min_lr=MIN_LR,
            max_lr=MAX_LR,
            num_training=steps,
            early_stop_threshold=None,
            update_attr=False,
        )
    if found is None or len(found.results["loss"]) != steps:
        raise RuntimeError(f"Lightning's finder did not make {steps} steps.")
    return seconds[0]


def _copy(model: Model, clock: Clock) -> float:
    module = Classifier(model.widths)
    started = clock()
    copies = [tensor.detach().clone() for tensor in [*module.parameters(), *module.buffers()]]
    seconds = clock() - started
    del copies
    return seconds


def _peak_bytes(model: Model, callbacks: list[Callback]) -> tuple[int, dict[str, int]]:
    with _quiet():
        loader = make_loader(model, MEMORY_STEPS)
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
            module = Classifier(model.widths)
            trainer = make_trainer(callbacks, epochs=2)
            trainer.fit(module, loader)
        states = trainer.optimizers[0].state.values()
    sizes = {
        "module": _bytes([*module.parameters(), *module.buffers()]),
        "optimizer": _bytes(value for state in states for value in state.values()),
        "gradients": _bytes(
            parameter.grad for parameter in module.parameters() if parameter.grad is not None
        ),
    }
    with TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(path))
        events = json.loads(path.read_text())["traceEvents"]
    changes = sorted((event["ts"], event["args"]["Bytes"]) for event in events if event["name"] == "[memory]")
    # Not the profiler's own total, which still counts what an earlier profile saw and this one did not.
    return max(accumulate(change for _, change in changes)), sizes


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)


def make_loader(model: Model, steps: int) -> DataLoader[tuple[Tensor, ...]]:
    generator = torch.Generator().manual_seed(0)
    count = steps * model.batch_size
    inputs = torch.randn(count, model.widths[0], generator=generator)
    labels = torch.randint(model.widths[-1], (count,), generator=generator)
    return DataLoader(TensorDataset(inputs, labels), model.batch_size, shuffle=True)


def make_trainer(
    callbacks: list[Callback], *, epochs: int = 1, logger: Logger | None = None, folder: str | None = None
) -> Trainer:
    return Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        callbacks=callbacks,
        logger=logger or False,
        default_root_dir=folder,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence Lightning's greetings and ours, and keep other threads out of the measurement."""
    loggers = [
        logging.getLogger(name) for name in ("lightning.pytorch", "lightning.pytorch.utilities.rank_zero")
    ]
    levels, threads = [logger.level for logger in loggers], torch.get_num_threads()
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    torch.set_num_threads(1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        torch.set_num_threads(threads)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Time and memory of the LR range test.")
    parser.add_argument("--steps", type=int, default=100, help="steps of the test, and plain ones beside it")
    parser.add_argument("--rounds", type=int, default=7, help="how often everything is measured")
    parser.add_argument("--cpu-time", action="store_true", help="leave out what other processes take")
    arguments = parser.parse_args()
    clock = time.process_time if arguments.cpu_time else time.perf_counter
    report_seconds = measure_report(arguments.steps)
    memory = measure_memory(list(MODELS.values())[-1])
    times = measure(arguments.steps, arguments.rounds, clock=clock)
    print(report(times, report_seconds, memory, steps=arguments.steps))


if __name__ == "__main__":
    main()
