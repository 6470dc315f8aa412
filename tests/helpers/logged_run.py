"""A run with everything on, killed and resumed: `cd tests; python -m helpers.logged_run ROOT VERSION`.

Every batch is the same, so that a run that resumes within an epoch, which Lightning begins with the first
batches of the loader again, is the one that was never interrupted.
"""

import argparse
import json
import os
import signal
import warnings
from pathlib import Path

import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.optim import AdamW
from torch.utils.data import DataLoader, TensorDataset

from helpers.apart import run
from helpers.finders import Learner
from helpers.toy import told_tag, trainer
from lightning_lr import LRDecay, LRLogger, LRRangeTest, LRSearch, PlateauDetector
from lightning_lr.policies import Cosine

STEPS, EPOCH = 30, 10


class Repeating(Learner):
    """Learns from one batch, and logs something itself."""

    def __init__(self):
        super().__init__(lambda parameters: AdamW(parameters, lr=0.002))
        self.save_hyperparameters({"width": 4, "nested": {"lr": 0.002}})

    def validation_step(self, batch, batch_idx):
        loss = self.loss(batch)
        self.log("val_acc", 1 / (1 + loss))
        return loss

    def train_dataloader(self):
        generator = torch.Generator().manual_seed(0)
        batch = torch.randn(16, 4, generator=generator)
        features = batch.repeat(EPOCH, 1)
        return DataLoader(TensorDataset(features, 3 * features.sum(1, keepdim=True)), 16)


class Kill(Callback):
    """Kills the process without a word, once what is logged so far is on disk."""

    def __init__(self, step):
        self.step = step

    def on_train_batch_end(self, trainer, *args):
        if trainer.global_step == self.step:
            for logger in trainer.loggers:
                logger.save()
            os.kill(os.getpid(), signal.SIGKILL)


def run_apart(*arguments, killed=False):
    """Run this script in a process of its own."""
    done = run("helpers.logged_run", *arguments)
    assert done.returncode == (-signal.SIGKILL if killed else 0), done.stderr[-3000:]


def curves(root):
    """Return the points of every curve of a folder, as TensorBoard shows them, by `told_tag`."""
    events = EventAccumulator(str(root), size_guidance={"scalars": 0}).Reload()
    return {
        told_tag(tag): [(point.step, point.value) for point in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
        if tag != "hp_metric"  # Lightning writes it at the start of every fit.
    }


def decisions(folder):
    """Return the lines of `decisions.jsonl`."""
    return [json.loads(line) for line in (folder / "decisions.jsonl").read_text().splitlines()]


def shown(folder):
    """Return the items of the last text `decisions`, without their times."""
    events = EventAccumulator(str(folder), size_guidance={"tensors": 0}).Reload()
    text = events.Tensors("decisions/text_summary")[-1].tensor_proto.string_val[0].decode()
    return [item.rpartition(" (")[0] for item in text.splitlines()]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=Path)
    parser.add_argument("version")
    parser.add_argument("--every", type=int, default=3, help="log_every_n_steps")
    parser.add_argument("--save-every", type=int, default=0, help="in steps; 0 for after every validation")
    parser.add_argument("--kill-at", type=int, default=-1)
    parser.add_argument("--resume", default=None)
    parser.add_argument("--search", action="store_true")
    parser.add_argument("--milestones", type=int, nargs="+", default=(0,))
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    every = {"every_n_train_steps": arguments.save_every} if arguments.save_every else {"monitor": "val_acc"}
    logged = trainer(
        LRSearch(steps_per_trial=6, budget=80)
        if arguments.search
        else LRRangeTest(40, milestones=arguments.milestones),
        LRDecay(Cosine(end=0.01), interval="step", warmup=5),
        PlateauDetector("val_acc", mode="max"),
        LRLogger(),
        Kill(arguments.kill_at),
        ModelCheckpoint(arguments.root / f"saved {arguments.version}", "{step}", save_top_k=-1, **every),
        max_epochs=STEPS // EPOCH,
        enable_checkpointing=True,
        log_every_n_steps=arguments.every,
        logger=[
            TensorBoardLogger(arguments.root, name="", version=arguments.version),
            CSVLogger(
                arguments.root / "csv", name="", version=f"{arguments.version} {arguments.resume is None}"
            ),
        ],
    )
    torch.manual_seed(0)
    logged.fit(Repeating(), ckpt_path=arguments.resume)


if __name__ == "__main__":
    main()
