"""The plateau example and benchmark, run as their users do."""

import math
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from benchmarks.plateau import end_to_end as benchmark
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

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
    *said, tensorboard = run.stdout.splitlines()
    *actions, end = [line for line in said if re.match(r"Validation \d+: ", line)]
    number = r"([\d.]+)"
    found = [
        re.fullmatch(rf"Validation (\d+): plateau at {number}, LR {number} -> {number}", line).groups()
        for line in actions
    ]
    assert found
    epochs = config["trainer"]["max_epochs"]
    last = re.fullmatch(rf"Validation {epochs}: the end, at {number}", end)[1]
    losses = [*(float(loss) for _, loss, _, _ in found), float(last)]
    # Each reduction is worth more than what the detector says is not worth waiting for.
    assert losses[1] < 0.93 * losses[0]
    assert losses == sorted(losses, reverse=True)
    assert tensorboard == "To see the curves: tensorboard --logdir logs"

    events = EventAccumulator(str(tmp_path / "logs/plateau/version_0"), size_guidance={"scalars": 0}).Reload()
    verdicts = [point.value for point in events.Scalars("plateau/val_loss/verdict")]
    assert len(verdicts) == epochs
    assert [index + 1 for index, code in enumerate(verdicts) if code == 2] == [int(each[0]) for each in found]
    assert len(events.Images("plateau/val_loss")) == 1
    lrs = [point.value for point in events.Scalars("lr/Adam")]
    assert sorted({float(f"{lr:.4g}") for lr in lrs}) == sorted(
        {float(lr) for _, _, old, new in found for lr in (old, new)}
    )


@pytest.mark.filterwarnings("ignore")
def test_the_benchmark_compares_every_method():
    tasks = [replace(task, sizes=(task.sizes[0], 4, task.sizes[-1])) for task in benchmark.TASKS]

    losses = benchmark.measure(tasks, seeds=[0], epochs=2)

    assert list(losses) == [task.name for task in tasks]
    for found in losses.values():
        assert list(found) == list(benchmark.METHODS)
        assert all(math.isfinite(loss) for [loss] in found.values())
        # Nothing has been decided yet after two epochs.
        assert found[benchmark.CONSTANT] == found[benchmark.DETECTOR] == found[benchmark.TORCH]
        assert found[benchmark.CONSTANT] != found[benchmark.LINEAR]
    table = benchmark.report(losses)
    assert all(f"| {method} | " in table for method in benchmark.METHODS)
