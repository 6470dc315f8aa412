"""The search with Optuna: workers that share one study, pruned and killed trials, bad input."""

import argparse
import importlib
import math
import shlex
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import optuna
import pytest
from helpers.apart import started
from optuna.trial import TrialState, create_trial
from sqlalchemy.exc import IntegrityError, OperationalError
from tqdm import tqdm

EXAMPLES = Path(__file__).parents[2] / "examples"
STUDY = "digits-lr"
PATIENCE = 240  # seconds
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")


@pytest.fixture
def search(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    return importlib.import_module("search_optuna")


def finish(worker):
    """Wait for a worker to succeed and return its lines."""
    done = worker.finish()
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def worker_in(directory, *arguments):
    """Start a worker, which ends with the block if it has not before."""
    return started(EXAMPLES / "search_optuna.py", *arguments, cwd=directory, limit=PATIENCE)


def run(directory, *arguments):
    with worker_in(directory, *arguments) as worker:
        return finish(worker)


def storage(directory):
    (directory / "logs").mkdir(exist_ok=True)
    return f"sqlite:///{directory / 'logs/search_optuna.db'}"


def trials(directory):
    return optuna.load_study(study_name=STUDY, storage=storage(directory)).trials


def trials_so_far(directory):
    return trials(directory) if STUDY in optuna.get_all_study_names(storage(directory)) else []


def options(**changes):
    defaults = {
        "trials": 3, "epochs": 1, "low": 1e-5, "high": 1.0, "seed": 0, "study_name": STUDY, "heartbeat": 60,
        "logs": Path("logs"), "storage": "sqlite:///study.db",
    }  # fmt: skip
    return argparse.Namespace(**(defaults | changes))


@pytest.fixture
def directory_of_two_workers(tmp_path):
    optuna.storages.get_storage(storage(tmp_path))
    deadline = time.monotonic() + PATIENCE
    with ExitStack() as stack:
        arguments = ["--trials=6", "--epochs=2"]
        first = stack.enter_context(worker_in(tmp_path, *arguments))
        # Forked at one moment, both could take the trial that was put in the queue: SQLite locks no row.
        while not any(trial.state == TrialState.RUNNING for trial in trials_so_far(tmp_path)):
            assert first.is_running, first.finish()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        second = stack.enter_context(worker_in(tmp_path, *arguments))
        return tmp_path, [finish(worker) for worker in (first, second)]


def test_two_workers_share_one_study(directory_of_two_workers):
    directory, outputs = directory_of_two_workers
    found = trials(directory)
    finished = [trial for trial in found if trial.state in FINISHED]

    assert len(finished) == 6
    # One that both took for the last is given back, and nothing else may fail.
    given_back = [trial for trial in found if trial.state not in FINISHED]
    assert all(trial.state == TrialState.FAIL and not trial.params for trial in given_back)
    assert [trial.number for trial in found] == list(range(len(found)))
    assert len({trial.user_attrs["worker"] for trial in finished}) == 2
    assert len({trial.params["lr"] for trial in finished}) == 6
    # Both have looked with LRRangeTest, and its LR is tried once, first.
    assert ["rule" in trial.user_attrs for trial in finished] == [True] + [False] * 5

    complete = [trial for trial in finished if trial.state == TrialState.COMPLETE]
    best = min(complete, key=lambda trial: trial.value)
    for lines in outputs:
        assert (
            f"Best LR: {best.params['lr']:.3g}, validation loss {best.value:.4g} (trial {best.number};"
            f" 6 trials, {6 - len(complete)} of them pruned (0 diverged))"
        ) in lines
        assert f"LRRangeTest's LR: {finished[0].params['lr']:.3g}, validation loss" in "\n".join(lines)
    for trial in complete:
        assert trial.value == trial.intermediate_values[1]
        assert list((directory / f"logs/{STUDY}/trial_{trial.number}").glob("events*"))


def test_the_trial_of_a_killed_worker_is_repeated(tmp_path):
    arguments = ["--trials=3", "--epochs=4", "--heartbeat=1"]
    # The tables, before there are two who would make them: the worker, and this process looking at it.
    optuna.storages.get_storage(storage(tmp_path))
    deadline = time.monotonic() + PATIENCE
    with worker_in(tmp_path, *arguments) as killed:
        while not (trial := caught_in_a_trial(killed, tmp_path)):
            assert killed.is_running, killed.finish()
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert killed.process.exitcode == -signal.SIGKILL

    lines = run(tmp_path, *arguments)

    found = trials(tmp_path)
    assert found[trial.number].state == TrialState.FAIL
    [repeated] = [each for each in found if each.system_attrs.get("failed_trial") == trial.number]
    assert repeated.state in FINISHED
    assert repeated.params == trial.params
    assert len(repeated.intermediate_values) == 4
    assert [each.state in FINISHED for each in found].count(True) == 3
    assert len(found) == 4
    assert any(line.startswith("Best LR: ") for line in lines)


def caught_in_a_trial(worker, directory):
    """Return the trial that a worker is in the midst of, and leave the worker stopped there, or None."""
    if STUDY not in optuna.get_all_study_names(storage(directory)):
        return None
    worker.send_signal(signal.SIGSTOP)
    # It may have been stopped as it writes.
    with suppress(OperationalError):
        for trial in trials(directory):
            if trial.state == TrialState.RUNNING and trial.intermediate_values:
                return trial
    worker.send_signal(signal.SIGCONT)
    return None


def test_bad_and_diverging_lrs_are_pruned(tmp_path):
    high = 1e32
    study = optuna.create_study(study_name=STUDY, storage=storage(tmp_path))
    study.set_user_attr("settings", {"epochs": 6, "low": 1e-9, "high": high, "seed": 0})
    distribution = optuna.distributions.FloatDistribution(1e-9, high, log=True)
    for _ in range(5):
        study.add_trial(
            create_trial(
                value=0.05,
                params={"lr": 1e-3},
                distributions={"lr": distribution},
                intermediate_values=dict.fromkeys(range(6), 0.05),
            )
        )
    study.enqueue_trial({"lr": 1e-8})
    study.enqueue_trial({"lr": 1e30})

    # Once in an interpreter of its own, as users do.
    lines = subprocess.run(
        [
            sys.executable,
            EXAMPLES / "search_optuna.py",
            "--trials=7",
            "--epochs=6",
            "--low=1e-9",
            f"--high={high}",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    ).stdout.splitlines()

    bad, diverged = trials(tmp_path)[5:]
    assert bad.params == {"lr": 1e-8}
    assert bad.state == diverged.state == TrialState.PRUNED
    # Two validations are the pruner's warm-up. A loss that is not finite needs no warm-up.
    assert list(bad.intermediate_values) == [0, 1, 2]
    assert not any(math.isfinite(loss) for loss in diverged.intermediate_values.values())
    assert list(diverged.intermediate_values) == [0]
    assert "diverged" in diverged.user_attrs
    assert "diverged" not in bad.user_attrs
    assert any(line.endswith("7 trials, 2 of them pruned (1 diverged))") for line in lines)


def test_all_diverged(search):
    study = optuna.create_study()
    study.add_trial(create_trial(state=TrialState.PRUNED, user_attrs={"diverged": True}))

    summary = search.summarize(study)

    assert summary.startswith("No best LR: 1 trials, 1 of them pruned (1 diverged). Lower --high")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--low=0.1", "--high=0.1"], "--low must be above 0 and below --high, got 0.1 and 0.1."),
        (["--low=1", "--high=0.1"], "--low must be above 0 and below --high, got 1 and 0.1."),
        (["--low=0"], "--low must be above 0 and below --high, got 0 and 1."),
        (["--low=nan"], "--low must be above 0 and below --high, got nan and 1."),
        (["--high=inf"], "--low must be above 0 and below --high, got 1e-05 and inf."),
        (["--trials=0"], "--trials must be at least 1, got 0."),
        (["--epochs=-1"], "--epochs must be at least 1, got -1."),
        (["--heartbeat=0"], "--heartbeat must be at least 1, got 0."),
        (["--seed=-1"], "--seed must be in [0, 2**32 - 1], got -1."),
    ],
)
def test_bad_options(search, monkeypatch, capsys, arguments, message):
    monkeypatch.setattr(sys, "argv", ["search_optuna.py", *arguments])

    with pytest.raises(SystemExit) as info:
        search.parse_options()

    assert info.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("sqlite:///no/such/folder/study.db", "unable to open database file"),
        ("study.db", "Could not parse SQLAlchemy URL"),
        ("nosuchdatabase://localhost/optuna", "Can't load plugin"),
        ("postgresql+nosuchdriver://me:hunter2@localhost/optuna", "Can't load plugin"),
        ("mysql+pymysql://me:hunter2@localhost:port/optuna", ""),
    ],
)
def test_a_storage_that_cannot_be_opened(search, tmp_path, monkeypatch, url, reason):
    monkeypatch.chdir(tmp_path)

    with pytest.raises(SystemExit) as info:
        search.open_storage(url, heartbeat=60)

    message = info.value.code
    assert message.startswith("The storage ")
    assert "cannot be opened: " in message
    assert reason in message
    assert "--storage takes an SQLAlchemy URL: sqlite:///" in message
    assert "hunter2" not in message


def test_the_command_joins_the_same_study(search, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["search_optuna.py", "--low=0.001", "--study-name=a b", "--trials=7"])
    parsed = search.parse_options()

    python, *arguments = shlex.split(search.command(parsed, trials=7))

    assert python == "python"
    monkeypatch.setattr(sys, "argv", arguments)
    assert search.parse_options() == parsed
    hidden = search.command(options(storage="mysql+pymysql://me:hunter2@host/optuna"), trials=7)
    assert "mysql+pymysql://me:***@host/optuna" in hidden


def test_a_worker_with_other_settings_is_refused(search, tmp_path):
    study = optuna.create_study(study_name=STUDY, storage=storage(tmp_path))
    study.set_user_attr("settings", {"epochs": 2, "low": 1e-5, "high": 1.0, "seed": 0})

    with pytest.raises(SystemExit, match=r"was created with --epochs 2: .*Give the same options, or another"):
        search.open_study(options(epochs=3), optuna.storages.get_storage(storage(tmp_path)))


def test_a_study_of_somebody_else_is_refused(search, monkeypatch, tmp_path):
    optuna.create_study(study_name=STUDY, storage=storage(tmp_path))
    monkeypatch.setattr(search.time, "monotonic", iter([0.0, 11.0]).__next__)

    with pytest.raises(SystemExit, match="is not of this example"):
        search.open_study(options(), optuna.storages.get_storage(storage(tmp_path)))


def test_surplus_trials(search):
    """With a limit of 2, who asks third gives back, until one of the first two has failed."""
    study = optuna.create_study()
    first, second, third = (study.ask() for _ in range(3))

    def surplus(trial):
        return search.is_surplus(trial.number, study.trials, limit=2)

    assert [surplus(trial) for trial in (first, second, third)] == [False, False, True]
    study.tell(second, 1.0)
    assert surplus(third)
    study.tell(first, state=TrialState.FAIL)
    assert not surplus(third)
    assert surplus(study.ask())


def test_a_worker_waits_for_the_last_trial_of_another(search, monkeypatch):
    study = optuna.create_study()
    elsewhere = [study.ask(), study.ask()]
    waits = []

    def sleep(seconds):
        waits.append(seconds)
        study.tell(elsewhere.pop(), 1.0)

    monkeypatch.setattr(search.time, "sleep", sleep)
    monkeypatch.setattr(search, "fit", lambda trial, **_: pytest.fail("took a trial too many"))

    search.work(study, options(trials=2), bar := tqdm(total=2, disable=True))

    assert len(waits) == len(study.trials) == bar.n == 2


def test_tables_that_another_worker_is_making(search, monkeypatch, tmp_path):
    failures = [
        OperationalError("CREATE TABLE studies", {}, Exception("table studies already exists")),
        IntegrityError("INSERT INTO alembic_version", {}, Exception("UNIQUE constraint failed")),
    ]
    make = search.RDBStorage

    def connect(*arguments, **keywords):
        if failures:
            raise failures.pop()
        return make(*arguments, **keywords)

    monkeypatch.setattr(search, "RDBStorage", connect)
    monkeypatch.setattr(search.time, "sleep", lambda seconds: None)

    assert optuna.get_all_study_names(search.open_storage(storage(tmp_path), heartbeat=60)) == []


def test_a_surplus_trial_is_given_back(search):
    study = optuna.create_study()
    study.ask()

    with pytest.raises(search.SurplusTrial):
        search.fit(study.ask(), options=options(trials=1), bar=tqdm(disable=True))


def test_a_worker_given_up_for_dead_says_so(search, monkeypatch, tmp_path):
    study = optuna.create_study(storage=storage(tmp_path))
    trial = study.ask()

    class GivenUpMeanwhile(search.DigitsData):
        def setup(self, stage):
            super().setup(stage)
            study.tell(trial.number, state=TrialState.FAIL)

    monkeypatch.setattr(search, "DigitsData", GivenUpMeanwhile)

    with pytest.raises(SystemExit, match=r"Trial 0 was given to another worker, .* for 120 s"):
        search.fit(trial, options=options(logs=tmp_path), bar=tqdm(disable=True))


def test_an_lr_outside_of_the_bounds_is_not_tried(search, capsys):
    assert search.first_trial(options(low=1e-12, high=1e-11)) is None

    assert "It is not tried, since it is not between --low 1e-12 and --high 1e-11." in capsys.readouterr().out
