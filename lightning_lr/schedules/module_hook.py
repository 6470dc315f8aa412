"""Calls `lr_scheduler_step` of a module on copies, for another time than the Trainer's."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from torch.optim import Optimizer

from lightning_lr.fit.lightnings import LightningModule, Trainer, is_overridden
from lightning_lr.schedules.copies import Copier, UncopyableError

__all__ = ["Time", "hook_of"]


class Time:
    """The time that the module sees when it steps a scheduler."""

    def __init__(self) -> None:
        self.step = 0
        self.epoch = 0


def hook_of(
    trainer: Trainer, copier: Copier, time: Time, optimizers: Sequence[Optimizer]
) -> Callable[[Any], None] | None:
    """Return the module's own way of stepping a scheduler, on a copy of it that sees another time."""
    module = trainer.lightning_module
    if not module.automatic_optimization or not is_overridden("lr_scheduler_step", module):
        return None
    schedulers = []
    with suppress(UncopyableError):
        schedulers = [copier.copy(config.scheduler) for config in trainer.lr_scheduler_configs]
    twin: Any = copier.shallow(module)
    there = _TrainerThere(trainer, time, optimizers, schedulers)
    seen = {
        "current_epoch": property(lambda _: time.epoch),
        "global_step": property(lambda _: time.step),
        "trainer": property(lambda _: there),
    }
    twin.__class__ = type(type(module).__name__, (type(module),), seen)
    step: Callable[[LightningModule, Any, Any], None] = type(module).lr_scheduler_step
    return lambda scheduler: step(twin, scheduler, None)


class _TrainerThere:
    """The Trainer as a module sees it at another time."""

    def __init__(
        self, trainer: Trainer, time: Time, optimizers: Sequence[Optimizer], schedulers: Sequence[Any]
    ) -> None:
        self._trainer = trainer
        self._time = time
        self.optimizers = optimizers
        self.schedulers = schedulers

    @property
    def current_epoch(self) -> int:
        return self._time.epoch

    @property
    def global_step(self) -> int:
        return self._time.step

    def __getattr__(self, name: str) -> Any:
        return getattr(self._trainer, name)
