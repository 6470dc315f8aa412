"""What the ranks of a fit know together."""

from collections.abc import Callable
from functools import partial

from lightning.pytorch import Trainer
from torch import Tensor

__all__ = ["rank_sum", "sum_over_ranks"]


def rank_sum(trainer: Trainer) -> Callable[[Tensor], Tensor] | None:
    """Return what sums a tensor over all ranks, on each of them; None where there is only one."""
    return partial(sum_over_ranks, trainer) if trainer.world_size > 1 else None


def sum_over_ranks(trainer: Trainer, values: Tensor) -> Tensor:
    """Return the sum of a tensor over all ranks; to be called on each of them."""
    if trainer.world_size == 1:
        return values
    strategy = trainer.strategy
    summed: Tensor = strategy.reduce(values.to(strategy.root_device), reduce_op="sum")
    return summed.cpu()
