"""A range test over the first real batches, for fits that allow no dry run."""

import copy
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor

from lightning_lr.dry_run.snapshot.snapshot import Root, Snapshot
from lightning_lr.dry_run.used_lrs import UsedLRs
from lightning_lr.finders.range_test.ramp import Ramp
from lightning_lr.fit.lightnings import LightningModule, Trainer
from lightning_lr.fit.losses import training_loss
from lightning_lr.fit.neighbors import schedulers_of
from lightning_lr.peaks import lrs_left
from lightning_lr.rates import lent, set_lrs
from lightning_lr.schedules.rescaling import nested_schedulers

__all__ = ["LiveRamp"]


class LiveRamp:
    """Ramps the LR over the first real steps, then puts weights, buffers, optimizers and schedulers back."""

    def __init__(self, trainer: Trainer, pl_module: LightningModule, ramp: Ramp) -> None:
        self.ramp = ramp
        self._trainer = trainer
        self._automatic = pl_module.automatic_optimization
        self._peaks = lrs_left(trainer)
        self._losses: list[Tensor] = []
        self._step = trainer.global_step
        self._module = pl_module
        self._snapshot = self._snapshot_of_now()
        self._used_lrs = UsedLRs(pl_module)
        self._lent = ExitStack()
        self._lent.enter_context(lent(trainer.optimizers))
        self._lent.enter_context(self._used_lrs.checked(trainer.optimizers))

    @property
    def reference_lr(self) -> float:
        """The highest peak LR of all groups; the LR of a step is the one of that group."""
        return max(lr for lrs in self._peaks for lr in lrs)

    def begin_batch(self) -> bool:
        """Set the LR of the step that a batch begins, and tell whether the ramp goes on."""
        if self._losses:
            return True  # another batch of the same step
        lr = self.ramp.next_lr()
        if lr is None:
            return False
        scale = lr / self.reference_lr
        set_lrs(self._trainer.optimizers, [[peak * scale for peak in peaks] for peaks in self._peaks])
        self._used_lrs.expect(self._trainer.optimizers)
        return True

    def end_batch(self, outputs: object) -> None:
        """Take the loss of a batch from the outputs of `on_train_batch_end`."""
        trainer, strategy = self._trainer, self._trainer.strategy
        loss, divided_by = training_loss(trainer, trainer.lightning_module, outputs)
        if loss is not None:
            self._losses.append(loss.reshape(()) * divided_by)
        if self._automatic and trainer.global_step == self._step:
            return  # more batches of this step follow
        self._step = trainer.global_step
        if self._automatic and not trainer.lr_scheduler_configs:
            for optimizer in trainer.optimizers:
                self._used_lrs.check(optimizer)
        if self._losses:
            mean: Tensor = strategy.reduce(torch.stack(self._losses).mean(), reduce_op="mean")
            self.ramp.add_loss(mean.item())
        self._losses = []

    def end(self) -> None:
        """Put everything back; a second call is harmless."""
        self._lent.close()
        self._snapshot.restore()

    def take_out_of(self, checkpoint: dict[str, Any]) -> None:
        """Put what was before the ramp into a checkpoint saved during it, so that nobody goes on from it."""
        trainer, now = self._trainer, self._snapshot_of_now()
        self._snapshot.restore()
        try:
            states = {
                "state_dict": trainer.strategy.lightning_module_state_dict(),
                "optimizer_states": [trainer.strategy.optimizer_state(each) for each in trainer.optimizers],
                "lr_schedulers": [config.scheduler.state_dict() for config in trainer.lr_scheduler_configs],
            }
            # Copied, since they hold the tensors themselves.
            checkpoint.update(copy.deepcopy(states))
        finally:
            now.restore()

    def _snapshot_of_now(self) -> Snapshot:
        snapshot = Snapshot()
        snapshot.add_tensors([*self._module.parameters(), *self._module.buffers()])
        schedulers = nested_schedulers(schedulers_of(self._trainer))
        snapshot.add(*map(Root, [*self._trainer.optimizers, *schedulers]))
        return snapshot
