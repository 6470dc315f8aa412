"""Workers in processes of their own, as on many machines: one dies, nothing is lost or counted twice."""

import importlib.util
import math
import re
import signal
import time
from contextlib import ExitStack

import optuna
import pytest
from helpers import postgres
from helpers.apart import started
from helpers.studies import FAKED, processes_in
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from lightning_lr.tune.workers.storage import open_storage
from lightning_lr.tune.workers.study import FINISHED

LIMIT = 120  # seconds
STUDY = "faked_fit-lr"

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")


def worker(folder, *options, fit=()):
    options = ["--heartbeat=0.5", "--no-prune", *options]
    return started("lightning_lr.tune", *options, FAKED, *fit, cwd=folder, limit=LIMIT)


def trials(url, name=STUDY):
    storage = open_storage(url)
    try:
        names = optuna.get_all_study_names(storage)
        return optuna.load_study(study_name=name, storage=storage).trials if name in names else []
    finally:
        if isinstance(storage, RDBStorage):
            # A driver warns of connections that are left to the garbage collector.
            storage.remove_session()
            storage.engine.dispose()


def wait_for(url, is_so, *running, name=STUDY):
    deadline = time.monotonic() + LIMIT
    while not is_so(found := trials(url, name)):
        assert all(each.is_running for each in running), [each.finish() for each in running]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def is_under_way(found):
    return any(trial.state == TrialState.RUNNING and trial.intermediate_values for trial in found)


def check(url, count, outputs, name=STUDY):
    """As many trials as were asked for have finished, and every worker says the same best."""
    found = trials(url, name)
    finished = [trial for trial in found if trial.state in FINISHED]
    assert len(finished) == count
    assert len({round(math.log2(trial.params["lr"]), 6) for trial in finished}) == count
    assert all(trial.state == TrialState.FAIL for trial in found if trial not in finished)
    best = min(finished, key=lambda trial: (trial.value, trial.params["lr"]))
    for done in outputs:
        assert done.returncode == 0, done.stderr
        assert (
            f"Best LR: {best.params['lr']:.3g}, loss/val {best.value:.4g} (trial {best.number};"
            in done.stdout
        )
    return found


def kill_one_of(url, folder, count, *, trials_wanted=6):
    """Start workers one after the other, kill the first in the midst of a trial, and check what comes out."""
    options = [f"--trials={trials_wanted}", f"--storage={url}"]
    fit = ["seconds=0.05", "epochs=8"]
    with ExitStack() as stack:
        killed = stack.enter_context(worker(folder, *options, fit=fit))
        wait_for(url, is_under_way, killed)
        others = [stack.enter_context(worker(folder, *options, fit=fit)) for _ in range(count - 1)]
        killed.kill()
        assert killed.process.exitcode == -signal.SIGKILL
        found = check(url, trials_wanted, [each.finish() for each in others])
    # Its own processes have noticed that it died.
    assert processes_in(folder, "faked_fit") == []
    lost = [trial for trial in found if trial.state == TrialState.FAIL and trial.params]
    assert {trial.params["lr"] for trial in lost} <= {
        trial.params["lr"] for trial in found if trial.state in FINISHED
    }
    return found


def test_one_of_two_workers_on_sqlite_is_killed(tmp_path):
    found = kill_one_of(f"sqlite:///{tmp_path}/tune.db", tmp_path, 2, trials_wanted=4)

    assert any(trial.state == TrialState.FAIL for trial in found)


def test_one_of_two_workers_on_a_journal_is_killed(tmp_path):
    kill_one_of(f"{tmp_path}/tune.journal", tmp_path, 2, trials_wanted=4)


@pytest.fixture(scope="module")
def database():
    if postgres.programs() is None or importlib.util.find_spec("psycopg") is None:
        pytest.skip("needs PostgreSQL and psycopg")
    with postgres.server() as (url, restart):
        yield url, restart


def test_one_of_three_workers_on_postgresql_is_killed(database, tmp_path):
    url, _ = database
    kill_one_of(url, tmp_path, 3)


def test_a_database_server_that_is_killed_and_comes_back(database, tmp_path):
    url, restart = database
    with worker(
        tmp_path, "--trials=3", "--study=other", f"--storage={url}", fit=["seconds=0.1", "epochs=5"]
    ) as one:
        wait_for(url, is_under_way, one, name="other")
        restart()
        check(url, 3, [one.finish()], name="other")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_worker_that_is_told_to_stop_ends_cleanly_and_says_how_to_go_on(tmp_path, number, code):
    url = f"sqlite:///{tmp_path}/tune.db"
    options = ["--trials=2", f"--storage={url}"]
    with worker(tmp_path, *options, fit=["seconds=0.1", "epochs=600"]) as stopped:
        wait_for(url, is_under_way, stopped)
        stopped.send_signal(number)
        done = stopped.finish()

    assert done.returncode == code
    assert (
        "Stopped: 0 of 2 trials have finished. To go on: python -m lightning_lr.tune --trials 2"
        in done.stdout
    )
    assert processes_in(tmp_path, "faked_fit") == []
    assert [trial.state for trial in trials(url)] == [TrialState.FAIL]
    assert re.search(r"faked_fit.py seconds=0.1 epochs=600$", done.stdout.strip())


def test_workers_that_start_at_one_moment_make_one_study(tmp_path):
    options = ["--trials=5", f"--storage=sqlite:///{tmp_path}/tune.db"]
    with ExitStack() as stack:
        both = [stack.enter_context(worker(tmp_path, *options, fit=["seconds=0.05"])) for _ in range(2)]
        check(f"sqlite:///{tmp_path}/tune.db", 5, [each.finish() for each in both])


def test_a_trial_whose_worker_is_killed_ends_with_it(tmp_path):
    url = f"sqlite:///{tmp_path}/tune.db"
    with worker(tmp_path, f"--storage={url}", fit=["seconds=0.1", "epochs=600"]) as killed:
        wait_for(url, is_under_way, killed)
        assert processes_in(tmp_path, "faked_fit")
        killed.kill()
    deadline = time.monotonic() + 10
    while processes_in(tmp_path, "faked_fit") and time.monotonic() < deadline:
        time.sleep(0.05)

    assert processes_in(tmp_path, "faked_fit") == []
