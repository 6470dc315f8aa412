"""Schedules over planned runs, stepped as Lightning steps them, but without a fit around them."""

import math
from types import SimpleNamespace

import pytest
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import LRSchedulerConfig
from torch.optim import SGD
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from lightning_lr.peaks import check_schedules_follow, peak_lr
from lightning_lr.rates import rescale


class Stepping(LightningModule):
    """A module that steps its schedulers as Lightning does, or with the time as timm's want it."""

    def __init__(self, by=None):
        super().__init__()
        self.by = by


class SteppingByTime(Stepping):
    def lr_scheduler_step(self, scheduler, metric):
        if self.by == "step":
            scheduler.step_update(num_updates=self.global_step)
        else:
            scheduler.step(epoch=self.current_epoch + 1)


def planned_fit(optimizers, schedulers, *, epochs=1, batches=20, interval="step", frequency=1, **settings):
    """Return what a Trainer knows of a fit at its start."""
    module = settings.pop("module", None) or Stepping()
    configs = [
        LRSchedulerConfig(
            scheduler,
            interval=interval,
            frequency=frequency,
            reduce_on_plateau=isinstance(scheduler, ReduceLROnPlateau),
        )
        for scheduler in schedulers
    ]
    fit = {"optimizers": optimizers, "lr_scheduler_configs": configs, "lightning_module": module}
    fit |= {"max_epochs": epochs, "max_steps": -1, "num_training_batches": batches, "callbacks": []}
    fit |= {"accumulate_grad_batches": 1, "world_size": 1, "global_step": 0, "current_epoch": 0}
    return SimpleNamespace(**(fit | settings))


def trained(fit):
    """Run the schedulers of a planned fit for real, and return the LRs of every step."""
    trace = []
    module = fit.lightning_module
    module._trainer = fit
    accumulated = fit.accumulate_grad_batches
    while fit.current_epoch < fit.max_epochs:
        for batch in range(fit.num_training_batches):
            is_last = batch + 1 == fit.num_training_batches
            if (batch + 1) % accumulated and not is_last:
                continue
            trace.append(lrs_of_groups(fit.optimizers))
            for optimizer in fit.optimizers:
                optimizer.step()
            fit.global_step += 1
            step_schedulers(fit, "step", batch + 1)
        step_schedulers(fit, "epoch", fit.current_epoch + 1)
        fit.current_epoch += 1
    return trace


def step_schedulers(fit, interval, count):
    for config in fit.lr_scheduler_configs:
        if config.interval == interval and count % config.frequency == 0 and not config.reduce_on_plateau:
            fit.lightning_module.lr_scheduler_step(config.scheduler, None)


def lrs_of_groups(optimizers):
    return [float(group["lr"]) for optimizer in optimizers for group in optimizer.param_groups]


def sgd(*lrs, **kwargs):
    groups = [{"params": [torch.nn.Parameter(torch.ones(1))], "lr": lr} for lr in lrs]
    return SGD(groups, **kwargs)


def rescaled(fit, old, new):
    schedulers = [config.scheduler for config in fit.lr_scheduler_configs]
    rescale(fit.optimizers, schedulers, old=old, new=new)


def assert_told_and_rescaled_as_used(fit_from, *, new):
    """Compare what is told of a run with the LRs that it uses, and a rescaled run with one that began there.

    Args:
        fit_from: Returns a planned fit with a base LR.
        new: The peak to rescale to.

    Returns:
        What happened, for statistics.
    """
    told = peak_lr(fit_from(0.1))
    used = max(map(max, trained(fit_from(0.1))))
    # The maximum of a cycle may lie between two steps.
    assert 0.9 * told <= used <= told * (1 + 1e-6)
    if told < 1e-9:
        return "nothing is trained"
    fit = fit_from(0.1)
    try:
        check_schedules_follow(fit, "LRSearch")
    except MisconfigurationException:
        return "refused"
    rescaled(fit, told, new)
    told_after = peak_lr(fit)
    trace = trained(fit)
    twin = trained(fit_from(0.1 / told * new))
    assert trace == [pytest.approx(lrs, rel=1e-6, abs=1e-15) for lrs in twin]
    # A floor may be higher than the new LR, or a small part of it; then another peak is told than asked for.
    assert told_after >= new * 0.99
    assert 0.9 * told_after <= max(map(max, trace)) <= told_after * (1 + 1e-6)
    return "between two steps" if used < told * (1 - 1e-6) else "followed"


class WarmupRestarts(LRScheduler):
    """Cosines between two absolute LRs instead of the optimizer's, as many projects have them."""

    def __init__(self, optimizer, cycle, *, max_lr=0.1, min_lr=0.001, warmup=0, gamma=1.0):
        self.cycle, self.warmup, self.gamma = cycle, warmup, gamma
        self.base_max_lr = self.max_lr = max_lr
        self.min_lr = min_lr
        self.position = -1
        super().__init__(optimizer)
        self.init_lr()

    def init_lr(self):
        self.base_lrs = []
        for group in self.optimizer.param_groups:
            group["lr"] = self.min_lr
            self.base_lrs.append(self.min_lr)

    def get_lr(self):
        if self.position < 0:
            return self.base_lrs
        if self.position < self.warmup:
            return [low + (self.max_lr - low) * self.position / self.warmup for low in self.base_lrs]
        done = (self.position - self.warmup) / (self.cycle - self.warmup)
        return [low + (self.max_lr - low) * (1 + math.cos(math.pi * done)) / 2 for low in self.base_lrs]

    def step(self, epoch=None):
        if epoch is None:
            epoch = self.last_epoch + 1
            self.position = (self.position + 1) % self.cycle
        else:
            self.position = epoch % self.cycle
        self.max_lr = self.base_max_lr * self.gamma ** (epoch // self.cycle)
        self.last_epoch = epoch
        for group, lr in zip(self.optimizer.param_groups, self.get_lr(), strict=True):
            group["lr"] = lr
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]


class Absolute(LRScheduler):
    """A subclass with an LR of its own under a name that says so."""

    def __init__(self, optimizer, peak_lr, warmup):
        self.peak_lr, self.warmup = peak_lr, warmup
        super().__init__(optimizer)

    def get_lr(self):
        return [self.peak_lr * min(1, (self.last_epoch + 1) / self.warmup) for _ in self.base_lrs]


class Hidden(LRScheduler):
    """A subclass whose LR nobody can find."""

    def __init__(self, optimizer, lrs):
        self.table = dict(enumerate(lrs))
        super().__init__(optimizer)

    def get_lr(self):
        return [self.table.get(self.last_epoch, 0.01) for _ in self.base_lrs]
