"""Samplers in studies of Optuna, without a Trainer."""

import math
import sys

import optuna
import pytest
from optuna.samplers import GPSampler, TPESampler
from optuna.trial import TrialState

from lightning_lr import tune
from lightning_lr.tune import CoarseToFine
from lightning_lr.tune.sampler import FirstThen

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
LOW, HIGH = 2.0**-10, 2.0**2


def ask(study):
    trial = study.ask()
    return trial, math.log2(trial.suggest_float("lr", LOW, HIGH, log=True))


def octaves(study):
    return [round(math.log2(trial.params["lr"]), 3) for trial in study.trials]


def test_a_study_by_optimize():
    study = optuna.create_study(sampler=CoarseToFine())
    study.optimize(
        lambda trial: abs(math.log2(trial.suggest_float("lr", LOW, HIGH, log=True)) + 5.25), n_trials=6
    )

    assert octaves(study) == [-4, -8, 0, -6, -5, -5.5]


def test_more_can_be_better():
    study = optuna.create_study(sampler=CoarseToFine(), direction="maximize")
    study.optimize(
        lambda trial: -abs(math.log2(trial.suggest_float("lr", LOW, HIGH, log=True)) + 5.25), n_trials=6
    )

    assert octaves(study) == [-4, -8, 0, -6, -5, -5.5]


def test_workers_that_ask_at_once_get_different_lrs():
    study = optuna.create_study(sampler=CoarseToFine())
    trials = [study.ask() for _ in range(3)]
    # They write their LRs down in another order.
    lrs = {trial.number: trial.suggest_float("lr", LOW, HIGH, log=True) for trial in reversed(trials)}

    assert [math.log2(lrs[number]) for number in range(3)] == [-4, -8, 0]


def test_the_trial_of_a_dead_worker_is_made_again():
    study = optuna.create_study(sampler=CoarseToFine())
    ask(study)
    dead, octave = ask(study)
    ask(study)
    study.tell(dead, state=TrialState.FAIL)

    assert ask(study)[1] == octave == -8


def test_pruned_and_diverged_trials():
    study = optuna.create_study(sampler=CoarseToFine())
    (first, _), (second, _), (third, _) = ask(study), ask(study), ask(study)
    first.report(0.1, 0)
    study.tell(first, state=TrialState.PRUNED)
    study.tell(second, 0.5)
    study.tell(third, math.inf)

    assert ask(study)[1] == -6


def test_other_parameters_are_sampled_by_another_sampler():
    study = optuna.create_study(sampler=CoarseToFine("rate", inner=TPESampler(seed=0)))

    def objective(trial):
        return trial.suggest_float("rate", LOW, HIGH, log=True) + trial.suggest_float("decay", 0, 1)

    study.optimize(objective, n_trials=15)

    assert [math.log2(trial.params["rate"]) for trial in study.trials[:2]] == [-4, -8]
    assert len({trial.params["decay"] for trial in study.trials}) == 15


def test_a_linear_axis_is_refused():
    study = optuna.create_study(sampler=CoarseToFine())

    with pytest.raises(ValueError, match=r"`trial.suggest_float\('lr', low, high, log=True\)`"):
        study.ask().suggest_float("lr", 0.1, 1.0)


@pytest.mark.parametrize("make", [TPESampler, GPSampler])
def test_given_lrs_before_those_of_another_sampler(make):
    study = optuna.create_study(sampler=FirstThen("lr", [0.25, 8.0, 0.5], make(seed=0)))
    first, second = study.ask(), study.ask()
    lrs = [trial.suggest_float("lr", LOW, HIGH, log=True) for trial in (second, first)]
    for trial in (first, second):
        study.tell(trial, trial.params["lr"])
    third = study.ask().suggest_float("lr", LOW, HIGH, log=True)

    assert lrs == [0.5, 0.25]
    assert third not in (0.25, 0.5, 8.0)


def test_without_optuna_the_package_to_install_is_told(monkeypatch):
    monkeypatch.delitem(sys.modules, "lightning_lr.tune.sampler")
    monkeypatch.delattr(tune, "sampler")
    monkeypatch.setitem(sys.modules, "optuna.distributions", None)
    monkeypatch.setitem(sys.modules, "optuna", None)

    with pytest.raises(ModuleNotFoundError, match=r"pip install 'lightning-lr\[search\]'"):
        tune.CoarseToFine  # noqa: B018 (it is imported by this)
