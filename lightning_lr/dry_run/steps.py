"""One optimizer step and one validation step, made of the public pieces of Lightning's own loops.

So precision, gradient clipping, accumulation, strategies and what the user overrides act as in a real step;
counters, hooks of callbacks and logging do not take part.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, cast

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.utilities.exceptions import SIGTERMException
from lightning.pytorch.utilities.signature_utils import is_param_in_hook_signature
from torch import Tensor
from torch.optim import Optimizer

from lightning_lr.fit.internals import prepared

__all__ = ["is_rehearsing", "optimizer_step", "rehearsing", "validation_step", "was_skipped"]

_rehearsing: set[Optimizer] = set()


def optimizer_step(
    trainer: Trainer, pl_module: LightningModule, batches: Iterator[tuple[int, Any]]
) -> Tensor | None:
    """Make one step of the optimizer, or one `training_step` under manual optimization.

    Args:
        trainer: The Trainer of the running fit.
        pl_module: Its module.
        batches: Where as many batches are taken from as Lightning accumulates gradients over.

    Returns:
        The loss before the update: on this rank, on its device, undivided by accumulation. None where
        `training_step` gave none.
    """
    if not pl_module.automatic_optimization:
        loss = _loss(_training_step(trainer, pl_module, *next(batches)))
        return None if loss is None else _kept(loss)
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
    arguments = [prepared(trainer, pl_module, batch, loader=loader or 0)]
    if is_param_in_hook_signature(pl_module.validation_step, "batch_idx", min_args=2):
        arguments.append(index)
    if loader is not None:
        arguments.append(loader)
    return trainer.strategy.validation_step(*arguments)


def was_skipped(optimizer: Optimizer) -> bool:
    """Tell, in a hook after its step, whether the AMP scaler made an optimizer skip it."""
    # The scaler calls a fused optimizer even when it must skip, and hands it this tensor to act on. To read
    # it waits for the device, as the scaler itself does for an optimizer that is not fused.
    found_inf = getattr(optimizer, "found_inf", None)
    return found_inf is not None and bool(found_inf.item())


@contextmanager
def rehearsing(optimizers: Sequence[Optimizer]) -> Iterator[None]:
    """Mark the steps that optimizers make meanwhile as such that will be taken back; see `is_rehearsing`."""
    _rehearsing.update(optimizers)
    try:
        yield
    finally:
        _rehearsing.difference_update(optimizers)


def is_rehearsing(optimizer: Optimizer) -> bool:
    """Tell whoever counts the steps of an optimizer whether those of now will be taken back."""
    return optimizer in _rehearsing


def _micro_step(
    trainer: Trainer, pl_module: LightningModule, index: int, batch: Any, *, first: bool, last: bool
) -> Tensor | None:
    seen = list[Tensor]()
    raw_optimizer = trainer.optimizers[0]

    def closure() -> Tensor | None:
        loss = _loss(_training_step(trainer, pl_module, index, batch))
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
    return seen[0] if seen else None


def _training_step(trainer: Trainer, pl_module: LightningModule, index: int, batch: Any) -> Any:
    _stop_if_terminated(trainer)
    batch = prepared(trainer, pl_module, batch, loader=0)
    takes_index = is_param_in_hook_signature(pl_module.training_step, "batch_idx", min_args=2)
    return trainer.strategy.training_step(*((batch, index) if takes_index else (batch,)))


def _stop_if_terminated(trainer: Trainer) -> None:
    # Of several ranks none may go alone: they agree where they average their losses.
    if trainer.world_size == 1 and trainer.received_sigterm:
        raise SIGTERMException


def _loss(output: Any) -> Tensor | None:
    loss = output.get("loss") if isinstance(output, Mapping) else output
    return loss if isinstance(loss, Tensor) else None


def _kept(loss: Tensor) -> Tensor:
    return loss.detach().clone().reshape(())
