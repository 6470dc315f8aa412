"""The examples, run as the README says, in a directory of their own."""

import csv
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from helpers import apart
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

EXAMPLES = Path(__file__).parents[2] / "examples"
IMAGES = 1797
VAL_FRACTION = 0.2  # the default of DigitsData
NUMBER = r"[\d.]+(?:e-?\d+)?"


@pytest.fixture
def directory(tmp_path):
    shutil.copytree(EXAMPLES, tmp_path / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def in_python(*command, cwd):
    """Run a script in an interpreter of its own."""
    run = subprocess.run(
        [sys.executable, *command],
        cwd=cwd,
        env=os.environ | {"COLUMNS": "100"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    # Lightning prints a warning as the file it comes from, the line and the message.
    assert not re.findall(r".*\.py:\d+: .*", run.stderr)
    return run


def digits(directory, *arguments, config="examples/digits.yaml"):
    """Run the example and return what it left: return code, stdout, stderr."""
    command = ["fit", "--config", config, *arguments]
    script = directory / "examples/digits.py"
    return apart.run(script, *command, cwd=directory, env={"COLUMNS": "100"}, limit=300)


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


def found_lr(text, pattern):
    """Return the LR that a range test has found, by a pattern with `SPAN` for the numbers."""
    numbers = rf"({NUMBER}) \(({NUMBER}) to ({NUMBER})\)"
    [(lr, low, high)] = re.findall(pattern.replace("SPAN", numbers), text)
    # The ends are rounded to two digits.
    assert 0.95 * float(low) <= float(lr) <= 1.05 * float(high)
    return float(lr)


def test_digits_learns_and_says_which_lr_it_found_and_what_was_best(directory):
    config = yaml.safe_load((directory / "examples/digits.yaml").read_text())
    epochs = config["trainer"]["max_epochs"]
    per_epoch, steps = expected_steps(config)

    run = in_python("examples/digits.py", "fit", "--config", "examples/digits.yaml", cwd=directory)

    assert run.returncode == 0, run.stderr
    curves = points(directory)
    lrs = [lr for _, lr in curves["LR/AdamW"]]
    base = found_lr(run.stderr, r"LRRangeTest: LR 0\.003 -> SPAN\.\n")
    assert base != config["model"]["optimizer"]["init_args"]["lr"]
    *_, last = run.stderr.splitlines()
    best, made = re.fullmatch(
        rf".*LRLogger: best validation loss ({NUMBER}) after step (\d+) of {steps}, LR {NUMBER}\."
        r" Logs: logs/digits/version_0",
        last,
    ).groups()
    assert (int(made) - 1, float(best)) == min(
        ((x, float(f"{y:.3g}")) for x, y in curves["Loss/val"]), key=lambda point: point[1]
    )
    assert curves["val_acc"][-1][1] >= 0.97

    every_step = list(range(steps))
    ends = [epoch * per_epoch - 1 for epoch in range(1, epochs + 1)]
    assert [x for x, _ in curves["LR/AdamW"]] == every_step
    assert [x for x, _ in curves["Loss/train"]] == every_step
    # The test has left its curve and not one step more in the others.
    assert len(curves["range_test/lr"]) == len(curves["range_test/loss"]) >= 100
    for tag in ("Loss/train_epoch", "Loss/val", "val_acc"):
        assert [x for x, _ in curves[tag]] == ends, tag
    assert all(math.isfinite(y) for curve in curves.values() for _, y in curve)
    batch = config["data"]["batch_size"]
    train_images = IMAGES - math.ceil(VAL_FRACTION * IMAGES)
    sizes = [batch] * (per_epoch - 1) + [train_images - batch * (per_epoch - 1)]
    losses = [y for _, y in curves["Loss/train"]]
    means = [
        sum(size * loss for size, loss in zip(sizes, losses[end + 1 - per_epoch :], strict=False))
        / train_images
        for end in ends
    ]
    assert [y for _, y in curves["Loss/train_epoch"]] == pytest.approx(means, rel=1e-4)
    assert lrs[0] == 0
    # The ramp ends between two steps, and the line has three digits.
    assert max(lrs) == pytest.approx(base, rel=6e-3)


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
    base = found_lr(run.stderr, r"LRRangeTest: LR 0\.05 -> SPAN\.")
    assert f"after step {per_epoch} of {per_epoch}, LR {base:.3g}. Logs: elsewhere/digits/" in run.stderr
    assert not (directory / "logs").exists()


@pytest.mark.parametrize(
    ("old", "new", "returncode", "message"),
    [
        ("interval: step", "intervall: step", 2, "'intervall' is not accepted"),
        ("end: 0.01", "end: 1.5", 1, "`Cosine(end=...)` must be in [0, 1], got 1.5."),
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


@pytest.mark.parametrize("arguments", [[], ["elsewhere.png"]], ids=["default", "path"])
def test_range_test_shows_the_curve_and_trains_nothing(directory, arguments):
    figure = directory / (arguments[0] if arguments else "range_test.png")

    if arguments:
        run = apart.run(directory / "examples/range_test.py", *arguments, cwd=directory, limit=300)
    else:
        run = in_python("examples/range_test.py", cwd=directory)

    assert run.returncode == 0, run.stderr
    assert not re.findall(r".*\.py:\d+: .*", run.stderr)
    lines = run.stdout.strip().splitlines()
    lr = found_lr(lines[-9], r"^LR SPAN by Basin\. The loss fell from ")
    reason = lines[-9].partition(" by Basin. ")[2]
    assert lines[-8] == "What every rule says:"
    rules = {name: (value, says) for name, value, says in (line.split(maxsplit=2) for line in lines[-7:-1])}
    assert list(rules) == ["Basin", "GiveBack", "MidDescent", "Steepest", "Valley", "MinimumOver"]
    # The run has no warm-up, so half and a quarter of what the curve shows were tried, and may be better.
    read, why = rules["Basin"]
    better = re.search("(half|a quarter) of it does better", reason)
    halvings = 0 if better is None else ("half", "a quarter").index(better[1]) + 1
    assert lr == pytest.approx(float(read) / 2**halvings, rel=0.01)
    assert reason.startswith(why)
    for value, says in rules.values():
        assert value == "none" or float(value) > 0
        assert says.endswith(".")
    curve = figure.with_suffix(".csv")
    assert lines[-1] == f"The figure is in {figure.name}, the curve in {curve.name}."
    assert figure.read_bytes().startswith(b"\x89PNG\r\n")
    with curve.open(newline="") as file:
        rows = list(csv.DictReader(file))
    lrs = [float(row["lr"]) for row in rows]
    assert len(rows) >= 50
    assert lrs == sorted(lrs)
    assert lrs[0] < lr < lrs[-1]
    # The loss of a classifier of ten digits that has learnt nothing.
    assert float(rows[0]["loss"]) == pytest.approx(math.log(10), abs=0.5)
    left = {path.name for path in directory.iterdir()}
    assert left == {"examples", figure.name, curve.name}
