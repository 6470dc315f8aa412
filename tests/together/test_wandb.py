"""Weights & Biases gets the same points and figures; offline, which needs no account. Skipped without it."""

import os

import pytest
from helpers.finders import Learner
from helpers.toy import scalars, trainer
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger

from lightning_lr import LRDecay, LRLogger, LRRangeTest

wandb = pytest.importorskip("wandb")


@pytest.mark.filterwarnings("ignore")  # those of W&B itself
def test_points_and_figures_are_those_of_tensorboard(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "environ", os.environ | {"WANDB_SILENT": "true"})
    logger = WandbLogger("name", tmp_path, offline=True, project="project", version="id")
    rows, log = [], logger.experiment.log
    monkeypatch.setattr(logger.experiment, "log", lambda row, *args: (rows.append(row), log(row, *args)))
    beside = TensorBoardLogger(tmp_path, name="", version="run")
    fit = trainer(LRRangeTest(40), LRDecay(warmup=3, interval="step"), LRLogger(), logger=[logger, beside])
    fit.fit(Learner())
    wandb.finish()
    x = "trainer/global_step"
    for tag, points in scalars(tmp_path).items():
        if tag != "hp_metric":
            theirs = [(row[x], row[tag]) for row in rows if tag in row]
            assert theirs == [(step, pytest.approx(value)) for step, value in points], tag
    assert [row[x] for row in rows if "range_test" in row] == [0]
    assert list(tmp_path.glob("wandb/offline-run-*/files/media/images/range_test*.png"))
