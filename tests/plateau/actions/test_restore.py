"""What belongs to the best weights goes back with them: averages that callbacks keep, and odd optimizers."""

import pytest
import torch
from helpers.scripted import Stalling, Verdicts
from helpers.toy import fit
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint, StochasticWeightAveraging
from torch.optim import SGD
from torch.optim.swa_utils import AveragedModel

from lightning_lr import PlateauDetector
from lightning_lr.plateau import RestoreBest


class Best(Stalling):
    """Its second validation is the best one."""

    def script(self, step):
        return abs(step - 8) + 1.0


class OwnAverage(Callback):
    """An average of the user's own."""

    def on_fit_start(self, trainer, pl_module):
        self.teacher = AveragedModel(pl_module.linear)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.teacher.update_parameters(pl_module.linear)


class Look(Callback):
    """Notes weights and averages at every validation."""

    def __init__(self, averages):
        self.averages = averages
        self.seen = []

    def on_validation_end(self, trainer, pl_module):
        modules = [pl_module, *self.averages()]
        self.seen.append([p.tolist() for m in modules for p in [*m.parameters(), *m.buffers()]])


def averages(kind):
    callback = {
        "EMA": lambda: EMAWeightAveraging(decay=0.5),
        "SWA": lambda: StochasticWeightAveraging(0.1, swa_epoch_start=1),
        "own": OwnAverage,
    }[kind]()
    name = "teacher" if kind == "own" else "_average_model"
    return callback, lambda: [getattr(callback, name)]


def sgd(parameters):
    return SGD(parameters, lr=0.1, momentum=0.9)


def judged(action):
    return PlateauDetector(detector=Verdicts("iiio"), on_plateau=[], on_overfitting=action)


@pytest.mark.filterwarnings("ignore:Swapping scheduler")
@pytest.mark.parametrize("kind", ["EMA", "SWA", "own"])
def test_averages_go_back_with_the_weights(kind):
    average, modules = averages(kind)
    before, after = Look(modules), Look(modules)
    judge = judged(RestoreBest(1.0))
    fit(Best(sgd, batches=4), average, before, judge, after, max_epochs=4)
    assert before.seen[3] != before.seen[1]
    assert after.seen[3] == before.seen[1]


@pytest.mark.parametrize("kind", ["EMA", "SWA", "own"])
def test_from_a_checkpoint_averages_go_back_or_it_refuses(kind, tmp_path):
    average, modules = averages(kind)
    before, after = Look(modules), Look(modules)
    saver = ModelCheckpoint(tmp_path, monitor="val_loss")
    judge = judged(RestoreBest(1.0, source="checkpoint"))
    callbacks = [average, before, saver, judge, after]
    settings = {"max_epochs": 4, "enable_checkpointing": True}
    if kind != "EMA":
        with pytest.raises(MisconfigurationException, match=r"keeps averages.*source='memory'"):
            fit(Best(sgd, batches=4), *callbacks, **settings)
        return
    fit(Best(sgd, batches=4), *callbacks, **settings)
    assert before.seen[3] != before.seen[1]
    assert after.seen[3] == before.seen[1]


class SetUpAnew(Best):
    """Trains on with another optimizer from the third epoch on."""

    def on_train_epoch_start(self):
        if self.trainer.current_epoch == 2:
            self.trainer.optimizers = [torch.optim.Adam(self.parameters(), lr=0.01)]


def test_an_optimizer_of_later_starts_afresh_and_it_is_said():
    judge = judged(RestoreBest(1.0))
    fit(SetUpAnew(sgd, batches=4), judge, max_epochs=5)
    [effect] = [effect for record in judge.records for effect in record.effects]
    assert "Adam starts afresh, since it was set up later" in effect
