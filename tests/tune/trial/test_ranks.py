"""Trials on several ranks: all get the LR, one talks to the study, all end together."""

import sys
import threading
import time
from pathlib import Path

import pytest
from helpers.studies import processes_in, run, workers
from optuna.trial import TrialState

from lightning_lr.tune.workers.process import command_line

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")

SCRIPT = """
import sys, time
import torch
from lightning.pytorch import LightningModule, Trainer

class Module(LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)

    def training_step(self, batch, batch_idx):
        lr = self.trainer.optimizers[0].param_groups[0]["lr"]
        with open(f"rank_{self.global_rank}", "a") as file:
            file.write(f"{lr}\\n")
        time.sleep(float(sys.argv[1]))
        return ((self.layer(batch) - batch.sum(1, keepdim=True)) ** 2).mean()

    def validation_step(self, batch, batch_idx):
        if self.trainer.optimizers[0].param_groups[0]["lr"] > 0.5 and self.global_rank == 1:
            return torch.tensor(float("nan"))
        return self.training_step(batch, batch_idx)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

data = torch.utils.data.DataLoader(torch.randn(16, 4), batch_size=4)
trainer = Trainer(max_epochs=int(sys.argv[2]), accelerator="cpu", devices=2, strategy="ddp", logger=False,
                  enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
                  num_sanity_val_steps=0)
trainer.fit(Module(), data, data)
print("went on")
"""


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Workers that make trials of a script on two ranks."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONWARNINGS", raising=False)
    (tmp_path / "train.py").write_text(SCRIPT)

    def make(command, **options):
        found = workers(tmp_path, **options)
        found.job.command[:] = command
        return found

    return make


def lrs_of(rank):
    return [float(line) for line in Path(f"rank_{rank}").read_text().split()]


def test_ranks_that_lightning_starts(made, tmp_path):
    """The second trial's loss is NaN on rank 1 alone, after its first epoch."""
    first = {"good": 0.25, "diverges": 1.0}
    trials = run(made([sys.executable, "train.py", "0", "2"], limit=2, first=first))

    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 2, trials[0].user_attrs
    assert len(trials[0].intermediate_values) == 2
    assert trials[1].value == float("inf")
    # 2 batches a rank and epoch, in training and in validation; rank 1's last validation gave NaN at once.
    assert lrs_of(0) == [0.25] * 8 + [1.0] * 4
    assert lrs_of(1) == [0.25] * 8 + [1.0] * 2
    assert processes_in(tmp_path, "train.py") == []
    assert "went on" not in "".join(path.read_text() for path in tmp_path.glob("logs/study/*.log"))


def test_ranks_that_torchrun_starts_end_with_a_stop(made, tmp_path):
    """They are in groups of their own, which torchrun makes."""
    command = command_line(["torchrun", "--standalone", "--nproc_per_node=2", "train.py", "0.1", "500"])
    workers = made(command, limit=1, first={"one": 0.25})

    def stop():
        deadline = time.monotonic() + 120
        while not all(Path(f"rank_{rank}").exists() for rank in range(2)) and time.monotonic() < deadline:
            time.sleep(0.1)
        workers.stopping.set()

    threading.Thread(target=stop, daemon=True).start()
    trials = run(workers)

    assert [trial.state for trial in trials] == [TrialState.FAIL]
    assert set(lrs_of(0)) == set(lrs_of(1)) == {0.25}
    assert processes_in(tmp_path, "train.py") == []
