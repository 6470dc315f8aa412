"""A range test over the first real batches, for what cannot be rehearsed."""

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from lightning_lr.dry_run.snapshot import Snapshot
from lightning_lr.finders.range_test.recorder import Recorder
from lightning_lr.fit.losses import returned_loss
from lightning_lr.rates import lend, nested_schedulers, peak_lrs, set_lrs, take_back

__all__ = ["LiveRamp"]


class LiveRamp:
    """Ramps the LR over real steps, then puts weights, buffers, optimizers and schedulers back.

    Args:
        trainer: The Trainer of the running fit, before its first batch.
        pl_module: Its module.
        recorder: The ramp.
    """

    def __init__(self, trainer: Trainer, pl_module: LightningModule, recorder: Recorder) -> None:
        schedulers = [config.scheduler for config in trainer.lr_scheduler_configs]
        self.recorder = recorder
        self._trainer = trainer
        self._automatic = pl_module.automatic_optimization
        self._peaks = peak_lrs(trainer.optimizers, schedulers)
        self._losses: list[Tensor] = []
        self._step = trainer.global_step
        self._snapshot = Snapshot()
        self._snapshot.add_tensors([*pl_module.parameters(), *pl_module.buffers()])
        for stateful in [*trainer.optimizers, *nested_schedulers(schedulers)]:
            self._snapshot.add(stateful)
        lend(trainer.optimizers)

    @property
    def reference_lr(self) -> float:
        """The highest peak LR of all groups; the LR of a step is the one of that group."""
        return max(lr for lrs in self._peaks for lr in lrs)

    def begin_batch(self) -> bool:
        """Set the LR of the step that a batch begins, and tell whether the ramp still goes on."""
        if self._losses:
            return True  # Another batch of the same step.
        lr = self.recorder.next_lr()
        if lr is None:
            return False
        scale = lr / self.reference_lr
        set_lrs(self._trainer.optimizers, [[peak * scale for peak in peaks] for peaks in self._peaks])
        return True

    def end_batch(self, outputs: object) -> None:
        """Take the loss of a batch, given what Lightning hands to `on_train_batch_end`."""
        trainer, strategy = self._trainer, self._trainer.strategy
        loss = returned_loss(outputs)
        if loss is not None:
            scale = trainer.accumulate_grad_batches if self._automatic else 1
            self._losses.append(loss.clone().reshape(()) * scale)
        if self._automatic and trainer.global_step == self._step:
            return  # More batches of this step are to come.
        self._step = trainer.global_step
        if self._losses:
            mean: Tensor = strategy.reduce(torch.stack(self._losses).mean(), reduce_op="mean")
            self.recorder.add_loss(mean.item())
        self._losses = []

    def end(self) -> None:
        """Put everything back; to do so again is harmless."""
        take_back(self._trainer.optimizers)
        self._snapshot.restore()
