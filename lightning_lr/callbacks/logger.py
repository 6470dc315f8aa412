"""LRLogger: every learning rate and every loss of a fit, in the Trainer's loggers."""

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from torch.optim import Optimizer
from torchmetrics import MeanMetric
from typing_extensions import override

from lightning_lr.callbacks.points import Point, save_loggers, write_points
from lightning_lr.callbacks.step_hook import StepHook
from lightning_lr.group_names import group_names
from lightning_lr.step_buffer import StepBuffer, StepRecord
from lightning_lr.validation_loss import ValidationLoss, batch_size, returned_loss

__all__ = ["LRLogger"]


class LRLogger(Callback):
    """Log every LR of every parameter group and every loss; nothing in the module has to call `self.log`.

    | tag | meaning | when |
    |---|---|---|
    | `lr/AdamW` | the LR a group's step was made with, one curve per group | every optimizer step |
    | `momentum/AdamW` | momentum or beta1, with `log_momentum=True` | every optimizer step |
    | `weight_decay/AdamW` | weight decay, with `log_weight_decay=True` | every optimizer step |
    | `loss/train` | training loss: mean over micro-batches and ranks | every optimizer step |
    | `loss/train_epoch` | mean of the training loss over the samples of an epoch | every epoch |
    | `loss/val` | mean validation loss over the samples | every validation |

    The groups have the names that `LearningRateMonitor` gives them, with `lr/` for `lr-`: `lr/AdamW-1`
    for the second AdamW, `lr/AdamW/pg2` for a second group. Several validation loaders have a curve
    each: `loss/val/dataloader_idx_0`. The x is the one of what the module logs itself in that step.

    The training loss is what `training_step` returns. The validation loss is what `validation_step`
    returns (a tensor, or a dict with `loss`), or else what it logs under a name with `loss` in it.

    Losses stay on the device and are read every `Trainer(log_every_n_steps=...)` steps, with one reduction
    under DDP; what is left is written at the end of an epoch, before a checkpoint is saved, and when the
    fit ends, by an exception or Ctrl-C too. After an exception the last unread steps show the loss of
    rank 0, since other ranks may never answer. A step that the AMP scaler skipped has a loss but no LR.

    Args:
        log_momentum: Also log the momentum of every group.
        log_weight_decay: Also log the weight decay of every group.

    Raises:
        MisconfigurationException: At fit start: the Trainer has no logger, or two groups of one optimizer
            have the same name.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> from lightning.pytorch.loggers import TensorBoardLogger
        >>> from lightning_lr import LRLogger
        >>> trainer = Trainer(logger=TensorBoardLogger("logs"), callbacks=[LRLogger()])

        The same in YAML:

        ```yaml
        trainer:
          logger: {class_path: lightning.pytorch.loggers.TensorBoardLogger, init_args: {save_dir: logs}}
          callbacks:
            - class_path: lightning_lr.LRLogger
        ```
    """

    def __init__(self, *, log_momentum: bool = False, log_weight_decay: bool = False) -> None:
        for name, value in (("log_momentum", log_momentum), ("log_weight_decay", log_weight_decay)):
            if not isinstance(value, bool):
                raise TypeError(f"`LRLogger({name}=...)` must be True or False, got {value!r}.")
        self.log_momentum = log_momentum
        self.log_weight_decay = log_weight_decay
        self._keys = ["lr", *(["momentum"] * log_momentum), *(["weight_decay"] * log_weight_decay)]
        self._buffer = StepBuffer()
        self._validation_loss = ValidationLoss()
        # torchmetrics replaces NaN by this value: with NaN itself, a diverged epoch shows as one. (Its
        # strategy "disable" would ignore the weights.)
        self._epoch_loss = MeanMetric(nan_strategy=math.nan, sync_on_compute=False).set_dtype(torch.float64)
        self._hook = StepHook(self._record_rates)
        self._optimizers: list[Optimizer] = []
        self._scheduled: list[tuple[Optimizer, str | None]] = []
        self._tags: dict[int, list[list[tuple[str, str]]]] = {}
        self._step = 0
        self._complete_before = 0
        self._warned: set[str] = set()

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._buffer = StepBuffer()
        self._epoch_loss.reset()
        self._warned = set()

    @override
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.loggers:
            raise MisconfigurationException(
                "LRLogger has nowhere to write: the Trainer has no logger. Give it one, for example"
                " `Trainer(logger=TensorBoardLogger('logs'))`, or remove LRLogger."
            )

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._warn_of_missing(trainer.optimizers)
        self._optimizers = trainer.optimizers
        self._scheduled = [(each.scheduler.optimizer, each.name) for each in trainer.lr_scheduler_configs]
        self._name_groups()
        self._hook.attach(trainer.optimizers)
        # No batch has begun, so a count of batches still tells of the last one.
        self._step = _current_step(trainer) - pl_module.automatic_optimization

    @override
    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx == 0:
            # Left over where a run resumes after the last batch of an epoch, which Lightning then never ends.
            self._write_epoch_loss(trainer)
        self._hook.in_batch = True
        self._step = _current_step(trainer)

    @override
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._hook.in_batch = False
        automatic = pl_module.automatic_optimization
        accumulate = trainer.accumulate_grad_batches if automatic else 1
        loss = returned_loss(outputs)
        if loss is None:
            self._warn_once("`training_step` returns no loss for some batches: LRLogger shows none for them.")
        elif not automatic:
            # Lightning has copied the loss of an automatic step, and not that of a manual one.
            loss = loss.clone()
        self._buffer.add_batch(self._step, loss, scale=accumulate, weight=batch_size(batch))
        if accumulate > 1 and trainer.global_step == self._step:
            return  # More micro-batches of this step are to come.
        self._complete_before = self._step + 1
        every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if every > 0 and self._complete_before % every == 0:
            self._flush(trainer, before=self._complete_before)

    @override
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._flush(trainer)
        self._write_epoch_loss(trainer)

    @override
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._flush(trainer)

    @override
    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._hook.detach()
        self._flush(trainer, over_ranks=False)

    @override
    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._validation_loss.start(trainer.callback_metrics, loaders=len(trainer.num_val_batches))

    @override
    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._validation_loss.add(outputs, batch, loader=dataloader_idx)

    @override
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking:
            return
        losses, problem = self._validation_loss.finish(
            trainer.callback_metrics, reduce=_sum_over_ranks(trainer)
        )
        if problem:
            self._warn_once(f"LRLogger shows no validation loss: {problem}")
        self._write(trainer, losses)

    @override
    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        # A run that is killed after this and resumed from here misses no point. Lightning has asked for
        # our state before, so it has to be replaced.
        self._flush(trainer, before=self._complete_before)
        save_loggers(trainer.loggers if trainer.is_global_zero else [])
        checkpoint["callbacks"][self.state_key] = self.state_dict()

    @override
    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._hook.detach()

    @override
    def state_dict(self) -> dict[str, Any]:
        if not self._epoch_loss.update_called:
            return {"epoch_loss": 0.0, "epoch_weight": 0.0}
        weight = float(torch.as_tensor(self._epoch_loss.weight))
        return {"epoch_loss": float(self._epoch_loss.compute()), "epoch_weight": weight}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if state_dict["epoch_weight"] > 0:
            self._epoch_loss.update(state_dict["epoch_loss"], state_dict["epoch_weight"])

    def _warn_of_missing(self, optimizers: list[Optimizer]) -> None:
        for key in self._keys[1:]:
            without = [type(each).__name__ for each in optimizers if _read(each.param_groups[0], key) is None]
            if without:
                rank_zero_warn(f"`LRLogger(log_{key}=True)` has nothing to show for {', '.join(without)}.")

    def _name_groups(self) -> None:
        try:
            names = group_names(self._optimizers, self._scheduled)
        except ValueError as error:
            raise MisconfigurationException(f"LRLogger: {error}") from error
        self._tags = {
            id(optimizer): [
                [(key, f"{key}/{name.removeprefix('lr-')}") for key in self._keys] for name in of_groups
            ]
            for optimizer, of_groups in zip(self._optimizers, names, strict=True)
        }

    def _record_rates(self, optimizer: Optimizer) -> None:
        groups = optimizer.param_groups
        if len(groups) != len(self._tags[id(optimizer)]):
            self._name_groups()
        for group, tags in zip(groups, self._tags[id(optimizer)], strict=True):
            for key, tag in tags:
                value = _read(group, key)
                if value is not None:
                    self._buffer.add_rate(self._step, tag, value)

    def _flush(self, trainer: Trainer, *, before: float = math.inf, over_ranks: bool = True) -> None:
        records = self._buffer.drain(before, reduce=_sum_over_ranks(trainer) if over_ranks else None)
        losses = [loss for record in records for loss in record.losses]
        if losses:
            weights = [weight for record in records for weight in record.weights]
            self._epoch_loss.update(_column(losses), _column(weights))
        if trainer.is_global_zero:
            write_points(trainer.loggers, map(_point, records))

    def _write_epoch_loss(self, trainer: Trainer) -> None:
        if self._epoch_loss.update_called:
            self._write(trainer, {"loss/train_epoch": float(self._epoch_loss.compute())})
            self._epoch_loss.reset()

    def _write(self, trainer: Trainer, values: Mapping[str, float]) -> None:
        if trainer.is_global_zero:
            write_points(trainer.loggers, [Point(self._step, time.time(), values)])

    def _warn_once(self, message: str) -> None:
        if message not in self._warned:
            self._warned.add(message)
            rank_zero_warn(message)


def _current_step(trainer: Trainer) -> int:
    """Return the x of Lightning's own points, which has no public name.

    It is the Trainer's count of optimizer steps, which the running batch is about to raise, or of batches
    where the Trainer cannot know how many steps a batch makes.
    """
    if trainer.lightning_module.automatic_optimization:
        return trainer.global_step
    return trainer.fit_loop.epoch_loop.total_batch_idx


def _sum_over_ranks(trainer: Trainer) -> Callable[[Tensor], Tensor] | None:
    if trainer.world_size == 1:
        return None
    strategy = trainer.strategy
    return lambda values: strategy.reduce(values.to(strategy.root_device), reduce_op="sum")


def _point(record: StepRecord) -> Point:
    values = record.rates
    if record.losses:
        values = {**values, "loss/train": sum(record.losses) / len(record.losses)}
    return Point(record.step, record.wall_time, values)


def _column(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _read(group: Mapping[str, Any], key: str) -> float | Tensor | None:
    value: float | Tensor | None = group.get(key)
    return group["betas"][0] if key == "momentum" and "betas" in group else value
