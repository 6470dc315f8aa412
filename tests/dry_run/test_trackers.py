"""Steps that write to trackers past Lightning's loggers do not in a test, and do as before after it."""

import sys
from types import ModuleType, SimpleNamespace

import pytest
from helpers.finders import TESTS_OF_LRS
from helpers.toy import Toy, fit, scalars
from lightning.pytorch import Callback
from torch.utils.tensorboard import SummaryWriter

from lightning_lr.dry_run.dry_run import DryRun
from lightning_lr.dry_run.snapshot.snapshot import Snapshot
from lightning_lr.dry_run.trackers import Trackers


class Run:
    """A run as that of W&B, whose methods can be called from outside too."""

    def __init__(self):
        self.rows = []

    def log(self, row):
        self.rows.append(row)

    def log_artifact(self, name):
        self.rows.append(name)
        return SimpleNamespace(wait=lambda: {"id": [name]})


class TorchHistory:
    """As that of W&B whose hooks write histograms."""

    def __init__(self, run):
        self.run = run

    def log_tensor_stats(self, tensor, name):
        self.run.rows.append(name)


@pytest.fixture
def tracker(monkeypatch):
    """A tracker as W&B: `log` writes to the run that has been started."""
    module = ModuleType("wandb")
    Run.__module__ = "wandb.run"
    module.Run, module.run = Run, Run()
    module.log = module.run.log
    monkeypatch.setitem(sys.modules, "wandb", module)
    hooks = ModuleType("wandb.integration.torch.wandb_torch")
    TorchHistory.__module__, hooks.TorchHistory = hooks.__name__, TorchHistory
    monkeypatch.setitem(sys.modules, hooks.__name__, hooks)
    return module


class Tracking(Toy):
    def __init__(self, tracker, folder):
        super().__init__()
        self.tracker, self.writer = tracker, SummaryWriter(folder / "run")
        self.history = TorchHistory(tracker.run)

    def training_step(self, batch, batch_idx):
        self.tracker.log("by the module")
        self.tracker.run.log("by the run")
        self.history.log_tensor_stats(None, "by a hook")
        if artifact := self.tracker.run.log_artifact("an artifact"):
            assert artifact.wait()["id"] == ["an artifact"]
        assert list(self.tracker.run.log_artifact("another").wait()["id"]) in ([], ["another"])
        self.writer.add_scalar("own", 1.0, self.global_step)
        return super().training_step(batch, batch_idx)

    def on_train_end(self):
        self.writer.close()


@pytest.mark.parametrize("make", TESTS_OF_LRS.values(), ids=TESTS_OF_LRS)
def test_they_get_the_steps_of_the_fit_only(make, tracker, tmp_path):
    log, method = tracker.log, vars(Run)["log"]
    fit(Tracking(tracker, tmp_path / "own"), make(), root=tmp_path, max_epochs=1)
    assert tracker.run.rows == ["by the module", "by the run", "by a hook", "an artifact", "another"] * 10
    assert [step for step, _ in scalars(tmp_path / "own")["own"]] == list(range(10))
    assert (tracker.log, vars(Run)["log"]) == (log, method)


@pytest.mark.parametrize("make", TESTS_OF_LRS.values(), ids=TESTS_OF_LRS)
def test_they_write_again_after_an_error(make, tracker, tmp_path):
    class Failing(Tracking):
        def training_step(self, batch, batch_idx):
            raise KeyError("in a step")

    log, method, add = tracker.log, vars(Run)["log"], vars(SummaryWriter)["add_scalar"]
    with pytest.raises(KeyError, match="in a step"):
        fit(Failing(tracker, tmp_path / "own"), make(), root=tmp_path, max_epochs=1)
    assert (tracker.log, vars(Run)["log"]) == (log, method)
    assert vars(SummaryWriter)["add_scalar"] is add


def test_they_write_again_where_the_end_of_a_test_is_interrupted(tracker, tmp_path, monkeypatch):
    restore, calls = Snapshot.restore, []

    def interrupted(self):
        restore(self)
        calls.append(1)
        if len(calls) == 1:
            raise KeyboardInterrupt

    class Rehearse(Callback):
        def on_train_start(self, trainer, pl_module):
            with pytest.raises(KeyboardInterrupt):
                self.rehearse(trainer, pl_module)

        def rehearse(self, trainer, pl_module):
            with DryRun(trainer, pl_module) as dry:
                assert len(list(dry.steps([0.1, 0.1]))) == 2
                monkeypatch.setattr(Snapshot, "restore", interrupted)

    module = Tracking(tracker, tmp_path / "own")
    # So that its class is put back too, to what it was during the test.
    module.run = tracker.run
    fit(module, Rehearse(), root=tmp_path, max_epochs=1)
    assert len(calls) == 2
    assert tracker.run.rows == ["by the module", "by the run", "by a hook", "an artifact", "another"] * 10


def test_figures_are_closed_as_a_writer_does(tmp_path):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    trackers, before = Trackers(), pyplot.get_fignums()
    with SummaryWriter(tmp_path / "run") as writer:
        trackers.silence()
        for close in (True, False):
            writer.add_figure("figure", pyplot.figure(), 0, close=close)
        trackers.let_write()
        [left] = set(pyplot.get_fignums()).difference(before)
        pyplot.close(left)
        for _ in range(2):
            trackers.let_write()
        writer.add_scalar("own", 1.0, 0)
    assert list(scalars(tmp_path)) == ["own"]
