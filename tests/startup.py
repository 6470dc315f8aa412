"""Fits to test what finds an LR before they start: with something to learn, and with their steps counted."""

from pathlib import Path

import torch
from torch.optim import SGD, AdamW
from torch.utils.data import DataLoader, TensorDataset
from toy import Toy, trainer
from twin import ManualNet, Net

TESTS = Path(__file__).parent
START = 0.002


# Of a ratio that is a power of two, products of LRs are exact.
def sgd(parameters, lr):
    return SGD(parameters, lr=lr, momentum=0.9)


def adamw(parameters, lr):
    return AdamW(parameters, lr=lr)


class Easy:
    """Mixed into a Net: a loss whose fall is clear after few steps."""

    def criterion(self, logits, targets):
        return super().criterion(logits, targets) + (logits.mean(0) - 3).square().sum()


class EasyNet(Easy, Net):
    pass


class EasyManualNet(Easy, ManualNet):
    pass


class Learner(Toy):
    """Has something to learn; the steps that it is asked for are counted."""

    def __init__(self, optimizer=None, **kwargs):
        super().__init__(optimizer or (lambda parameters: SGD(parameters, lr=START)), **kwargs)
        for parameter in self.parameters():
            torch.nn.init.zeros_(parameter)

    def training_step(self, batch, batch_idx):
        LEDGER["steps"] += 1
        return self.loss(batch)

    def train_dataloader(self):
        generator = torch.Generator().manual_seed(0)
        features = torch.randn(16 * self.batches, 4, generator=generator)
        return DataLoader(TensorDataset(features, 3 * features.sum(1, keepdim=True)), 16)


# Outside of the module: there, a rehearsal would leave no trace.
LEDGER = {"steps": 0}


def fit(module, *callbacks, ckpt_path=None, **kwargs):
    LEDGER["steps"] = 0
    run_of = trainer(*callbacks, **kwargs)
    run_of.fit(module, ckpt_path=ckpt_path)
    return run_of


def lrs_of(fitted):
    return [float(group["lr"]) for each in fitted.optimizers for group in each.param_groups]
