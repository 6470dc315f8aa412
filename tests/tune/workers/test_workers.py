"""Workers of one machine, with fits that are faked: what becomes of each trial."""

import math
import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from helpers.studies import run, workers
from optuna.trial import TrialState

from lightning_lr.tune.workers.study import FINISHED, results_of
from lightning_lr.tune.workers.worker import ScriptFailed

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")


def octaves(trials):
    return [round(math.log2(trial.params["lr"]), 3) for trial in trials]


def is_alive(pid):
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        # One that has ended and that nobody has waited for is still there.
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return False


def test_one_worker_from_coarse_to_fine(tmp_path):
    made = workers(tmp_path, limit=6, first={"LRRangeTest": 2.0**-4})
    trials = run(made)

    assert octaves(trials) == [-4, -8, 0, -6, -2, -5]
    assert [trial.value for trial in trials] == [1, 3, 5, 1, 3, 0]
    assert all(len(trial.intermediate_values) == 3 for trial in trials)
    results = results_of(trials, made.settings)
    assert results.best.lr == 2.0**-5
    assert results.trials[0].role == "LRRangeTest"
    assert all(0 < each.seconds < 60 for each in results.trials)


def test_several_at_once_make_exactly_as_many_as_asked_for(tmp_path):
    first = workers(tmp_path, "seconds=0.02", limit=7, number=3)
    second = workers(tmp_path, "seconds=0.02", limit=7, number=2)
    trials = run(first, second)

    finished = [trial for trial in trials if trial.state in FINISHED]
    assert len(finished) == 7
    assert len(set(octaves(finished))) == 7
    assert all(trial.state == TrialState.FAIL for trial in trials if trial not in finished)
    assert (
        results_of(first.trials(), first.settings).best == results_of(second.trials(), second.settings).best
    )


def test_a_diverged_trial_is_a_result(tmp_path):
    trials = run(made := workers(tmp_path, "diverges_above=-5", "raises_above=-1", limit=4))

    assert octaves(trials)[:2] == [-4, -8]
    assert [trial.value for trial in trials[:2]] == [math.inf, 3]
    # The fit was told to end at its first validation.
    assert trials[0].intermediate_values == {}
    assert results_of(trials, made.settings).trials[0].state == "diverged"
    assert all(octave < -4 for octave in octaves(trials)[1:])


def test_a_step_that_raises_because_the_lr_is_too_high_is_a_result_too(tmp_path):
    trials = run(workers(tmp_path, "raises_above=-5", limit=2))

    assert [trial.value for trial in trials] == [math.inf, 3]


def test_the_worst_value_where_more_is_better(tmp_path):
    trials = run(workers(tmp_path, "raises_above=-5", limit=1, mode="max"))

    assert trials[0].value == -math.inf


def test_bad_trials_end_early(tmp_path):
    first = {f"good {place}": 2.0 ** (-5 - place / 4) for place in range(5)} | {"bad": 2.0}
    trials = run(made := workers(tmp_path, "epochs=6", limit=6, prunes=True, first=first))

    # The first five trials are what others are compared with, and a third of a run is not judged.
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 5 + [TrialState.PRUNED]
    assert len(trials[5].intermediate_values) == 2
    pruned = results_of(trials, made.settings).trials[5]
    assert (pruned.state, pruned.role, pruned.value) == ("pruned", "bad", 10.0)


def test_without_pruning_all_are_trained_to_the_end(tmp_path):
    first = {f"good {place}": 2.0 ** (-5 - place / 4) for place in range(5)} | {"bad": 2.0}
    trials = run(workers(tmp_path, "epochs=6", limit=6, first=first))

    assert {len(trial.intermediate_values) for trial in trials} == {6}


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("epochs=0", "The fit ended without a validation"),
        ("fails=yes", "so it goes\nValueError: broken"),
        ("dies=yes", "It was ended by SIGKILL."),
        ("exits=yes", "The script ended in the midst of its fit, with exit code 0."),
    ],
)
def test_a_script_that_fails_twice_in_the_same_way_ends_the_study(tmp_path, option, message):
    made = workers(tmp_path, option, limit=5)

    with pytest.raises(ScriptFailed) as caught:
        made.run(lambda trials: None)

    assert message in str(caught.value)
    assert f"The whole output is in {tmp_path / 'logs/study/trial_000'}" in str(caught.value)
    trials = made.trials()
    assert [trial.state for trial in trials] == [TrialState.FAIL] * 2
    # The LR of a trial that failed is tried again.
    assert octaves(trials) == [-4, -4]
    # A mended script goes on in the same study.
    assert [trial.state in FINISHED for trial in run(workers(tmp_path, limit=2))[2:]] == [True, True]


def test_a_script_without_a_fit(tmp_path):
    script = tmp_path / "no_fit.py"
    script.write_text("print('done')\n")
    made = workers(tmp_path)
    made.job.command[1:] = [str(script)]

    with pytest.raises(ScriptFailed, match=r"done\n"):
        made.run(lambda trials: None)

    assert "The script ended without calling `Trainer.fit`." in made.trials()[0].user_attrs["error"]


def stop_soon(made):
    def stop():
        deadline = time.monotonic() + 60
        while not any(trial.intermediate_values for trial in made.trials()) and time.monotonic() < deadline:
            time.sleep(0.05)
        made.stopping.set()

    threading.Thread(target=stop, daemon=True).start()


def test_a_stop_ends_all_processes_and_gives_trials_back(tmp_path, monkeypatch):
    monkeypatch.setattr("lightning_lr.tune.workers.trial_run._GRACE", 0.3)
    pid = tmp_path / "pid"
    made = workers(tmp_path, "seconds=0.1", "epochs=600", f"child={pid}", "deaf=yes", limit=3, number=2)
    stop_soon(made)
    trials = run(made)

    assert [trial.state for trial in trials] == [TrialState.FAIL] * 2
    assert not is_alive(int(pid.read_text()))
    # The next to come begins with the same LRs.
    assert octaves(run(workers(tmp_path, limit=2))[2:]) == octaves(trials)


def test_a_process_that_lingers_after_its_fit_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr("lightning_lr.tune.workers.trial_run._FAREWELL", 0.1)
    monkeypatch.setattr("lightning_lr.tune.workers.trial_run._GRACE", 0.1)

    assert [trial.value for trial in run(workers(tmp_path, "lingers=yes", limit=1))] == [1]


def test_a_trial_that_was_given_to_another_worker_is_not_told(tmp_path):
    made = workers(tmp_path, "seconds=0.1", "epochs=50", limit=1, heartbeat=0.2)

    def give_up():
        while not any(trial.intermediate_values for trial in made.trials()):
            time.sleep(0.02)
        made.study.tell(0, state=TrialState.FAIL)
        made.job.command[3:] = ["epochs=2"]

    threading.Thread(target=give_up, daemon=True).start()
    trials = run(made)

    assert [trial.state for trial in trials] == [TrialState.FAIL, TrialState.COMPLETE]
    assert made.notes[0].startswith(
        "Trial 0 was given to another worker, because nothing was heard of this one"
    )


def test_the_trial_of_a_dead_worker_is_made_again(tmp_path):
    dead = workers(tmp_path, heartbeat=0.2)
    trial = dead.study.ask()
    trial.suggest_float("lr", 2.0**-10, 2.0**2, log=True)
    made = workers(tmp_path, limit=3)
    trials = run(made)

    assert [each.state for each in trials].count(TrialState.COMPLETE) == 3
    assert trials[0].state == TrialState.FAIL
    assert octaves(trials).count(-4) == 2
    assert made.notes == ["The worker of trial 0 has died, so its LR is tried again."]


def test_a_storage_that_is_away_for_a_while_costs_nothing(tmp_path):
    made = workers(tmp_path, limit=2)
    database = tmp_path / "tune.db"
    calls = []
    get_trials = made.study.get_trials

    def away(**options):
        calls.append(options)
        if len(calls) in (2, 3):
            raise OSError("gone")
        return get_trials(**options)

    made.study.get_trials = away

    assert [trial.value for trial in run(made)] == [1, 3]
    assert database.exists()


def test_a_storage_that_stays_away_ends_the_workers(tmp_path):
    made = workers(tmp_path, "seconds=0.1", "epochs=600", limit=2)
    object.__setattr__(made.job, "patience", 0.5)

    def lose():
        while not any(trial.intermediate_values for trial in made.trials()):
            time.sleep(0.02)
        made.study.get_trials = lose_all

    def lose_all(**_):
        raise OSError("gone")

    threading.Thread(target=lose, daemon=True).start()
    with pytest.raises(ConnectionError, match=r"The storage has been away for 0.5 s: gone"):
        made.run(lambda trials: None)


def test_signals_reach_what_the_fit_has_started(tmp_path):
    """A group of its own for each trial: Ctrl-C at the terminal does not reach it, a stop does."""
    pid = tmp_path / "pid"
    made = workers(tmp_path, "seconds=0.1", "epochs=600", f"child={pid}", limit=1)
    stop_soon(made)
    run(made)

    assert not is_alive(int(pid.read_text()))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
