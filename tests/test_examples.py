"""The examples, run as the README says, in a directory of their own."""

import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

EXAMPLES = Path(__file__).parents[1] / "examples"
IMAGES = 1797
VAL_FRACTION = 0.2  # the default of DigitsData


@pytest.fixture
def directory(tmp_path):
    shutil.copytree(EXAMPLES, tmp_path / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def digits(directory, *arguments, config="examples/digits.yaml"):
    """Run the example and return what it left: return code, stdout, stderr."""
    command = [sys.executable, "examples/digits.py", "fit", "--config", config, *arguments]
    environment = os.environ | {"COLUMNS": "100"}
    return subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


def edited(directory, old, new):
    """Write the example's config with one text replaced; return its path."""
    text = (directory / "examples/digits.yaml").read_text()
    assert text.count(old) == 1
    (directory / "edited.yaml").write_text(text.replace(old, new))
    return "edited.yaml"


def points(directory, version="version_0"):
    """Return the points of every curve as a list of (x, y)."""
    folder = directory / "logs/digits" / version
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    return {
        tag: [(point.step, point.value) for point in events.Scalars(tag)] for tag in events.Tags()["scalars"]
    }


def expected_steps(config):
    """Return the optimizer steps of one epoch and of the run, from the sizes alone."""
    train_images = IMAGES - math.ceil(VAL_FRACTION * IMAGES)
    per_epoch = math.ceil(train_images / config["data"]["batch_size"])
    return per_epoch, per_epoch * config["trainer"]["max_epochs"]


def test_digits_learns_and_says_with_which_lr(directory):
    config = yaml.safe_load((directory / "examples/digits.yaml").read_text())
    epochs, base = config["trainer"]["max_epochs"], config["model"]["optimizer"]["init_args"]["lr"]
    per_epoch, steps = expected_steps(config)

    run = digits(directory)

    assert run.returncode == 0, run.stderr
    # Lightning prints a warning as the file it comes from, the line and the message.
    assert not re.findall(r".*\.py:\d+: .*", run.stderr)
    curves = points(directory)
    lrs = [lr for _, lr in curves["lr/AdamW"]]
    learning_rate, accuracy, tensorboard = run.stdout.splitlines()[-3:]
    assert learning_rate == (
        f"Learning rate: base {base:.3g}, highest used {max(lrs):.3g}, last used {lrs[-1]:.3g}"
        f" (lr/AdamW, {steps} steps)"
    )
    assert float(re.fullmatch(r"Validation accuracy: ([\d.]+)%", accuracy)[1]) >= 97
    assert tensorboard == "To see the curves: tensorboard --logdir logs"

    every_step = list(range(steps))
    ends = [epoch * per_epoch - 1 for epoch in range(1, epochs + 1)]
    assert [x for x, _ in curves["lr/AdamW"]] == every_step
    assert [x for x, _ in curves["loss/train"]] == every_step
    for tag in ("loss/train_epoch", "loss/val", "val_acc"):
        assert [x for x, _ in curves[tag]] == ends, tag
    assert all(math.isfinite(y) for curve in curves.values() for _, y in curve)
    means = [
        sum(y for _, y in curves["loss/train"][end + 1 - per_epoch : end + 1]) / per_epoch for end in ends
    ]
    # The last batch of an epoch is smaller, so the mean over samples is not quite that over steps.
    assert [y for _, y in curves["loss/train_epoch"]] == pytest.approx(means, rel=0.1)
    assert lrs[0] == 0
    assert max(lrs) == pytest.approx(base, rel=1e-3)  # the ramp ends between two steps


def test_the_command_line_overrides_the_config(directory):
    policy = "--trainer.callbacks.init_args.policy"
    run = digits(
        directory,
        "--trainer.max_epochs=1",
        "--trainer.logger.init_args.save_dir=elsewhere",
        "--trainer.callbacks.init_args.warmup=0.0",
        f"{policy}=lightning_lr.policies.Constant",
        "--model.optimizer=torch.optim.SGD",
        "--model.optimizer.init_args.lr=0.05",
    )

    assert run.returncode == 0, run.stderr
    per_epoch, _ = expected_steps(yaml.safe_load((directory / "examples/digits.yaml").read_text()))
    assert run.stdout.splitlines()[-3] == (
        f"Learning rate: base 0.05, highest used 0.05, last used 0.05 (lr/SGD, {per_epoch} steps)"
    )
    assert run.stdout.splitlines()[-1].endswith("--logdir elsewhere")
    assert not (directory / "logs").exists()


@pytest.mark.parametrize(
    ("old", "new", "returncode", "message"),
    [
        ("interval: step", "intervall: step", 2, "'intervall' is not accepted"),
        ("floor: 0.01", "floor: 1.5", 1, "`Cosine(floor=...)` must be in [0, 1], got 1.5."),
    ],
    ids=["misspelt key", "policy out of range"],
)
def test_a_bad_value_in_yaml_is_named_before_any_step(directory, old, new, returncode, message):
    run = digits(directory, config=edited(directory, old, new))

    assert run.returncode == returncode
    assert message in run.stderr
    assert "Epoch" not in run.stdout
    assert not (directory / "logs").exists()


def test_without_a_logger_the_error_names_the_fix_every_time(directory):
    (directory / "config.yaml").write_text("left over from an earlier run")

    run = digits(directory, "--trainer.logger=false")

    assert run.returncode == 1
    assert run.stderr.splitlines()[-1].endswith(
        "LRLogger has nowhere to write: the Trainer has no logger. Give it one, for example"
        " `Trainer(logger=TensorBoardLogger('logs'))`, or remove LRLogger."
    )
    assert "Epoch" not in run.stdout
