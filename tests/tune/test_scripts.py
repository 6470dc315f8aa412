"""Scripts of several kinds, each tuned by the command alone: all processes are real interpreters."""

import re
import shutil
from pathlib import Path

import pytest
from helpers.apart import started
from helpers.studies import processes_in

ROOT = Path(__file__).parents[2]
LIMIT = 300  # seconds
SCRIPT = """
import argparse
import os
import torch
from {lightning} import LightningModule, Trainer

class Module(LightningModule):
    def __init__(self, lr):
        super().__init__()
        self.automatic_optimization = {automatic}
        self.lr = lr
        self.first, self.second = torch.nn.Linear(4, 8), torch.nn.Linear(8, 1)

    def configure_model(self):
        if "{strategy}" == "fsdp2":
            from torch.distributed.fsdp import fully_shard
            for layer in (self.first, self.second):
                fully_shard(layer, mesh=self.device_mesh["data_parallel"])

    def training_step(self, batch, batch_idx):
        lrs = [group["lr"] for each in self.trainer.optimizers for group in each.param_groups]
        # In one piece: the ranks share the file, and Python may write each argument of a print alone.
        told = ["RANK", self.global_rank, "LRS", *lrs]
        os.write(1, " ".join(map(str, told)).encode() + bytes([10]))
        loss = ((self.second(self.first(batch)) - batch.sum(1, keepdim=True)) ** 2).mean()
        if not self.automatic_optimization:
            [each.zero_grad() for each in self.optimizers()]
            self.manual_backward(loss)
            [each.step() for each in self.optimizers()]
        return loss

    def validation_step(self, batch, batch_idx):
        return ((self.second(self.first(batch)) - batch.sum(1, keepdim=True)) ** 2).mean()

    def configure_optimizers(self):
        if self.automatic_optimization:
            return torch.optim.SGD(self.parameters(), lr=self.lr)
        return [torch.optim.SGD(self.first.parameters(), lr=self.lr),
                torch.optim.SGD(self.second.parameters(), lr=self.lr / 10)]

def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float, default=0.1)
    data = torch.utils.data.DataLoader(torch.randn(32, 4), batch_size=4)
    strategy = "{strategy}"
    if strategy == "fsdp2":
        from {lightning}.strategies import ModelParallelStrategy
        strategy = ModelParallelStrategy(2, 1, process_group_backend="gloo")
    trainer = Trainer(max_epochs=1, accelerator="cpu", devices={devices}, strategy=strategy, logger=False,
                      enable_checkpointing=False, enable_progress_bar=False)
    trainer.fit(Module(parser.parse_args().lr), data, data)
    trainer.test(datamodule="never called")

if __name__ == "__main__":
    main()
"""
KINDS = {
    "plain": {},
    "two optimizers": {"automatic": "False"},
    "pytorch_lightning": {"lightning": "pytorch_lightning"},
    "ddp": {"strategy": "ddp", "devices": "2"},
    "fsdp2": {"strategy": "fsdp2", "devices": "2"},
}


def tune(folder, *command, options=()):
    """Make two trials, and return what was said."""
    with started("lightning_lr.tune", "--trials=2", *options, *command, cwd=folder, limit=LIMIT) as worker:
        done = worker.finish()
    assert done.returncode == 0, done.stderr
    assert processes_in(folder, "train.py") == []
    return done.stdout


def lrs_in_table(said):
    rows = re.findall(r"^ *(\S+) +\S+ +complete +\d+:\d\d", said, re.MULTILINE)
    assert len(rows) == 2
    return [float(row) for row in rows]


@pytest.mark.parametrize("kind", KINDS)
def test_a_script_is_tuned_by_the_command_alone(tmp_path, kind):
    changes = {
        "lightning": "lightning.pytorch", "automatic": "True", "strategy": "auto", "devices": "1",
    } | KINDS[kind]  # fmt: skip
    text = SCRIPT
    for name, value in changes.items():
        text = text.replace(f"{{{name}}}", value)
    (tmp_path / "train.py").write_text(text)

    # A range below what LRRangeTest may find: the user's own LR is first, and then one 16x below it.
    said = tune(tmp_path, "train.py", "--lr", "0.02", options=["--low=0.001", "--high=0.0201"])

    told = lrs_in_table(said)
    assert "Best LR: " in said
    for number, log in enumerate(sorted(tmp_path.glob("lightning_logs/train-lr/trial_*.log"))):
        steps = re.findall(r"RANK (\d) LRS (.*)", log.read_text())
        used = {
            rank: {tuple(map(float, lrs.split())) for each, lrs in steps if each == rank} for rank, _ in steps
        }
        assert len(used) == int(changes["devices"]), number
        [lrs] = set.union(*used.values())
        assert lrs[0] == pytest.approx(min(told, key=lambda lr: abs(lr - lrs[0])), rel=0.01)
        assert lrs[1:] == (pytest.approx((lrs[0] / 10,)) if kind == "two optimizers" else ())


def test_the_plateau_example(tmp_path):
    left_out = shutil.ignore_patterns("*.png", "__pycache__")
    shutil.copytree(ROOT / "examples", tmp_path / "examples", ignore=left_out)
    command = ["examples/plateau.py", "fit", "--config", "examples/plateau.yaml"]
    said = tune(tmp_path, *command, options=["--epochs=1"])

    assert len(lrs_in_table(said)) == 2
    assert "the optimizer's own" in said
    assert (tmp_path / "logs/plateau/plateau-lr/trial_0001").is_dir()
