"""One optimizer step and one validation step, made of the public pieces of Lightning's own loops.

So precision, gradient clipping, accumulation, strategies and what the user overrides act as in a real step;
counters, hooks of callbacks and logging do not take part.
"""

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from typing import Any, cast

import torch
from torch import Tensor

from lightning_lr.fit.internals import prepared
from lightning_lr.fit.lightnings import (
    LightningModule,
    LightningOptimizer,
    Trainer,
    is_param_in_hook_signature,
    lightning_of,
)
from lightning_lr.fit.losses import loss_in

__all__ = ["optimizer_step", "validation_step"]


def optimizer_step(
    trainer: Trainer, pl_module: LightningModule, batches: Iterator[tuple[int, Any]]
) -> Tensor | None:
    """Make one step of the optimizer, or one `training_step` under manual optimization.

    Args:
        trainer: The Trainer of the running fit.
        pl_module: Its module.
        batches: Where as many batches are taken from as Lightning accumulates gradients over.

    Returns:
        The loss before the update: on this rank, on its device, undivided by accumulation. None if
        `training_step` gave none.
    """
    if not pl_module.automatic_optimization:
        index, batch = _begun(trainer, pl_module, *next(batches))
        outputs = _training_step(trainer, pl_module, index, batch)
        loss = loss_in(outputs)
        kept = None if loss is None else _kept(loss)
        _end(pl_module, outputs, kept, batch, index)
        return kept
    last = trainer.accumulate_grad_batches - 1
    losses = [
        _micro_step(trainer, pl_module, *next(batches), first=micro == 0, last=micro == last)
        for micro in range(last + 1)
    ]
    present = [loss for loss in losses if loss is not None]
    return torch.stack(present).mean() if present else None


def validation_step(
    trainer: Trainer, pl_module: LightningModule, batch: Any, index: int, *, loader: int | None
) -> Any:
    """Call `validation_step` on a batch and return what it returns.

    Args:
        trainer: The Trainer of the running fit.
        pl_module: Its module, in the mode for evaluation.
        batch: A batch as its loader gives it.
        index: Its number.
        loader: The number of its loader where there are several.
    """
    _stop_if_terminated(trainer)
    batch = prepared(trainer, pl_module, batch, loader=loader or 0)
    # As Lightning: a hook need not take the number of the loader where there is one.
    where = () if loader is None else (loader,)
    pl_module.on_validation_batch_start(batch, index, *where)
    arguments = [batch]
    if is_param_in_hook_signature(pl_module.validation_step, "batch_idx", min_args=2):
        arguments.append(index)
    outputs = trainer.strategy.validation_step(*arguments, *where)
    pl_module.on_validation_batch_end(outputs, batch, index, *where)
    return outputs


def _micro_step(
    trainer: Trainer, pl_module: LightningModule, index: int, batch: Any, *, first: bool, last: bool
) -> Tensor | None:
    seen = list[Tensor]()
    outputs: list[Any] = [None]
    raw_optimizer = trainer.optimizers[0]
    index, batch = _begun(trainer, pl_module, index, batch)

    @torch.enable_grad()  # Some optimizers step without.
    def closure() -> Tensor | None:
        outputs[0] = _training_step(trainer, pl_module, index, batch)
        loss = loss_in(outputs[0])
        if loss is not None:
            seen.append(_kept(loss))
        if first:
            pl_module.on_before_zero_grad(raw_optimizer)
            pl_module.optimizer_zero_grad(trainer.current_epoch, index, raw_optimizer)
        if loss is None:
            return None
        scaled = loss / trainer.accumulate_grad_batches
        trainer.strategy.backward(scaled, raw_optimizer)
        return scaled

    if last:
        optimizer = cast(LightningOptimizer, pl_module.optimizers())
        pl_module.optimizer_step(trainer.current_epoch, index, optimizer, closure)
    else:
        blocked = getattr(trainer.strategy, "block_backward_sync", nullcontext)
        with blocked():
            closure()
    # LBFGS calls the closure several times; the first loss is the one before the update.
    loss = seen[0] if seen else None
    divided = None if loss is None else loss / trainer.accumulate_grad_batches
    _end(pl_module, outputs[0], divided, batch, index)
    return loss


def _begun(trainer: Trainer, pl_module: LightningModule, index: int, batch: Any) -> tuple[int, Any]:
    """Prepare a batch, and tell the module that it begins."""
    _stop_if_terminated(trainer)
    batch = prepared(trainer, pl_module, batch, loader=0)
    pl_module.on_train_batch_start(batch, index)
    return index, batch


def _end(pl_module: LightningModule, outputs: Any, loss: Tensor | None, batch: Any, index: int) -> None:
    """Tell the module that a batch has ended, with its outputs as Lightning hands them over."""
    found = dict(outputs) if isinstance(outputs, Mapping) else {}
    pl_module.on_train_batch_end(found if loss is None else found | {"loss": loss}, batch, index)


def _training_step(trainer: Trainer, pl_module: LightningModule, index: int, batch: Any) -> Any:
    takes_index = is_param_in_hook_signature(pl_module.training_step, "batch_idx", min_args=2)
    return trainer.strategy.training_step(*((batch, index) if takes_index else (batch,)))


def _stop_if_terminated(trainer: Trainer) -> None:
    # Of several ranks none may go alone: they agree where they average their losses.
    if trainer.world_size == 1 and trainer.received_sigterm:
        raise lightning_of(trainer).utilities.exceptions.SIGTERMException


def _kept(loss: Tensor) -> Tensor:
    return loss.detach().clone().reshape(())
