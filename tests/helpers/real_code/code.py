"""What all cases have in common: a regression that is soon learned, and the list of cases.

`state` returns what a fit has left where the case keeps its state, so that two fits can be compared; `reset`
begins anew what outlives a module.
"""

from pathlib import Path

import torch
from lightning.pytorch import LightningModule
from torch import nn
from torch.optim import SGD
from torch.utils.data import DataLoader, TensorDataset

CASES = {}
# What a snapshot cannot follow by nature: a test finds it out and names it.
NAMED = {}


def case(kind):
    CASES[kind.__name__] = kind
    return kind


class Code(LightningModule):
    """A regression that is soon learned; the cases add to it."""

    folder = Path()

    def __init__(self, lr):
        super().__init__()
        self.net = nn.Linear(4, 1)
        self.lr = lr

    @classmethod
    def reset(cls):
        pass

    def state(self):
        return None

    def loss(self, batch):
        features, targets = batch
        return nn.functional.mse_loss(self.net(features), targets)

    def training_step(self, batch, batch_idx):
        return self.loss(batch)

    def validation_step(self, batch, batch_idx):
        return nn.functional.mse_loss(self.net(batch[0]), batch[1])

    def configure_optimizers(self):
        return SGD(self.net.parameters(), lr=self.lr, momentum=0.5)

    def data(self):
        generator = torch.Generator().manual_seed(0)
        features = torch.randn(96, 4, generator=generator)
        return TensorDataset(features, 3 * features.sum(1, keepdim=True))

    def train_dataloader(self):
        return DataLoader(self.data(), 8)

    def val_dataloader(self):
        return DataLoader(self.data(), 16)


def listed(tensors):
    return [tensor.detach().flatten().tolist() for tensor in tensors]
