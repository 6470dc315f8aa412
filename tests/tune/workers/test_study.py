"""What workers share."""

import optuna
import pytest
from helpers.studies import settings, sqlite
from lightning.fabric.utilities.exceptions import MisconfigurationException
from optuna.samplers import GPSampler, TPESampler
from optuna.trial import TrialState

from lightning_lr.tune import CoarseToFine
from lightning_lr.tune.sampler import FirstThen
from lightning_lr.tune.workers.storage import open_storage, shown
from lightning_lr.tune.workers.study import Pulse, create, find, is_double, is_surplus

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")


def test_the_settings_are_read_as_they_were_written(tmp_path):
    storage = open_storage(sqlite(tmp_path))
    ours = settings(first={"LRRangeTest": 0.1}, mode="max", epochs=3)
    create("study", storage, ours)
    # Of a second worker that creates it at the same moment nothing is taken.
    create("study", storage, settings(low=1e-9))
    study, found = find("study", storage)

    assert found == ours
    assert study.direction.name == "MAXIMIZE"
    assert find("other", storage) is None


def test_a_study_of_somebody_else_is_refused(tmp_path):
    storage = open_storage(sqlite(tmp_path))
    optuna.create_study(study_name="study", storage=storage)

    with pytest.raises(
        MisconfigurationException, match=r"is not one of lightning_lr.tune, .* choose another"
    ):
        find("study", storage, wait=0.1)


@pytest.mark.parametrize(
    ("name", "kind"), [("coarse-to-fine", CoarseToFine), ("tpe", TPESampler), ("gp", GPSampler)]
)
def test_samplers(name, kind):
    sampler = settings(sampler=name, first={"LRRangeTest": 0.1, "the optimizer's own": 0.01}).make_sampler()

    assert isinstance(sampler if name == "coarse-to-fine" else sampler.inner, kind)
    assert isinstance(sampler, CoarseToFine | FirstThen)
    assert sampler.first == (0.1, 0.01)


def test_surplus_trials():
    """With a limit of 2, who asks third gives back, until one of the first two has failed."""
    study = optuna.create_study()
    first, second, third = (study.ask() for _ in range(3))

    def surplus(trial):
        return is_surplus(trial.number, study.trials, limit=2)

    assert [surplus(trial) for trial in (first, second, third)] == [False, False, True]
    study.tell(second, 1.0)
    assert surplus(third)
    study.tell(first, state=TrialState.FAIL)
    assert not surplus(third)
    assert surplus(study.ask())


def test_of_two_trials_with_one_lr_the_later_is_given_back():
    study = optuna.create_study()
    trials = [study.ask({"lr": optuna.distributions.FloatDistribution(0.1, 0.1)}) for _ in range(2)]

    assert [is_double(each.number, 0.1, study.trials) for each in trials] == [False, True]
    study.tell(0, state=TrialState.FAIL)
    assert not is_double(1, 0.1, study.trials)


def test_the_dead_are_silent_for_two_heartbeats_by_the_clock_of_who_listens():
    study = optuna.create_study()
    alive, dead = study.ask(), study.ask()
    pulse = Pulse(heartbeat=10)

    assert pulse.dead(study.trials, now=1000.0) == []
    alive.set_user_attr("heartbeat", 1)
    assert pulse.dead(study.trials, now=1019.0) == []
    assert [each.number for each in pulse.dead(study.trials, now=1021.0)] == [dead.number]
    assert len(pulse.dead(study.trials, now=1040.0)) == 2


def test_passwords_are_not_shown():
    assert shown("mysql+pymysql://me:hunter2@host/optuna") == "mysql+pymysql://me:***@host/optuna"
    assert "hunter2" not in shown("mysql+pymysql://me:hunter2@host:port/optuna")
    assert shown("study.journal") == "study.journal"
