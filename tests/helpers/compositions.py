"""Fits made of whatever may meet in one, drawn at random, and run whole or in parts."""

from dataclasses import dataclass
from random import Random
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from torch.optim import SGD, AdamW
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, OneCycleLR, SequentialLR, StepLR

from helpers.scripted import Stalling, Verdicts, constant_batches, saver
from helpers.toy import trainer
from lightning_lr import LRDecay, LRLogger, LRRangeTest, LRSearch, PlateauDetector
from lightning_lr.plateau import Escape, ReduceLR, ReportOnly, RestoreBest, Retune, StartCooldown
from lightning_lr.policies import Cosine, Exponential, Linear, WarmupStableDecay

EPOCH = 8  # batches
COOLING = WarmupStableDecay(2, shape="linear")
DECAYS = [
    {"policy": policy, "interval": interval, "warmup": warmup}
    for policy in (Cosine(end=0.1), Linear(), Exponential(0.9), COOLING)
    for interval in ("step", "epoch")
    for warmup in (0, 3)
]
SCHEDULERS = {
    "none": None,
    "OneCycleLR": lambda optimizer, lrs: OneCycleLR(optimizer, lrs, total_steps=50),
    "CosineAnnealingLR": lambda optimizer, lrs: CosineAnnealingLR(optimizer, 40),
    "SequentialLR": lambda optimizer, lrs: SequentialLR(
        optimizer, [LinearLR(optimizer, 0.1, total_iters=5), StepLR(optimizer, 3, 0.7)], [5]
    ),
}


def short_search():
    return LRSearch(steps_per_trial=4, final_steps=6, budget=80, score="train")


FINDERS = {
    "nothing": list,
    "range test": lambda: [LRRangeTest(20)],
    "range tests": lambda: [LRRangeTest(20, milestones=(0, 2))],
    "search": lambda: [short_search()],
    "both": lambda: [LRRangeTest(20), short_search()],
}
ACTIONS = [
    [],
    [ReportOnly()],
    [ReduceLR(0.5, cooldown=1)],
    [RestoreBest(), ReduceLR(0.5)],
    [Escape()],
    [Retune()],
    [StartCooldown()],
]


@dataclass(frozen=True)
class Composition:
    """What a fit is made of."""

    finder: str
    schedule: Any
    actions: tuple[list[Any], list[Any], list[Any]]
    verdicts: str
    order: int
    lr: float
    adam: bool
    two_groups: bool
    tensor_lr: bool
    val_check_interval: float
    accumulation: int

    def callbacks(self):
        found, chosen = FINDERS[self.finder](), []
        decay = [LRDecay(**self.schedule)] if isinstance(self.schedule, dict) else []
        for actions in self.actions:
            # Where there is nothing to test or to cool down, something else.
            lacks = (not found and Retune() in actions) or (
                StartCooldown() in actions and not (decay and decay[0].has_cooldown)
            )
            chosen.append([ReduceLR(0.3)] if lacks else actions)
        names = ("on_plateau", "on_overfitting", "on_divergence")
        judge = PlateauDetector(detector=Verdicts(self.verdicts), **dict(zip(names, chosen, strict=True)))
        callbacks = [*found, *decay, judge, LRLogger()]
        Random(self.order).shuffle(callbacks)
        return callbacks


def composed(seed):
    draw = Random(seed)
    return Composition(
        finder=draw.choice(sorted(FINDERS)),
        schedule=draw.choice(DECAYS) if draw.random() < 0.75 else draw.choice(sorted(SCHEDULERS)),
        actions=tuple(draw.choices(ACTIONS, k=3)),
        verdicts="".join(draw.choices("iippodu", k=12)),
        order=seed,
        lr=10 ** draw.uniform(-4, -1),
        adam=draw.random() < 0.5,
        two_groups=draw.random() < 0.5,
        tensor_lr=draw.random() < 0.25,
        val_check_interval=draw.choice([1.0, 0.5, 0.25]),
        accumulation=draw.choice([1, 2, 3]),
    )


class Composed(Stalling):
    def __init__(self, composition):
        torch.manual_seed(0)
        super().__init__(batches=EPOCH)
        self.composition = composition
        for parameter in self.parameters():
            torch.nn.init.constant_(parameter, 3.0)

    def train_dataloader(self):
        return constant_batches(EPOCH, batch_size=16)

    def configure_optimizers(self):
        composition, parameters = self.composition, list(self.parameters())
        lrs = [composition.lr, composition.lr / 3] if composition.two_groups else [composition.lr]
        parts = [[each] for each in parameters] if composition.two_groups else [parameters]
        given = [torch.tensor(lr) if composition.tensor_lr else lr for lr in lrs]
        groups = [{"params": part, "lr": lr} for part, lr in zip(parts, given, strict=True)]
        optimizer = AdamW(groups, lr=1.0) if composition.adam else SGD(groups, lr=1.0, momentum=0.9)
        make = SCHEDULERS[composition.schedule] if isinstance(composition.schedule, str) else None
        if make is None:
            return optimizer
        scheduler = {"scheduler": make(optimizer, lrs), "interval": "step"}
        return {"optimizer": optimizer, "lr_scheduler": scheduler}


class Used(Callback):
    """Notes the LRs of every step, of its last batch where gradients accumulate; ends the fit at one.

    With LRDecay, each is its base LR times the factor of the plan at the Trainer's own count of steps.
    """

    def __init__(self, end=-1):
        self.lrs, self.end = {}, end

    def on_train_batch_start(self, trainer, *args):
        groups = trainer.optimizers[0].param_groups
        self.lrs[trainer.global_step] = [float(group["lr"]) for group in groups]
        for decay in (each for each in trainer.callbacks if isinstance(each, LRDecay)):
            factor = decay.plan.factor(step=trainer.global_step, epoch=trainer.current_epoch)
            planned = [float(group["initial_lr"]) * factor for group in groups]
            assert self.lrs[trainer.global_step] == pytest.approx(planned, rel=1e-5)

    def on_train_batch_end(self, trainer, *args):
        if trainer.global_step == self.end:
            raise InterruptedError


def fit(composition, root, used, ckpt_path=None):
    run = trainer(
        *composition.callbacks(),
        used,
        saver(root / "saved"),
        root=root,
        max_epochs=4,
        val_check_interval=composition.val_check_interval,
        # A checkpoint in the midst of an accumulation has no gradients.
        accumulate_grad_batches=composition.accumulation if composition.val_check_interval == 1 else 1,
        log_every_n_steps=4,
        enable_checkpointing=True,
    )
    module = Composed(composition)
    run.fit(module, ckpt_path=ckpt_path, weights_only=True if ckpt_path else None)
    return module


def step_of(path):
    return int(path.stem.removeprefix("step="))


def own(shown):
    """Return of some curves those of this package; points that are not a number equal one another."""
    rooms = ("lr", "lr_base", "lr_factor", "loss", "plateau", "range_test", "search")
    return {
        tag: [(x, repr(y)) for x, y in points]
        for tag, points in shown.items()
        if tag.startswith(tuple(f"{each}/" for each in rooms))
    }
