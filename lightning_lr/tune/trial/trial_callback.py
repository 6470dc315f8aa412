"""Puts the LR of a trial in at fit start, reports every validation, and ends the fit on all ranks at once."""

import math
import os
import traceback
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from lightning_lr.finders.finder import Finder
from lightning_lr.finders.written_lrs import train_with
from lightning_lr.fit.lightnings import BaseCallback, LightningModule, MisconfigurationException, Trainer
from lightning_lr.fit.neighbors import callbacks_of
from lightning_lr.fit.run_share import RunShare
from lightning_lr.peaks import check_schedules_follow, peak_lr
from lightning_lr.plateau.monitored import (
    TRAINING,
    MonitoredValue,
    ReadsValidations,
    TrainingLoss,
)
from lightning_lr.schedules.own_lrs import own_lr
from lightning_lr.tune.trial.line import Line
from lightning_lr.tune.trial.spec import Spec

__all__ = ["NO_TRAINING_LOSS", "PutIn", "TrialCallback", "check_lr_can_be_put_in", "missing"]

# Between what is told and what is used; a floor may be so small a part of the LR.
_TOLERANCE = 1e-2
# Of so many parts of a run the mean training loss is told, where that is monitored.
_PARTS = 10
NO_TRAINING_LOSS = (
    "This fit validates nothing, and `training_step` returns no loss, so there is none to judge an LR by:"
    " return it at the end of `training_step` (detached will do), or validate."
)
_WAY_OUT = "Return the optimizer alone and add the callback LRDecay."


def check_lr_can_be_put_in(trainer: Trainer) -> float:
    """Return the highest LR of the run as the user has written it; all ranks call it.

    Raises:
        MisconfigurationException: Another LR would not be the one that is used.
    """
    reason = own_lr(trainer.optimizers)
    if reason is not None:
        raise MisconfigurationException(f"There is no LR to tune. {reason}")
    check_schedules_follow(trainer, "lightning_lr.tune", way_out=_WAY_OUT)
    peak = peak_lr(trainer)
    if peak == 0:
        raise MisconfigurationException(
            "There is no LR to tune: the highest LR of the run is 0. Give the optimizer one above 0; what is"
            " tuned is that of the group with the highest, and the others keep their ratio to it."
        )
    return peak


class PutIn(BaseCallback):
    """Trains with the LR of a trial in place of the optimizer's or of what a finder would find."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        for finder in callbacks_of(trainer, Finder):
            # Not removed: an action of PlateauDetector may call it later.
            finder.milestones = ()

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        lr = self.spec.lr
        if lr is None:
            raise ValueError("A trial needs an LR.")
        old = check_lr_can_be_put_in(trainer)
        if not math.isclose(old, lr, rel_tol=1e-9):
            train_with(trainer, pl_module, old=old, new=lr)
        peak = peak_lr(trainer)
        if not math.isclose(peak, lr, rel_tol=_TOLERANCE):
            raise MisconfigurationException(
                f"With the LR {lr:.3g} put in, the highest LR of this fit would be {peak:.3g}: its schedule"
                " has an LR of its own that stays, for example `eta_min`. Set that to 0, or use LRDecay."
            )


class TrialCallback(PutIn, ReadsValidations):
    """Reports to the worker; only rank 0 does, and what it is answered holds for all ranks."""

    def __init__(self, spec: Spec) -> None:
        super().__init__(spec)
        self._value = MonitoredValue(spec.monitor)
        self._training = TrainingLoss() if spec.monitor == TRAINING else None
        self._run: RunShare | None = None
        self._part = 0
        self._line: Line | None = None
        self._loss: Any = None

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        # Not earlier: `ddp_spawn` brings the callback into other processes.
        self._line = Line(self.spec.port, self.spec.token)
        self._line.ask("began", rank=trainer.global_rank, pid=os.getpid(), group=os.getpgrp())

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self._run = RunShare(trainer, pl_module)

    @override
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._loss = outputs
        if self._training is not None:
            self._training.add(trainer, pl_module, outputs)
            if self._known_run.counts_steps and self._parts_over(trainer) > self._part:
                self._report_training(trainer, self._training)

    @override
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._training is not None and not self._known_run.counts_steps:
            self._report_training(trainer, self._training)

    @override
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking or self._training is not None:
            return
        value, names = self._value.finish(trainer)
        if value is None:
            raise MisconfigurationException(missing(self.spec.monitor, names))
        self._report(trainer, value)

    @override
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero:
            self._ask("finished")

    @override
    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if isinstance(exception, Exception) and self._line is not None:
            told = "".join(traceback.format_exception(exception))
            error = traceback.format_exception_only(exception)[-1].strip()
            self._ask(
                "failed", error=error, traceback=told, diverged=self._has_diverged(pl_module, exception)
            )

    @property
    def _known_run(self) -> RunShare:
        if self._run is None:
            raise RuntimeError("The fit has not begun.")
        return self._run

    def _parts_over(self, trainer: Trainer) -> int:
        # A share of 0.3 times 10 may be a rounding below 3.
        return math.floor(self._known_run.share(trainer) * _PARTS + 1e-6)

    def _report_training(self, trainer: Trainer, training: TrainingLoss) -> None:
        """Report the mean loss of the part of the run that has just ended; all ranks call it."""
        self._part = self._parts_over(trainer)
        value = training.take(trainer)
        if value is None:
            raise MisconfigurationException(NO_TRAINING_LOSS)
        self._report(trainer, value)

    def _report(self, trainer: Trainer, value: float) -> None:
        """Report a value, and end the fit on all ranks if it is not to go on."""
        goes_on = True
        if trainer.is_global_zero:
            goes_on = self._ask("report", value=value, share=self._known_run.share(trainer))
        if not trainer.strategy.broadcast(goes_on):
            _stop(trainer)

    def _ask(self, kind: str, **values: Any) -> Any:
        if self._line is None:
            raise RuntimeError("The fit has not begun.")
        return self._line.ask(kind, **values)

    def _has_diverged(self, pl_module: LightningModule, exception: BaseException) -> bool:
        """Tell whether a step raised because the LR was too high."""
        words = set(str(exception).lower().replace(",", " ").replace("`", " ").split())
        if words & {"nan", "inf", "non-finite", "nan/inf", "infinity", "nonfinite"}:
            return True
        loss = self._loss.get("loss") if isinstance(self._loss, dict) else self._loss
        weights = [each for each in pl_module.parameters() if each.is_floating_point()]
        tensors: list[Tensor] = [*weights, *(each.grad for each in weights if each.grad is not None)]
        tensors += [loss] if isinstance(loss, Tensor) else []
        return not all(bool(torch.isfinite(each.detach()).all()) for each in tensors)


def missing(monitor: str, names: list[str]) -> str:
    """Return what to say where a validation does not give the monitored value."""
    there = ", ".join(map(repr, names)) or "nothing"
    return (
        f"`--monitor {monitor}` is nothing that a validation of this fit gives. It gives {there}. Monitor one"
        f" of these, or call `self.log({monitor!r}, ...)` in `validation_step`, or return the loss from it."
    )


def _stop(trainer: Trainer) -> None:
    """End the fit as EarlyStopping does, whatever its least length."""
    trainer.fit_loop.min_epochs, trainer.fit_loop.epoch_loop.min_steps = 0, None
    trainer.should_stop = True
