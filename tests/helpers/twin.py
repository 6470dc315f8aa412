"""Two fits that must be the same bit for bit: one with a test in front, one without."""

import random
from collections import Counter
from pathlib import Path

import numpy as np
import torch
import torchmetrics
from lightning.pytorch import Callback, LightningModule, seed_everything
from torch import nn
from torch.utils.data import DataLoader, Dataset

from helpers.toy import trainer

HOOKS = [
    name
    for name in vars(Callback)
    if name.startswith("on_") and name not in ("on_exception", "on_load_checkpoint")
]


class CountHooks(Callback):
    """Counts every hook that any callback gets."""

    def __init__(self):
        self.counts = Counter()
        for name in HOOKS:
            setattr(self, name, lambda *args, name=name, **kwargs: self.counts.update([name]))


class Noisy(Dataset):
    """Samples with augmentation from the global generators and from one of its own."""

    def __init__(self, size=48):
        generator = torch.Generator().manual_seed(0)
        self.features = torch.randn(size, 6, generator=generator)
        self.targets = self.features.sum(1).gt(0).long()
        self.own = np.random.default_rng(0)
        self.reads = 0

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, index):
        self.reads += 1
        noise = 0.01 * (random.random() + np.random.rand() + self.own.random())  # noqa: NPY002
        return self.features[index] + noise * torch.rand(6), self.targets[index]


class Net(LightningModule):
    """A module with all the state that a rehearsal may leave a trace in."""

    def __init__(self, make_optimizers, make_loader=None):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.ReLU(), nn.Linear(8, 2)
        )
        self.register_buffer("calls", torch.zeros(1), persistent=False)
        self.accuracy = torchmetrics.Accuracy("multiclass", num_classes=2)
        self.make_optimizers = make_optimizers
        self.make_loader = make_loader or (lambda: DataLoader(Noisy(), 8))
        self.steps_made = 0
        self.seen = []

    def loss(self, batch):
        while not isinstance(batch[0] if isinstance(batch, list | tuple) else None, torch.Tensor):
            batch = next(iter(batch.values())) if isinstance(batch, dict) else batch[0]
        features, targets = batch
        return self.criterion(self.net(features), targets), features, targets

    def criterion(self, logits, targets):
        return nn.functional.cross_entropy(logits, targets)

    def training_step(self, batch, batch_idx):
        loss, features, targets = self.loss(batch)
        self.calls += 1
        self.steps_made += 1
        self.seen.append(features.double().sum().item())
        self.accuracy.update(features[:, :2], targets)
        self.log("train_loss", loss, on_step=True, on_epoch=True)
        self.log("train_accuracy", self.accuracy, on_epoch=True)
        return loss

    def validation_step(self, batch, batch_idx):
        loss, *_ = self.loss(batch)
        self.log("val_loss", loss)

    def configure_optimizers(self):
        return self.make_optimizers(self.net.parameters())

    def train_dataloader(self):
        return self.make_loader()

    def val_dataloader(self):
        return DataLoader(Noisy(16), 8)


class ManualNet(Net):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        for optimizer in self.optimizers():
            optimizer.zero_grad()
        self.manual_backward(loss)
        for optimizer, scheduler in zip(self.optimizers(), self.lr_schedulers(), strict=True):
            optimizer.step()
            scheduler.step()
        return loss


def run(root, make_module, *callbacks, **kwargs):
    """Fit once from a fixed seed and return everything that may differ, by name."""
    seed_everything(1, verbose=False)
    module, spy = make_module(), CountHooks()
    fit = trainer(spy, *callbacks, root=root, log_every_n_steps=1, **kwargs)
    fit.fit(module)
    return fingerprint(fit, module, spy, root)


def fingerprint(fit, module, spy, root):
    states = [optimizer.state_dict() for optimizer in fit.optimizers]
    schedulers = [config.scheduler.state_dict() for config in fit.lr_scheduler_configs]
    logged = {name: value.item() for name, value in fit.logged_metrics.items()}
    return {
        "weights": [local(tensor) for tensor in module.parameters()],
        "buffers": [tensor.tolist() for tensor in module.buffers()],
        "attributes": (module.steps_made, module.accuracy.update_count, module.training),
        "batches": module.seen,
        "optimizers": repr(states),
        "schedulers": repr(schedulers),
        "generators": (torch.rand(2).tolist(), np.random.rand(), random.random()),  # noqa: NPY002
        "progress": (fit.global_step, fit.current_epoch, fit.fit_loop.epoch_loop.total_batch_idx),
        "metrics": logged,
        "hooks": dict(spy.counts),
        "files": sorted(
            str(path.relative_to(root))
            for path in Path(root).rglob("*")
            # What a test tells of itself is meant to be there.
            if "tfevents" not in path.name and path.name != "decisions.jsonl"
        ),
    }


def local(tensor):
    return (tensor.to_local() if hasattr(tensor, "to_local") else tensor).tolist()


def assert_same(one, other):
    for name in one:
        assert one[name] == other[name], name
