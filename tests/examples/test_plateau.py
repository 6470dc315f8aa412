"""The plateau example and benchmark, run as their users do."""

import math
import os
import re
import shutil
import statistics
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from benchmarks.plateau import end_to_end as benchmark
from benchmarks.plateau import tasks as tasks_of
from benchmarks.plateau import training
from benchmarks.plateau.methods import BASELINE, METHODS, OURS
from lightning.pytorch import LightningModule, Trainer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.data import DataLoader

from lightning_lr import PlateauDetector

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_the_example_hits_a_plateau_that_is_caught_and_left(tmp_path):
    shutil.copytree(EXAMPLES, tmp_path / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    config = yaml.safe_load((tmp_path / "examples/plateau.yaml").read_text())

    run = subprocess.run(
        [sys.executable, "examples/plateau.py", "fit", "--config", "examples/plateau.yaml"],
        cwd=tmp_path,
        env=os.environ | {"COLUMNS": "100"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert run.returncode == 0, run.stderr
    # Lightning prints a warning as the file it comes from, the line and the message.
    assert not re.findall(r".*\.py:\d+: .*", run.stderr)
    number = r"([\d.]+\d)"
    at = r"PlateauDetector: plateau of val_loss at validation (\d+)"
    found = re.findall(rf"{at}: LR {number} -> {number}\.\n", run.stderr)
    assert found
    end = (
        "PlateauDetector: val_loss at validation 65: LR .*, and on to 0 with the 15 validations that are left"
    )
    assert len(re.findall(end, run.stderr)) == 1
    assert re.search(r"LRLogger: best validation loss .* Logs: logs/plateau/version_0\n", run.stderr)
    epochs = config["trainer"]["max_epochs"]

    events = EventAccumulator(str(tmp_path / "logs/plateau/version_0"), size_guidance={"scalars": 0}).Reload()
    verdicts = [point.value for point in events.Scalars("plateau/val_loss/verdict")]
    assert len(verdicts) == epochs
    assert [index + 1 for index, code in enumerate(verdicts[:64]) if code == 2] == [
        int(each[0]) for each in found
    ]
    values = [point.value for point in events.Scalars("Loss/val")]
    levels = [statistics.median(values[int(at) - 5 : int(at)]) for at, *_ in [*found, (epochs,)]]
    # Each reduction is worth more than what the detector says is not worth waiting for.
    assert levels[1] < 0.93 * levels[0]
    assert levels == sorted(levels, reverse=True)
    assert len(events.Images("plateau/val_loss")) == 1
    lrs = [point.value for point in events.Scalars("LR/Adam") if point.step < 64 * 43]
    assert sorted({float(f"{lr:.4g}") for lr in lrs}) == sorted(
        {float(lr) for _, old, new in found for lr in (old, new)}
    )


def test_the_benchmark_compares_every_method():
    tasks = [replace(task, validations=2, steps=2) for task in (tasks_of.TUNED[0], tasks_of.HELD_OUT[-1])]

    found = dict(benchmark.measure(tasks, seeds=1))

    assert list(found) == list(METHODS)
    finals = {name: [run.final for [run] in runs.values()] for name, runs in found.items()}
    assert all(math.isfinite(loss) for each in finals.values() for loss in each)
    # Nothing has been decided yet after two validations, but the end of the run is near.
    assert finals["constant LR"] == finals["ReduceLROnPlateau(5)"] == finals["without the end of the run"]
    assert finals["constant LR"] != finals[BASELINE]
    table = benchmark.report(found)
    assert all(f"| {method} | " in table for method in METHODS)


def test_the_plain_loop_of_the_benchmark_does_what_a_fit_does():
    task = replace(tasks_of.TUNED[2], validations=40)
    data, seed = task.data(0), 0
    order = torch.Generator().manual_seed(seed)
    drawn = torch.empty(0, dtype=torch.long)
    rows = []
    for _ in range(task.validations * task.steps):
        if len(drawn) < task.batch_size:
            drawn = torch.randperm(len(data.inputs), generator=order)
        rows.append(drawn[: task.batch_size])
        drawn = drawn[task.batch_size :]

    class Fitted(LightningModule):
        def __init__(self):
            super().__init__()
            torch.manual_seed(seed)
            self.model = task.model()

        def training_step(self, batch, batch_idx):
            return task.criterion(self.model(batch[0]), batch[1])

        validation_step = training_step

        def configure_optimizers(self):
            return task.optimizer(self.model.parameters(), task.lr)

    batches = [(data.inputs[each], data.targets[each]) for each in rows]
    judge = PlateauDetector()
    trainer = Trainer(
        max_epochs=1,
        val_check_interval=task.steps,
        accelerator="cpu",
        callbacks=[judge],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    validation = [(data.validation_inputs, data.validation_targets)]
    trainer.fit(Fitted(), DataLoader(batches, batch_size=None), DataLoader(validation, batch_size=None))

    run = training.train(task, seed, METHODS[OURS])
    assert run.actions
    assert [record.value for record in judge.records] == pytest.approx(run.values, rel=1e-4)
    assert [record.lr for record in judge.records] == pytest.approx(run.lrs, rel=1e-6)
