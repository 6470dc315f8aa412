"""A small module with data, a silent Trainer and readers of what a run left: shared by the tests."""

from pathlib import Path
from types import ModuleType

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.data import DataLoader, IterableDataset, TensorDataset


class Toy(LightningModule):
    """Linear regression on 4 features; the optimizer comes from outside."""

    def __init__(self, optimizer=None, *, batches=10, batch_size=4):
        super().__init__()
        self.linear = torch.nn.Linear(4, 1)
        self.make_optimizer = optimizer or (lambda parameters: torch.optim.SGD(parameters, lr=0.1))
        self.batches = batches
        self.batch_size = batch_size

    def loss(self, batch):
        features, target = batch
        return torch.nn.functional.mse_loss(self.linear(features), target)

    def training_step(self, batch, batch_idx):
        return self.loss(batch)

    def validation_step(self, batch, batch_idx):
        return self.loss(batch)

    def configure_optimizers(self):
        return self.make_optimizer(self.parameters())

    def train_dataloader(self):
        return loader(self.batches, self.batch_size)

    def val_dataloader(self):
        return loader(3, self.batch_size, seed=1)


class Thawing(Toy):
    """Has a backbone that is not in the optimizer, for a BackboneFinetuning to thaw."""

    def __init__(self):
        super().__init__()
        self.backbone = torch.nn.Linear(4, 4)

    def loss(self, batch):
        features, target = batch
        return super().loss((self.backbone(features), target))

    def configure_optimizers(self):
        return torch.optim.SGD(self.linear.parameters(), lr=0.2)


class ManualToy(Toy):
    """Two optimizers that both step on every batch."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        loss = self.loss(batch)
        self.manual_backward(loss)
        for optimizer in self.optimizers():
            optimizer.step()
            optimizer.zero_grad()
        return loss

    def configure_optimizers(self):
        weight, bias = self.linear.parameters()
        return [torch.optim.SGD([weight], lr=0.1), torch.optim.Adam([bias], lr=0.01)]


class Stream(IterableDataset):
    """Batches without a length."""

    def __init__(self, batches=10):
        self.batches = batches

    def __iter__(self):
        generator = torch.Generator().manual_seed(0)
        for _ in range(self.batches):
            yield torch.randn(4, 4, generator=generator), torch.randn(4, 1, generator=generator)


class LRTrace(Callback):
    """Notes every LR that an optimizer step is made with, by global step, as any monitor would see it."""

    def __init__(self):
        self.lrs = {}

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        lrs = [float(group["lr"]) for each in trainer.optimizers for group in each.param_groups]
        self.lrs.setdefault(trainer.global_step, lrs)

    def first_group(self):
        return [lrs[0] for _, lrs in sorted(self.lrs.items())]


def loader(batches, batch_size=4, *, seed=0):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(batches * batch_size, 4, generator=generator)
    noise = torch.randn(batches * batch_size, 1, generator=generator)
    return DataLoader(TensorDataset(features, features.sum(1, keepdim=True) + noise), batch_size)


def trainer(*callbacks, root=None, **kwargs):
    settings = {"max_epochs": 2, "accelerator": "cpu", "enable_progress_bar": False, "logger": False}
    settings |= {"enable_model_summary": False, "enable_checkpointing": False, "num_sanity_val_steps": 0}
    if root is not None:
        settings |= {"default_root_dir": root, "logger": TensorBoardLogger(root, name="", version="run")}
    return Trainer(callbacks=list(callbacks), **(settings | kwargs))


class Ledger(ModuleType):
    """Counts what a dry run takes back everywhere else: no snapshot follows what a module of Python holds."""

    def __getitem__(self, name):
        return vars(self)[name]

    def __setitem__(self, name, value):
        vars(self)[name] = value

    def get(self, name, default):
        return vars(self).get(name, default)


class Notes(ModuleType):
    """Keeps what steps note, those of a dry run too."""

    def __init__(self):
        super().__init__("notes")
        self.all = []

    def append(self, note):
        self.all.append(note)


LEDGER = Ledger("ledger")
LEDGER["steps"] = 0


def fit(module, *callbacks, ckpt_path=None, **kwargs):
    """Fit with a silent Trainer, and count the steps that a Learner is asked for from zero."""
    LEDGER["steps"] = 0
    run = trainer(*callbacks, **kwargs)
    run.fit(module, ckpt_path=ckpt_path, weights_only=True if ckpt_path else None)
    return run


def lrs_of(run):
    return [float(group["lr"]) for each in run.optimizers for group in each.param_groups]


def scalars(root):
    """Return the points of every curve as a list of (x, y), in the order they were written, by `told_tag`."""
    events = EventAccumulator(str(Path(root) / "run"), size_guidance={"scalars": 0}).Reload()
    return {
        told_tag(tag): [(point.step, point.value) for point in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


def told_tag(tag):
    """Return the tag of a curve as callbacks have it, given its name in TensorBoard."""
    for shown, told in (("LR/", "lr/"), ("Loss/", "loss/")):
        if tag.startswith(shown):
            return told + tag.removeprefix(shown)
    # A curve of ours without a capital letter would not come first there.
    assert not tag.startswith(("lr/", "loss/"))
    return tag
