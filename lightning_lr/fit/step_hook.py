"""Tells a callback of every optimizer step that really happened, which no Lightning hook does."""

from collections.abc import Callable, Iterable

from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from lightning_lr.dry_run.steps import is_rehearsing, was_skipped

__all__ = ["StepHook"]


class StepHook:
    """Calls a function after every optimizer step of a training batch.

    A batch that only accumulates gradients makes no step, and neither does one that the AMP scaler skips.
    Steps of a rehearsal, and others outside a batch, are nobody's business.

    Args:
        function: Called with the optimizer that stepped.
    """

    def __init__(self, function: Callable[[Optimizer], None]) -> None:
        self.in_batch = False
        self._function = function
        self._handles: list[RemovableHandle] = []

    def attach(self, optimizers: Iterable[Optimizer]) -> None:
        """Listen to these optimizers and to no others."""
        self.detach()
        self._handles = [optimizer.register_step_post_hook(self._after_step) for optimizer in optimizers]

    def detach(self) -> None:
        """Listen no longer."""
        self.in_batch = False
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _after_step(self, optimizer: Optimizer, args: object, kwargs: object) -> None:
        if self.in_batch and not is_rehearsing(optimizer) and not was_skipped(optimizer):
            self._function(optimizer)
