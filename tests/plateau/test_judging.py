"""PlateauDetector in real fits: what it judges, and when."""

import math

import pytest
from helpers.judged import judged, sgd, values_of
from helpers.scripted import ManualStalling, Stalling, Verdicts
from helpers.toy import Toy, loader, lrs_of, scalars
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningModule
from torch.utils.data import DataLoader

from lightning_lr import LRLogger, PlateauDetector
from lightning_lr.plateau import (
    Patience,
    Progress,
    RestoreBest,
    SlopeTest,
)


class Sometimes(Stalling):
    """Logs its value only in every second validation, and another one only in training."""

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        self.log("train_loss", loss, on_step=True, on_epoch=True)
        return loss

    def validation_step(self, batch, batch_idx):
        if self.trainer.current_epoch % 2 == 0:
            super().validation_step(batch, batch_idx)
        self.log("other", 1.0)


def test_a_stale_value_is_never_counted():
    module = Sometimes(sgd, batches=4)
    judge, run = judged(module=module, max_epochs=6)
    assert values_of(judge) == pytest.approx([module.script(step) for step in (4, 12, 20)])
    assert [record.step for record in judge.records] == [3, 11, 19]
    assert "val_loss" in run.callback_metrics


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({"val_check_interval": 0.5}, [1, 3, 5, 7]),
        ({"check_val_every_n_epoch": 2, "max_epochs": 4}, [7, 15]),
        ({"check_val_every_n_epoch": None, "val_check_interval": 3}, [2, 5]),
        ({"num_sanity_val_steps": 2}, [3, 7]),
        ({"accumulate_grad_batches": 2}, [1, 3]),
        ({"fast_dev_run": True}, [0]),
    ],
)
def test_time_is_counted_in_validations(options, steps):
    module = Stalling(sgd, batches=4)
    judge, _ = judged(module=module, **({"max_epochs": 2} | options))
    assert [record.step for record in judge.records] == steps
    assert values_of(judge) == pytest.approx([module.script(step + 1) for step in steps])
    assert [record.validation for record in judge.records] == list(range(1, len(steps) + 1))


@pytest.mark.parametrize("monitor", ["val_loss", "loss/val"])
def test_a_loss_that_is_only_returned_is_found(monitor, tmp_path):
    judge, _ = judged(LRLogger(), module=Toy(), judge=PlateauDetector(monitor), root=tmp_path)
    steps, losses = zip(*scalars(tmp_path)["loss/val"], strict=True)
    assert tuple(record.step for record in judge.records) == steps
    assert values_of(judge) == pytest.approx(losses)


def test_what_is_logged_comes_before_what_is_returned():
    class Both(Toy):
        def validation_step(self, batch, batch_idx):
            self.log("val_loss", 7.0)
            return super().validation_step(batch, batch_idx)

    judge, _ = judged(module=Both())
    assert values_of(judge) == [7.0] * 4
    judge, _ = judged(module=Both(), judge=PlateauDetector("loss/val"))
    assert 7.0 not in values_of(judge)


class TwoLoaders(Toy):
    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        self.log("accuracy", float(dataloader_idx))

    def val_dataloader(self):
        return [loader(2), loader(1)]


def test_of_two_loaders_one_is_monitored():
    name = "accuracy/dataloader_idx_1"
    judge, _ = judged(module=TwoLoaders(), judge=PlateauDetector(name, mode="max"))
    assert values_of(judge) == [1.0] * 4


def test_the_training_loss_is_the_mean_since_the_last_validation():
    losses, means = [], []

    class Noted(Stalling):
        def training_step(self, batch, batch_idx):
            losses.append(super().training_step(batch, batch_idx))
            return losses[-1]

    class Note(Callback):
        def on_validation_end(self, trainer, pl_module):
            means.append(sum(map(float, losses)) / len(losses))
            losses.clear()

    for options in ({}, {"accumulate_grad_batches": 2}, {"precision": "bf16-mixed"}):
        means.clear()
        judge = PlateauDetector(detector=Verdicts(""), on_plateau=[])
        judged(Note(), module=Noted(sgd, batches=4), judge=judge, val_check_interval=2, **options)
        assert len(means) == 8
        known = judge._judgments._state["training_losses"]
        assert known == pytest.approx(means, rel=1e-6)
        assert [record.training_loss for record in judge.records] == known


def test_without_a_training_loss_there_is_none():
    class Silent(ManualStalling):
        def training_step(self, batch, batch_idx):
            super().training_step(batch, batch_idx)

    judge, _ = judged(module=Silent(batches=4))
    assert all(math.isnan(record.training_loss) for record in judge.records)


@pytest.mark.parametrize(
    ("module", "monitor", "message"),
    [
        (
            lambda: Stalling(sgd),
            "val_acc",
            r"'val_acc' is nothing that .* gave.* It gave 'loss/val', 'val_loss'\.",
        ),
        (lambda: Sometimes(sgd), "train_loss", r"logged, but not by this validation. It gave .*'other'"),
        (TwoLoaders, "val_loss", r"It gave 'accuracy/dataloader_idx_0', 'accuracy/dataloader_idx_1'"),
    ],
)
def test_a_monitor_that_is_not_there_is_an_error_at_the_first_validation(module, monitor, message):
    judge = PlateauDetector(monitor)
    with pytest.raises(MisconfigurationException, match=message):
        judged(module=module(), judge=judge)
    assert judge.verdict is None


@pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no `val_dataloader`")
@pytest.mark.filterwarnings("ignore:You passed in a `val_dataloader` but have no `validation_step`")
@pytest.mark.filterwarnings("ignore:Total length of .* across ranks is zero")
@pytest.mark.parametrize(
    ("attributes", "options"),
    [
        ({"val_dataloader": LightningModule.val_dataloader}, {}),
        ({"validation_step": LightningModule.validation_step}, {}),
        ({"val_dataloader": lambda self: DataLoader([], batch_size=1)}, {}),
        ({"val_dataloader": lambda self: []}, {}),
        ({}, {"limit_val_batches": 0}),
    ],
    ids=["no loader", "no step", "empty loader", "no loaders", "limit"],
)
def test_a_fit_without_validation_is_refused(attributes, options):
    module = type("Unvalidated", (Toy,), attributes)()
    with pytest.raises(MisconfigurationException, match="PlateauDetector has no validation to judge"):
        judged(module=module, **options)


class Broken(Stalling):
    values = ()

    def script(self, step):
        return self.values[step // 4 - 1]


@pytest.mark.parametrize("judge", [Progress(), SlopeTest(), Patience(patience=1)])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_values_that_are_no_numbers_are_judged_and_nothing_breaks(bad, judge, tmp_path):
    module = Broken(sgd, batches=4)
    module.values = [bad, 1.0, bad, 0.9, 0.8, bad]
    judge = PlateauDetector(detector=judge, on_plateau=RestoreBest(), on_divergence=RestoreBest())
    judged(module=module, judge=judge, max_epochs=6, root=tmp_path)
    assert values_of(judge) == pytest.approx(module.values, nan_ok=True)
    assert judge._reactions.best.value == pytest.approx(0.8)
    assert all(record.effects == () or "->" in record.effects[-1] for record in judge.records)


@pytest.mark.parametrize("judge", [Progress(), SlopeTest(), Patience(patience=0)])
def test_one_validation_is_no_plateau(judge):
    judge = PlateauDetector(detector=judge)
    _, run = judged(judge=judge, max_epochs=1)
    assert len(judge.verdicts) == 1
    assert judge.verdict.state in {"undecided", "improving"}
    assert lrs_of(run) == [0.1]


def test_validation_alone_is_not_judged():
    judge, run = judged()
    run.validate(Stalling(sgd), verbose=False)
    assert len(judge.verdicts) == 4
