"""Every callback of ours, with the factor that it plans for each step, and what stands beside it."""

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import (
    EarlyStopping,
    EMAWeightAveraging,
    GradientAccumulationScheduler,
    LearningRateMonitor,
    ModelCheckpoint,
    RichProgressBar,
    WeightAveraging,
)
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader

from helpers.scripted import Verdicts
from helpers.toy import LRTrace, loader
from lightning_lr import LRDecay, LRLogger, LRRangeTest, LRSearch, PlateauDetector
from lightning_lr.finders.suggestion import Suggestion
from lightning_lr.plateau import ReduceLR
from lightning_lr.policies import Linear

START, EPOCHS, BATCHES = 2.0**-9, 4, 4
RATIO = 0.5


class Net(LightningModule):
    """Has what Lightning's tuners and finetuners want, two groups, and something to learn."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.backbone = torch.nn.Linear(4, 4)
        self.head = torch.nn.Linear(4, 1)
        self.lr, self.batch_size = START, 8

    def loss(self, batch):
        features, target = batch
        return torch.nn.functional.mse_loss(self.head(self.backbone(features)), 3 * target)

    def training_step(self, batch, batch_idx):
        return self.loss(batch)

    def validation_step(self, batch, batch_idx):
        loss = self.loss(batch)
        self.log("val_loss", loss)
        return loss

    def test_step(self, batch, batch_idx):
        self.loss(batch)

    def predict_step(self, batch, batch_idx):
        return self.loss(batch)

    def configure_optimizers(self):
        bias = [self.head.bias]
        others = [each for each in self.parameters() if each.requires_grad and each is not self.head.bias]
        return torch.optim.SGD([{"params": others}, {"params": bias, "lr": RATIO * self.lr}], lr=self.lr)

    def train_dataloader(self):
        return loader(BATCHES * 8 // self.batch_size, self.batch_size)

    def val_dataloader(self):
        return loader(2, 8, seed=1)

    def test_dataloader(self):
        return DataLoader(loader(2, 8, seed=1).dataset, batch_size=8)

    predict_dataloader = test_dataloader


def range_test():
    return LRRangeTest(40, min_lr=1e-4, max_lr=1.0)


def quick_search():
    return LRSearch(1e-4, 1e-1, steps_per_trial=2, final_steps=2, budget=40, validation_batches=1)


def halving():
    return PlateauDetector("loss/val", detector=Verdicts("iup"), on_plateau=ReduceLR(0.5))


# Name: how to make them, the factor of each step (epoch, step, steps of the run) that they plan.
OURS = {
    "range test": (lambda: [range_test()], lambda epoch, step, steps: 1.0),
    "search": (lambda: [quick_search()], lambda epoch, step, steps: 1.0),
    "decay by step": (
        lambda: [LRDecay(Linear(), interval="step")],
        lambda epoch, step, steps: 1 - step / steps,
    ),
    "decay by epoch": (lambda: [LRDecay(Linear(0.2))], lambda epoch, step, steps: 1 - 0.8 * epoch / EPOCHS),
    "plateau": (lambda: [halving()], lambda epoch, step, steps: 1.0 if epoch < 3 else 0.5),
    "logger": (lambda: [LRLogger()], lambda epoch, step, steps: 1.0),
    "all": (
        lambda: [
            LRLogger(),
            halving(),
            LRDecay(Linear(), interval="step"),
            range_test(),
        ],
        lambda epoch, step, steps: (1 - step / steps) * (1.0 if epoch < 3 else 0.5),
    ),
}
each_of_ours = pytest.mark.parametrize("ours", OURS)


class Trace(LRTrace):
    """Also notes the epoch of each step, and the LR at the end of it: what is planned next."""

    def __init__(self):
        super().__init__()
        self.epochs = {}

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        super().on_train_batch_start(trainer, pl_module, batch, batch_idx)
        self.epochs.setdefault(trainer.global_step, trainer.current_epoch)


def fit(root, callbacks, *, module=None, ckpt_path=None, **kwargs):
    trace = Trace()
    settings = {"max_epochs": EPOCHS, "accelerator": "cpu", "enable_progress_bar": False} | kwargs
    settings = {"logger": CSVLogger(root, name="", version="run"), "log_every_n_steps": 2} | settings
    settings = {"enable_model_summary": False, "num_sanity_val_steps": 0, "default_root_dir": root} | settings
    if not any(isinstance(each, ModelCheckpoint) for each in callbacks):
        settings = {"enable_checkpointing": False} | settings
    # Last, so that it sees what everybody else has written.
    trainer = Trainer(callbacks=[*callbacks, trace], **settings)
    trainer.fit(
        Net() if module is None else module, ckpt_path=ckpt_path, weights_only=True if ckpt_path else None
    )
    return trainer, trace


def found(trainer):
    for callback in trainer.callbacks:
        decision = getattr(callback, "suggestion", None)
        if isinstance(decision, Suggestion):
            return decision.lr
    return START


def assert_as_planned(trace, ours, *, base, steps, ratio=RATIO, first=0):
    factor = OURS[ours][1]
    assert sorted(trace.lrs) == list(range(first, first + len(trace.lrs)))
    for step, lrs in trace.lrs.items():
        wanted = base * factor(trace.epochs[step], step, steps)
        assert lrs[:2] == pytest.approx([wanted, ratio * wanted], rel=1e-9), (step, lrs)


def saver(root):
    return ModelCheckpoint(root, filename="{epoch}", save_top_k=-1, every_n_epochs=1)


# Name: callbacks of Lightning, settings of the Trainer, optimizer steps of each epoch.
COMPANIONS = {
    "nothing": (list, {}, [4] * 4),
    "LearningRateMonitor": (lambda: [LearningRateMonitor()], {}, [4] * 4),
    "EarlyStopping": (lambda: [EarlyStopping("val_loss", patience=9)], {}, [4] * 4),
    "EMAWeightAveraging": (lambda: [EMAWeightAveraging(decay=0.9)], {}, [4] * 4),
    "WeightAveraging": (lambda: [WeightAveraging()], {}, [4] * 4),
    "GradientAccumulationScheduler": (
        lambda: [GradientAccumulationScheduler({0: 1, 2: 4})],
        {},
        [4, 4, 1, 1],
    ),
    "RichProgressBar": (lambda: [RichProgressBar()], {"enable_progress_bar": True}, [4] * 4),
    "overfit_batches": (list, {"overfit_batches": 2}, [2] * 4),
}
