"""The callbacks of a trial on a fit in this process, with a line that only listens."""

import os
import sys
from contextlib import suppress

import pytest
import torch
from helpers.toy import Toy, trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger

from lightning_lr import LRLogger, LRRangeTest
from lightning_lr.tune.trial import fit, look, trial_callback
from lightning_lr.tune.trial.fit import fit_of_trial
from lightning_lr.tune.trial.spec import VARIABLE, Spec


@pytest.fixture
def told(monkeypatch):
    """What the fit has told, as pairs of a kind and its values; a value of 2 is not to go on."""
    messages = []

    class Listens:
        def __init__(self, port, token):
            assert (port, token) == (7, "token")

        def ask(self, kind, **values):
            messages.append((kind, values))
            return values.get("value") != 2

    monkeypatch.setattr(trial_callback, "Line", Listens)
    monkeypatch.setattr(look, "Line", Listens)
    monkeypatch.setattr(fit, "_begun", False)
    monkeypatch.setattr(fit, "_over", False)
    return messages


def run(monkeypatch, task, module, *callbacks, trainer_of=trainer, **options):
    spec = Spec(task, **{"lr": 0.01, "port": 7, "token": "token"} | options)
    monkeypatch.setitem(os.environ, VARIABLE, spec.to_env()[VARIABLE])
    run_trainer = trainer_of(*callbacks, max_epochs=2)
    with suppress(SystemExit):
        fit_of_trial(Trainer.fit, run_trainer, module)
    return run_trainer


def kinds(told):
    return [kind for kind, _ in told]


def test_a_trial(told, monkeypatch):
    made = run(monkeypatch, "trial", module := Toy(), LRRangeTest(), epochs=3)

    assert kinds(told) == ["began", "report", "report", "report", "finished"]
    assert made.optimizers[0].param_groups[0]["lr"] == 0.01
    assert made.current_epoch == 3
    assert module.trainer is made
    # The script has caught what ended it, and fits once more.
    monkeypatch.setattr(os, "_exit", sys.exit)
    with pytest.raises(SystemExit):
        fit_of_trial(Trainer.fit, trainer(max_epochs=1), Toy())
    assert len(told) == 5


def test_a_value_that_is_not_to_go_on_ends_the_fit(told, monkeypatch):
    class Bad(Toy):
        def validation_step(self, batch, batch_idx):
            return torch.tensor(2.0)

    made = run(monkeypatch, "trial", Bad())

    assert kinds(told) == ["began", "report", "finished"]
    assert made.current_epoch == 1


def test_a_training_with_the_lr_tells_nobody(told, monkeypatch):
    made = run(monkeypatch, "train", Toy())

    assert told == []
    assert made.optimizers[0].param_groups[0]["lr"] == 0.01


def test_an_lr_that_would_not_be_used_is_refused(told, monkeypatch):
    def with_floor(parameters):
        return torch.optim.SGD(parameters, lr=0.0)

    with pytest.raises(MisconfigurationException, match="the highest LR of the run is 0"):
        run(monkeypatch, "trial", Toy(with_floor))

    assert kinds(told) == ["began", "failed"]


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
def test_a_look(told, monkeypatch, tmp_path):
    def logging(*callbacks, **options):
        return trainer(*callbacks, logger=CSVLogger(tmp_path / "logs"), **options)

    run(monkeypatch, "look", Toy(), LRRangeTest(), LRLogger(), trainer_of=logging, lr=None)

    [(kind, seen)] = told
    assert kind == "seen"
    assert seen["own"] == 0.1
    assert 0.001 < seen["found"] < 10
    assert seen["folder"] == str(tmp_path / "logs")
    assert not (tmp_path / "logs").exists()


def test_a_look_at_a_fit_that_gives_no_such_value(told, monkeypatch):
    with pytest.raises(MisconfigurationException, match="`--monitor accuracy` is nothing that a validation"):
        run(monkeypatch, "look", Toy(), lr=None, monitor="accuracy")

    assert kinds(told) == ["failed"]


def test_a_look_at_a_fit_without_a_step(told, monkeypatch):
    run(monkeypatch, "look", Toy(), lr=None, epochs=0)

    [(kind, values)] = told
    assert kind == "failed"
    assert values["error"].startswith("This fit trains nothing")


def test_a_fit_outside_of_a_trial_is_left_alone(told, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    fit_of_trial(Trainer.fit, trainer(max_epochs=1), Toy())

    assert told == []
