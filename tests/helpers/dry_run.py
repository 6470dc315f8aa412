"""Fits of every kind to make dry runs in, and a callback that makes them."""

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.plugins.precision import MixedPrecision
from lightning.pytorch.utilities import CombinedLoader
from torch.optim import SGD, AdamW
from torch.optim import lr_scheduler as schedulers
from torch.utils.data import DataLoader, IterableDataset
from torchdata.stateful_dataloader import StatefulDataLoader

from helpers.twin import ManualNet, Net, Noisy
from lightning_lr.dry_run.dry_run import DryRun

NEEDS_FSDP2_ON_CPU = pytest.mark.skipif(
    not hasattr(torch.cpu.Stream(), "record_event"), reason="torch before 2.7 has no FSDP2 on the CPU"
)
LRS = [1e-3 * 1.5**step for step in range(20)]


class Rehearse(Callback):
    """Makes steps with rising LRs before training, twice."""

    def __init__(self, lrs=LRS, **kwargs):
        self.lrs = lrs
        self.kwargs = kwargs
        self.losses = []

    def on_train_start(self, trainer, pl_module):
        with DryRun(trainer, pl_module, **self.kwargs) as dry:
            self.descents = dry.descents(3)
            for _ in range(2):
                self.losses.append([loss for _, loss in dry.steps(self.lrs)])


def sgd(parameters):
    return SGD(parameters, lr=0.1, momentum=0.9)


def adamw(parameters):
    return AdamW(parameters, lr=0.01)


def two_groups(parameters):
    first, *others = parameters
    return AdamW([{"params": [first]}, {"params": others, "lr": 0.001}], lr=0.01)


def scheduled(make, interval="step"):
    def make_optimizers(parameters):
        optimizer = sgd(parameters)
        return [optimizer], [{"scheduler": make(optimizer), "interval": interval, "monitor": "val_loss"}]

    return make_optimizers


def two_optimizers(parameters):
    first, *others = parameters
    optimizers = [SGD([first], lr=0.1), AdamW(others, lr=0.01)]
    return optimizers, [schedulers.StepLR(optimizers[0], 3), schedulers.CosineAnnealingLR(optimizers[1], 12)]


SCHEDULERS = {
    "LambdaLR": lambda o: schedulers.LambdaLR(o, lambda step: 1 / (1 + step)),
    "OneCycleLR": lambda o: schedulers.OneCycleLR(o, 0.1, 20),
    "CyclicLR": lambda o: schedulers.CyclicLR(o, 0.01, 0.1, 4),
    "CosineAnnealingWarmRestarts": lambda o: schedulers.CosineAnnealingWarmRestarts(o, 4),
    "SequentialLR": lambda o: schedulers.SequentialLR(
        o, [schedulers.LinearLR(o, 0.3, total_iters=4), schedulers.CosineAnnealingLR(o, 8)], [4]
    ),
    "ReduceLROnPlateau": lambda o: schedulers.ReduceLROnPlateau(o, patience=0),
}


class Counting(IterableDataset):
    """A stream without length that counts in an attribute and draws from the global generator."""

    def __init__(self):
        self.position = 0

    def __iter__(self):
        for _ in range(6):
            self.position += 1
            yield torch.rand(8, 6) + self.position, torch.ones(8, dtype=torch.long)


LOADERS = {
    "shuffle": lambda: DataLoader(Noisy(), 8, shuffle=True),
    "workers": lambda: DataLoader(Noisy(), 8, shuffle=True, num_workers=2),
    "persistent workers": lambda: DataLoader(
        Noisy(), 8, shuffle=True, num_workers=2, persistent_workers=True
    ),
    "stateful": lambda: StatefulDataLoader(Noisy(), 8, shuffle=True),
    "generator": lambda: DataLoader(Noisy(), 8, shuffle=True, generator=torch.Generator().manual_seed(5)),
    "dict": lambda: {"a": DataLoader(Noisy(), 8, shuffle=True), "b": DataLoader(Noisy(16), 8)},
    "combined": lambda: CombinedLoader([DataLoader(Noisy(), 8), DataLoader(Noisy(16), 8)], "min_size"),
    "iterable": lambda: DataLoader(Counting(), batch_size=None),
}

CASES = {
    "SGD": (lambda: Net(sgd), {}),
    "AdamW": (lambda: Net(adamw), {}),
    "two groups": (lambda: Net(two_groups), {}),
    "two optimizers": (lambda: ManualNet(two_optimizers), {}),
    "accumulation and clipping": (lambda: Net(sgd), {"accumulate_grad_batches": 3, "gradient_clip_val": 0.5}),
    "bf16": (lambda: Net(adamw), {"precision": "bf16-mixed"}),
    "fp16": (lambda: Net(adamw), {"plugins": ["fp16"]}),
    "limited batches": (lambda: Net(sgd), {"limit_train_batches": 4}),
    "overfit batches": (lambda: Net(sgd), {"overfit_batches": 2}),
    "sanity check": (lambda: Net(sgd), {"num_sanity_val_steps": 2}),
    "validation within epochs": (lambda: Net(sgd), {"val_check_interval": 0.25}),
}
CASES |= {
    name: (lambda make=make, name=name: Net(scheduled(make, "epoch" if "Plateau" in name else "step")), {})
    for name, make in SCHEDULERS.items()
}
CASES |= {f"loader: {name}": (lambda make=make: Net(sgd, make), {}) for name, make in LOADERS.items()}


def settings(kwargs):
    # A scaler has state: every fit gets its own.
    if kwargs.get("plugins") == ["fp16"]:
        return {
            "plugins": [MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=2.0**20))]
        }
    return kwargs


class OneShot(IterableDataset):
    """A stream that can be read once."""

    def __init__(self):
        self.lines = iter([(torch.ones(4, 4), torch.full((4, 1), float(index))) for index in range(5)])

    def __iter__(self):
        yield from self.lines
