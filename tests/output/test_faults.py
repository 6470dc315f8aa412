"""A logger that cannot write costs its curves, never the run."""

import errno
import re
import shutil

import pytest
import torch
from helpers.logged_run import curves
from helpers.toy import Toy, trainer
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from tensorboard.compat.tensorflow_stub.io.gfile import LocalFileSystem

from lightning_lr import LRDecay, LRLogger
from lightning_lr.output import faults
from lightning_lr.output.faults import write_or_warn
from lightning_lr.policies import Cosine

FULL = OSError(errno.ENOSPC, "No space left on device")
pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning"),
    pytest.mark.filterwarnings("ignore:The figure:UserWarning"),
]


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 0.0

    monkeypatch.setattr(faults.time, "monotonic", lambda: Clock.now)
    return Clock


@pytest.fixture
def disk(monkeypatch):
    """A disk for event files that is full while `full` is true."""

    class Disk:
        full = False

    write = LocalFileSystem._write

    def guarded(self, *arguments):
        if Disk.full:
            raise FULL
        write(self, *arguments)

    monkeypatch.setattr(LocalFileSystem, "_write", guarded)
    return Disk


def test_a_failure_is_told_once_and_what_it_interrupts_goes_on(clock, recwarn):
    logger, tried = CSVLogger("logs"), []

    def fail():
        tried.append(clock.now)
        raise FULL

    for now in range(0, 300, 10):
        clock.now = now
        write_or_warn(logger, fail)
    [warning] = recwarn
    assert re.match(
        r"CSVLogger cannot write: OSError: .*No space left.* The training goes on", str(warning.message)
    )
    # After one minute, then after two.
    assert tried == [0, 60, 180]


def test_it_is_told_when_a_logger_writes_again_and_each_has_its_own_outages(clock, caplog):
    logger, written = CSVLogger("logs"), []

    def fail():
        raise FULL

    with pytest.warns(UserWarning, match="cannot write"):
        write_or_warn(logger, fail)
    write_or_warn(CSVLogger("logs"), lambda: written.append("another"))
    write_or_warn(logger, lambda: written.append("too early"))
    clock.now = 60
    write_or_warn(logger, lambda: written.append("later"))
    write_or_warn(logger, lambda: written.append("at once"))
    assert written == ["another", "later", "at once"]
    assert [line for line in caplog.messages if "again" in line] == ["CSVLogger writes again."]
    with pytest.warns(UserWarning, match="cannot write"):
        write_or_warn(logger, fail)


def test_an_error_of_another_kind_is_the_programs_and_is_raised():
    def fail():
        raise KeyError("not a metric")

    with pytest.raises(KeyError):
        write_or_warn(CSVLogger("logs"), fail)


def test_a_folder_that_cannot_be_made_is_told_too(tmp_path, clock):
    (tmp_path / "file").write_text("no folder")
    logger = TensorBoardLogger(tmp_path / "file" / "logs")
    with pytest.warns(UserWarning, match="TensorBoardLogger cannot write: NotADirectoryError"):
        write_or_warn(logger, lambda: logger.experiment.add_scalar("loss", 1.0))
    assert clock.now == 0


class Quiet(Toy):
    """Logs nothing itself, since Lightning ends a run whose logger fails; fills and frees the disk."""

    def __init__(self, disk, clock, full=()):
        torch.manual_seed(0)
        super().__init__()
        self.disk, self.clock, self.full = disk, clock, full

    def training_step(self, batch, batch_idx):
        self.disk.full = self.trainer.global_step in self.full
        self.clock.now = 10.0 * self.trainer.global_step
        return super().training_step(batch, batch_idx)


def fit(root, module, *callbacks, loggers=()):
    run = trainer(
        LRDecay(Cosine(), interval="step"),
        LRLogger(),
        ModelCheckpoint(root / "saved", every_n_train_steps=4),
        *callbacks,
        max_epochs=3,
        log_every_n_steps=1,
        enable_checkpointing=True,
        logger=[TensorBoardLogger(root, name="", version="run"), *loggers],
    )
    run.fit(module)
    return run


@pytest.mark.parametrize(
    ("full", "kept"),
    [(range(9, 30), range(8)), (range(9, 14), [*range(8), *range(20, 30)])],
    ids=["on", "freed"],
)
def test_a_full_disk_costs_points_and_nothing_else(full, kept, disk, clock, tmp_path):
    plain = Quiet(disk, clock)
    fit(tmp_path / "plain", plain)
    module = Quiet(disk, clock, full)
    csv = CSVLogger(tmp_path, "csv", "run")
    with pytest.warns(UserWarning, match="TensorBoardLogger cannot write: OSError.*No space left"):
        run = fit(tmp_path / "full", module, loggers=[csv])
    disk.full = False
    assert run.state.finished
    assert run.global_step == 30
    assert all(map(torch.equal, plain.parameters(), module.parameters()))
    whole, left = (curves(tmp_path / name / "run")["loss/train"] for name in ("plain", "full"))
    seen = [x for x, _ in left]
    assert set(left) <= set(whole)
    assert set(kept) <= set(seen)
    assert len(seen) == len(set(seen))
    # Another logger is not touched by it.
    assert len(csv.experiment.metrics_keys) > 2


@pytest.mark.parametrize("error", [FULL, TypeError("a bug")], ids=["OSError", "TypeError"])
def test_only_an_outage_of_a_logger_is_survived(error, disk, clock, tmp_path):
    class Breaks(CSVLogger):
        def log_metrics(self, metrics, step=None):
            if step == 7:
                raise error

    module = Quiet(disk, clock)
    if error is FULL:
        with pytest.warns(UserWarning, match="Breaks cannot write: OSError"):
            assert fit(tmp_path, module, loggers=[Breaks(tmp_path)]).global_step == 30
    else:
        with pytest.raises(TypeError, match="a bug") as raised:
            fit(tmp_path, module, loggers=[Breaks(tmp_path)])
        assert raised.value is error


@pytest.mark.parametrize("csv", [False, True])
def test_a_log_folder_that_is_deleted_in_the_run_is_made_again_and_told(csv, tmp_path, recwarn):
    class Deletes(Callback):
        def on_train_batch_end(self, trainer, *_):
            if trainer.global_step == 14:
                shutil.rmtree(trainer.logger.log_dir)

    logger = CSVLogger(tmp_path, "", "run") if csv else TensorBoardLogger(tmp_path, name="", version="run")
    run = trainer(
        LRDecay(Cosine(), interval="step"),
        LRLogger(),
        Deletes(),
        ModelCheckpoint(tmp_path / "saved", every_n_train_steps=4),
        max_epochs=3,
        log_every_n_steps=4,
        enable_checkpointing=True,
        logger=logger,
    )
    run.fit(Toy())
    assert run.global_step == 30
    told = [str(each.message) for each in recwarn if "was deleted while" in str(each.message)]
    assert len(told) == 1
    assert str(tmp_path / "run") in told[0]
    if not csv:
        seen = curves(tmp_path / "run")["loss/train"]
        assert [x for x, _ in seen][-14:] == list(range(16, 30))
