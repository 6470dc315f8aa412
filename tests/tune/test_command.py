"""`python -m lightning_lr.tune` as it is typed."""

import re
import runpy
import shutil
import socket
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import optuna
import pytest
from helpers.apart import Done, run, started
from helpers.studies import FAKED
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_lr.tune.workers import session

ROOT = Path(__file__).parents[2]
LIMIT = 240  # seconds


main = runpy.run_module("lightning_lr.tune.__main__", run_name="tune")["main"]


@pytest.fixture
def tune(capsys, monkeypatch):
    """The command in this process, in a folder."""

    def call(folder, *arguments):
        monkeypatch.chdir(folder)
        with pytest.raises(SystemExit) as ended:
            main(list(map(str, arguments)))
        return Done(ended.value.code, *capsys.readouterr())

    return call


def test_a_study_from_the_look_to_the_lr(tune, tmp_path):
    (tmp_path / "run.yaml").write_text("model: {lr: 0.0078125}  # mine\n")
    options = ["--trials=3", "--workers=2", "--apply=run.yaml"]
    done = tune(tmp_path, *options, FAKED, "epochs=2")

    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    # 64x around what LRRangeTest has found.
    assert (
        said[0] == "LRRangeTest finds 0.0625; the optimizer's own is 0.00781. Tuning between 0.00098 and 4."
    )
    table = said[2:6]
    assert table[0].split() == ["LR", "loss/val", "state", "time"]
    assert [line.split()[0] for line in table[1:]] == ["0.00781", "0.0625", "1"]
    assert table[2].endswith("best, LRRangeTest")
    assert "Best LR: 0.0625, loss/val 1 (trial" in done.stdout
    train = "To train with it: python -m lightning_lr.tune --lr 0.0625 "
    assert f"{train}{FAKED} epochs=2" in said
    assert "With it in model.lr: run.tuned.yaml" in said
    assert (tmp_path / "run.tuned.yaml").read_text() == "model: {lr: 0.0625}  # mine\n"
    assert "All trials in a browser: optuna-dashboard sqlite:///lightning_logs/tune.db" in said

    folder = tmp_path / "lightning_logs/faked_fit-lr"
    assert (folder / "loss_over_lr.png").read_bytes().startswith(b"\x89PNG")
    events = EventAccumulator(str(folder / "trial_0000")).Reload()
    assert len(events.Scalars("tune/loss/val")) == 2
    assert "_hparams_/session_start_info" in events.PluginTagToContent("hparams")
    assert (folder / "trial_0002").is_dir()
    assert EventAccumulator(str(folder)).Reload().Tags()["images"] == ["tune"]

    # Once more with more trials: the fit is not looked at again, and the study goes on.
    more = tune(tmp_path, "--trials=4", FAKED, "epochs=2")
    assert "Looking at the fit" not in more.stderr
    assert len(re.findall(r" complete ", more.stdout)) == 4


def test_a_study_judged_by_the_training_loss(tune, tmp_path):
    done = tune(tmp_path, "--trials=1", FAKED, "monitor=loss/train")

    assert (
        "This fit validates nothing, so LRs are judged by the training loss: its mean over the" in done.stdout
    )
    assert "Best LR: 0.0625, loss/train 1 (trial" in done.stdout


class RefusedError(Exception):
    """What the driver raises."""


def refused(**options):
    """Stand for the `connect` of a driver, with a port at which nobody listens."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
    try:
        socket.create_connection(("127.0.0.1", port), timeout=options["connect_timeout"])
    except OSError as error:
        raise RefusedError(2003, str(error)) from error


def test_a_database_server_that_refuses(tune, tmp_path, monkeypatch):
    """In seconds: for a host that does not answer, drivers would wait for minutes."""
    names = ["Error", "OperationalError", "ProgrammingError", "InterfaceError", "InternalError"]
    driver = SimpleNamespace(paramstyle="pyformat", connect=refused, **dict.fromkeys(names, RefusedError))
    monkeypatch.setitem(sys.modules, "pymysql", driver)
    begin = time.monotonic()
    done = tune(tmp_path, "--storage=mysql+pymysql://me:hunter2@127.0.0.1/optuna", FAKED)

    assert done.returncode == 1
    assert "The storage mysql+pymysql://me:***@127.0.0.1/optuna cannot be opened: " in done.stderr
    assert "Connection refused" in done.stderr
    assert "the server must be up" in done.stderr
    assert "Traceback" not in done.stderr
    assert time.monotonic() - begin < 30


@pytest.mark.parametrize(("options", "is_so"), [([], False), (["--prune"], True), (["--no-prune"], False)])
def test_the_gp_sampler_prunes_only_when_told_to(tune, tmp_path, monkeypatch, options, is_so):
    jobs = []
    monkeypatch.setattr(session, "Job", lambda **values: jobs.append(values) or sys.exit(0))
    tune(tmp_path, "--sampler=gp", *options, FAKED)

    assert [job["prunes"] for job in jobs] == [is_so]


OTHERS = {
    "range": (["--low=0.001"], [], "was created with --low 0.000976"),
    "seed": (["--seed=1"], [], "was created with --seed 0: its trials could not be compared"),
    "monitor": (["--monitor=val_acc", "--mode=max"], [], "was created with --monitor loss/val --mode min:"),
    "command": ([], ["seconds=0"], "was created for another command: `"),
}


@pytest.fixture(scope="module")
def studied(tmp_path_factory):
    """A folder with a study, as the command has made it; it is not gone on with."""
    folder = tmp_path_factory.mktemp("studied")
    assert run("lightning_lr.tune", "--trials=1", FAKED, cwd=folder, limit=60).returncode == 0
    return folder


@pytest.mark.parametrize("name", OTHERS)
def test_a_worker_that_cannot_be_compared_is_refused(tune, studied, name):
    options, fit, message = OTHERS[name]
    done = tune(studied, "--trials=2", *options, FAKED, *fit)

    assert done.returncode == 1
    assert message in done.stderr
    assert "another --study" in done.stderr


FAULTS = {
    "no script": ([], ["nowhere.py", "fit"], "There is no file `nowhere.py`."),
    "no config": ([], ["--config", "nowhere.yaml"], "There is no file `nowhere.yaml`."),
    "no fit": ([], [FAKED, "quits=yes"], "The script ended without calling `Trainer.fit`."),
    "no folder": (["--storage=sqlite:///no/such/study.db"], [FAKED], "unable to open database file"),
    "no server": (
        ["--storage=postgresql+nosuchdriver://me:hunter2@localhost/optuna"],
        [FAKED],
        "The storage postgresql+nosuchdriver://me:***@localhost/optuna cannot be opened: ",
    ),
    "no URL": (["--storage=study.db"], [FAKED], "--storage takes an SQLAlchemy URL"),
    "no driver": (
        ["--storage=postgresql+psycopg://127.0.0.1:1/optuna"],
        [FAKED],
        "The storage postgresql+psycopg://127.0.0.1:1/optuna cannot be opened: ",
    ),
    "read-only": (["--storage=sqlite:///file:made.db?mode=ro&uri=true"], [FAKED], "readonly database"),
    "no place for a journal": (["--storage=/proc/self/x.journal"], [FAKED], "/proc/self/x.journal"),
    "no place for logs": (["--logs=/proc/self/logs"], [FAKED], "The folder of --logs cannot be made: "),
    "no folder of a journal": (["--storage=no/such.journal"], [FAKED], "there is no folder `no`"),
    "range beside the fit": (["--low=100"], [FAKED], "The range would be 100 to 4, around the LR 0.0625"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_is_wrong_is_said_before_the_first_trial(tune, tmp_path, name, monkeypatch):
    options, command, message = FAULTS[name]
    monkeypatch.setitem(sys.modules, "psycopg", None)
    optuna.storages.RDBStorage(f"sqlite:///{tmp_path}/made.db")
    done = tune(tmp_path, *options, *command)

    assert done.returncode == 1
    assert "python -m lightning_lr.tune: " in done.stderr
    assert message in done.stderr
    assert "hunter2" not in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("lightning_logs/*/trial*"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Give the script that trains"),
        (["--trials=0", "train.py"], "argument --trials: must be at least 1, got 0."),
        (["--workers", "0", "train.py"], "argument --workers: must be at least 1, got 0."),
        (["--low=nan", "train.py"], "argument --low: must be in (0, inf), got nan."),
        (["--high=inf", "train.py"], "argument --high: must be in (0, inf), got inf."),
        (["--low=1", "--high=0.1", "train.py"], "--low must be below --high, got 1 and 0.1."),
        (["--seed=-1", "train.py"], "argument --seed: must be in [0, 2**32 - 1], got -1."),
        (["--monitor=val_acc", "train.py"], "Give --mode min or --mode max"),
        (["--apply=no.yaml", "train.py"], "There is no file `no.yaml` for --apply."),
        (["--heartbeat=0", "train.py"], "argument --heartbeat: must be in (0, inf), got 0."),
    ],
)
def test_options_that_are_wrong(tune, tmp_path, arguments, message):
    done = tune(tmp_path, *arguments)

    assert done.returncode == 2
    assert message in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_fit_that_fails_ends_with_its_own_error(tune, tmp_path):
    done = tune(tmp_path, FAKED, "fails=yes")

    assert done.returncode == 1
    assert "so it goes\nValueError: broken\n" in done.stderr
    assert done.stderr.endswith("The command has failed twice in this way, so tuning ends.\n")


def test_a_training_with_an_lr(tmp_path):
    (tmp_path / "train.py").write_text(
        "import json, os, sys\nprint(json.loads(os.environ['LIGHTNING_LR_TRIAL'])['lr'], sys.argv[1:])\n"
    )
    # The process becomes the training.
    arguments = ["--lr=0.25", "--epochs=3", "train.py", "--lr", "7"]
    done = run("lightning_lr.tune", *arguments, cwd=tmp_path, limit=60)

    assert done.stdout == "0.25 ['--lr', '7']\n"
    assert not (tmp_path / "lightning_logs").exists()


def test_without_optuna(tune, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    done = tune(tmp_path, "train.py")

    assert done.returncode == 1
    assert done.stderr == (
        "lightning_lr.tune needs Optuna, which is not installed: `pip install 'lightning-lr[search]'`.\n"
    )


def test_the_digits_example(tmp_path):
    """With real processes, and a training with the LR that was found."""
    shutil.copytree(
        ROOT / "examples", tmp_path / "examples", ignore=shutil.ignore_patterns("*.png", "__pycache__")
    )
    command = ["examples/digits.py", "fit", "--config", "examples/digits.yaml"]
    with started(
        "lightning_lr.tune", "--trials=2", "--epochs=1", "--apply=examples/digits.yaml", *command,
        cwd=tmp_path, limit=LIMIT,
    ) as worker:  # fmt: skip
        done = worker.finish()

    assert done.returncode == 0, done.stderr
    assert re.search(r"best, LRRangeTest", done.stdout)
    assert "the optimizer's own" in done.stdout
    [best] = re.findall(r"Best LR: (\S+),", done.stdout)
    assert "Take LRRangeTest or LRSearch out of its callbacks" in done.stdout
    [applied] = re.findall(r" lr: (\S+)", (tmp_path / "examples/digits.tuned.yaml").read_text())
    assert float(applied) == pytest.approx(float(best), rel=0.01)
    # Its curves, and the fit's own, each in a folder of its own.
    assert (tmp_path / "logs/digits/digits-lr/trial_0001/decisions.jsonl").exists()
    assert not (tmp_path / "logs/digits/version_0").exists()
