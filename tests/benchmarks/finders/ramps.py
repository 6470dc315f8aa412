"""The range test in plain torch: what the callback does, without a Trainer."""

import math
from collections.abc import Sequence
from itertools import islice

import torch
from benchmarks.finders.task import Batch, Task
from torch import nn, optim

from lightning_lr.finders.bounds import model_bounds
from lightning_lr.finders.range_test.curve import LossCurve, has_diverged, has_risen
from lightning_lr.finders.range_test.ramp import ramp

__all__ = ["bounds", "fixed_ramp", "range_test"]

# The ramp goes no further than that above the first guess, should the loss never rise.
MAX_EXTRA_DECADES = 6


def _descent(optimizer: optim.Optimizer) -> float:
    """Return <g, d>, the decrease of the loss per unit of LR."""
    total = 0.0
    for group in optimizer.param_groups:
        gradients = [parameter.grad for parameter in group["params"] if parameter.grad is not None]
        if isinstance(optimizer, optim.SGD):
            total += sum(float(gradient.square().sum()) for gradient in gradients) / (1 - group["momentum"])
        else:
            total += sum(float(gradient.abs().sum()) for gradient in gradients)
    return total


def _backward(task: Task, model: nn.Module, optimizer: optim.Optimizer, batch: Batch) -> float:
    optimizer.zero_grad()
    loss = task.loss(model, batch)
    loss.backward()
    return loss.item()


def _step(optimizer: optim.Optimizer, lr: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = lr
    optimizer.step()


def bounds(task: Task, seed: int) -> tuple[float, float]:
    """Return the range of LRs that the model's own scale gives, from four batches."""
    batches = task.batches(seed)
    model = task.make_model(seed)
    optimizer = task.make_optimizer(model.parameters(), 1.0)
    losses, descents = [], []
    for _ in range(4):
        losses.append(_backward(task, model, optimizer, next(batches)))
        descents.append(_descent(optimizer))
    return model_bounds(sum(losses) / 4, sum(descents) / 4)


def range_test(
    task: Task, seed: int, *, num_steps: int = 100, repeat: int = 0, most: int | None = None, stride: int = 1
) -> LossCurve:
    """Ramp the LR over the model's own range, and a decade at a time beyond it while the loss falls.

    Args:
        task: What to train.
        seed: Of model and batches.
        num_steps: Steps over the first 4.5 decades.
        repeat: Another number gives other batches for the same model.
        most: Steps at most, with those beyond; None for as many as it takes.
        stride: In how many times larger steps to go on.
    """
    low, high = bounds(task, seed)
    lrs = list(ramp(low, high, num_steps))
    ratio = (lrs[1] / lrs[0]) ** stride
    steps_per_decade = math.ceil(1 / math.log10(ratio))
    furthest = high * 10**MAX_EXTRA_DECADES
    model = task.make_model(seed)
    optimizer = task.make_optimizer(model.parameters(), low)
    torch.manual_seed(seed)
    losses: list[float] = []
    diverged = False
    # A batch's loss is measured before its own update, hence after that of the LR before.
    for count, batch in enumerate(islice(task.batches(seed + 1000 * repeat), most)):
        loss = _backward(task, model, optimizer, batch)
        if count:
            losses.append(loss)
        diverged = has_diverged(losses)
        if (
            not diverged
            and count == len(lrs)
            and lrs[-1] < furthest
            and not has_risen(LossCurve(lrs, losses))
        ):
            lrs += [lrs[-1] * ratio**step for step in range(1, steps_per_decade + 1)]
        if diverged or count == len(lrs):
            break
        _step(optimizer, lrs[count])
    return LossCurve(tuple(lrs[: len(losses)]), tuple(losses), diverged=diverged)


def fixed_ramp(task: Task, seed: int, lrs: Sequence[float]) -> list[float]:
    """Return the losses of a ramp without a stop, each from before its update, as others pair them."""
    model = task.make_model(seed)
    optimizer = task.make_optimizer(model.parameters(), lrs[0])
    torch.manual_seed(seed)
    losses = []
    for lr, batch in zip(lrs, task.batches(seed), strict=False):
        losses.append(_backward(task, model, optimizer, batch))
        _step(optimizer, lr)
    return losses
