"""A loss that the module logs itself is one curve: ours is left out only if it says nothing more."""

import pytest
import torch
from helpers.toy import Toy, fit, loader, scalars
from lightning.pytorch.callbacks import ModelCheckpoint
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2

from lightning_lr import LRLogger
from lightning_lr.logger.losses.own_curves import OwnCurves

pytestmark = [
    pytest.mark.usefixtures("quick_figures"),
    pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`"),
]


class Logs(Toy):
    """Logs the validation loss as a test tells it to, and returns it."""

    def __init__(self, log, **kwargs):
        super().__init__(**kwargs)
        self.log_with = log

    def validation_step(self, batch, batch_idx):
        loss = self.loss(batch)
        self.log_with(self, loss)
        return loss


def xs(curves, tag):
    return [x for x, _ in curves.get(tag, [])]


@pytest.mark.parametrize(
    ("name", "log"),
    [
        ("val_loss", lambda module, loss: module.log("val_loss", loss)),
        ("mse/val", lambda module, loss: module.log("mse/val", loss)),
        ("a_epoch", lambda module, loss: module.log("a", loss, on_step=True, on_epoch=True)),
        ("v", lambda module, loss: module.log_dict({"a": loss + 1, "v": loss})),
    ],
)
def test_the_same_values_under_any_name_are_drawn_once(name, log, tmp_path):
    run = fit(Logs(log), LRLogger(), root=tmp_path)
    curves = scalars(tmp_path)
    assert xs(curves, name) == [9, 19]
    assert "loss/val" not in curves
    # What else tells the loss has it: the closing line, the overview and the charts.
    logger = run.callbacks[0]
    assert logger._best.told.startswith("best validation loss")
    assert logger._overview.overview(run, "").validated == name
    events = EventAccumulator(str(tmp_path / "run"), size_guidance={"tensors": 0}).Reload()
    layout = layout_pb2.Layout()
    layout.ParseFromString(events.Tensors("custom_scalars__config__")[-1].tensor_proto.string_val[0])
    charts = {chart.title: list(chart.multiline.tag) for each in layout.category for chart in each.chart}
    assert f"{name}$" in charts["Training loss per epoch, and validation loss"]


@pytest.mark.parametrize(
    "log",
    [
        lambda module, loss: module.log("val_loss", loss + 0.01),
        lambda module, loss: module.log("val_loss", loss, logger=False),
        lambda module, loss: module.log_dict({"val_loss": loss, "step": float(module.current_epoch)}),
        lambda module, loss: module.log("val_loss", loss, reduce_fx="max"),
    ],
)
def test_other_values_or_other_steps_or_none_leave_ours(log, tmp_path):
    fit(Logs(log), LRLogger(), root=tmp_path)
    assert xs(scalars(tmp_path), "loss/val") == [9, 19]


def test_a_metric_that_is_0_by_chance_does_not_hide_a_loss_of_0(tmp_path):
    class Zero(Logs):
        def loss(self, batch):
            return super().loss(batch) * 0

    fit(Zero(lambda module, loss: module.log("val_acc", 0.0)), LRLogger(), root=tmp_path)
    assert xs(scalars(tmp_path), "loss/val") == [9, 19]


def test_ours_begins_where_the_modules_ends_or_differs(tmp_path):
    def log(module, loss):
        if module.current_epoch != 1:
            module.log("val_loss", loss)

    fit(Logs(log), LRLogger(), root=tmp_path, max_epochs=4)
    curves = scalars(tmp_path)
    assert (xs(curves, "val_loss"), xs(curves, "loss/val")) == ([9, 29, 39], [19, 29, 39])


@pytest.mark.parametrize("adds_index", [True, False])
def test_each_of_several_loaders_is_looked_at(adds_index, tmp_path):
    class Several(Toy):
        def validation_step(self, batch, batch_idx, dataloader_idx=0):
            loss = self.loss(batch)
            if adds_index:
                self.log("val_loss", loss + dataloader_idx)
            else:
                self.log(f"val_loss_{dataloader_idx}", loss + dataloader_idx, add_dataloader_idx=False)
            return loss

        def val_dataloader(self):
            # With the same data, the loss of the second loader is that of the first.
            return [loader(3, seed=1), loader(3, seed=1 if adds_index else 2)]

    fit(Several(), LRLogger(), root=tmp_path)
    curves = scalars(tmp_path)
    assert "loss/val/dataloader_idx_0" not in curves
    assert xs(curves, "loss/val/dataloader_idx_1") == [9, 19]


class LogsTraining(Toy):
    """Logs the training loss: per epoch, per step, or both."""

    def __init__(self, **options):
        super().__init__()
        self.options = options

    def training_step(self, batch, batch_idx):
        loss = self.loss(batch)
        self.log("own", loss, **self.options)
        return loss


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"on_step": False, "on_epoch": True}, "own"),
        ({"on_step": True, "on_epoch": True}, "own_epoch"),
        ({"on_step": True, "on_epoch": False}, None),
    ],
)
@pytest.mark.parametrize("saves", [True, False])
def test_the_mean_of_an_epoch_is_drawn_once_and_every_step_stays(options, name, saves, tmp_path):
    saver = [ModelCheckpoint(tmp_path / "kept", save_last=True)] if saves else []
    fit(LogsTraining(**options), LRLogger(), *saver, root=tmp_path, enable_checkpointing=saves)
    curves = scalars(tmp_path)
    assert xs(curves, name or "loss/train_epoch") == [9, 19]
    assert ("loss/train_epoch" in curves) == (name is None)
    assert xs(curves, "loss/train") == list(range(20))


@pytest.mark.parametrize("logs", [True, False])
def test_a_resumed_run_goes_on_with_the_same_curve(logs, tmp_path):
    class Both(LogsTraining):
        def validation_step(self, batch, batch_idx):
            loss = self.loss(batch)
            self.log("val_loss", loss + (not logs))
            return loss

    options = {"on_step": False, "on_epoch": True} if logs else {"on_step": True}
    saver = ModelCheckpoint(tmp_path / "kept", save_last=True)
    fit(Both(**options), LRLogger(), saver, root=tmp_path, max_epochs=1, enable_checkpointing=True)
    last = str(tmp_path / "kept/last.ckpt")
    fit(Both(**options), LRLogger(), root=tmp_path, max_epochs=3, ckpt_path=last)
    curves = scalars(tmp_path)
    assert xs(curves, "val_loss") == [9, 19, 29]
    for tag in ("loss/val", "loss/train_epoch"):
        assert xs(curves, tag) == ([] if logs else [9, 19, 29])


def test_a_fit_that_breaks_off_keeps_the_mean_of_its_epoch(tmp_path):
    class Breaks(Toy):
        def on_train_epoch_end(self):
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        fit(Breaks(), LRLogger(), root=tmp_path)
    assert xs(scalars(tmp_path), "loss/train_epoch") == [9]


def test_the_curves_of_an_older_checkpoint_go_on():
    own = OwnCurves()
    own.restore(None)
    logged = {"val_loss": torch.tensor(0.5)}
    assert own.lacking({"loss/val": 0.5}, logged) == {"loss/val": 0.5}


@pytest.mark.parametrize("names", [1, {"loss/val": 1}, {1: "val_loss"}])
def test_names_that_are_none_are_refused(names):
    with pytest.raises(ValueError, match="must be"):
        OwnCurves().restore(names)
