"""Tells of every optimizer step that really happened, which no Lightning hook does."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

__all__ = ["StepHook", "dry_run_of", "happened", "in_dry_run"]

_in_dry_run: set[Optimizer] = set()


class StepHook:
    """Calls a function after every optimizer step of a training batch.

    A batch that only accumulates gradients makes no step, and neither does one that the AMP scaler skips.
    Steps of a dry run, and others outside a batch, do not count.

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
        if self.in_batch and not in_dry_run(optimizer) and not _was_skipped(optimizer):
            self._function(optimizer)


@contextmanager
def happened(
    optimizers: Iterable[Optimizer], then: Callable[[Optimizer], None] | None = None
) -> Iterator[list[Optimizer]]:
    """Note the optimizers whose steps really happen while the context lasts.

    Args:
        optimizers: Whose steps to look at.
        then: Called with each of them right after its step.

    Yields:
        Those that have stepped so far, one entry per step.
    """
    stepped: list[Optimizer] = []

    def note(optimizer: Optimizer, *_: object) -> None:
        if not _was_skipped(optimizer):
            stepped.append(optimizer)
            if then is not None:
                then(optimizer)

    handles = [optimizer.register_step_post_hook(note) for optimizer in optimizers]
    try:
        yield stepped
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def dry_run_of(optimizers: Iterable[Optimizer]) -> Iterator[None]:
    """Mark the steps made in this context as dry: they will be taken back."""
    marked = list(optimizers)
    _in_dry_run.update(marked)
    try:
        yield
    finally:
        _in_dry_run.difference_update(marked)


def in_dry_run(optimizer: Optimizer) -> bool:
    """Tell whether the current steps of an optimizer are dry."""
    return optimizer in _in_dry_run


def _was_skipped(optimizer: Optimizer) -> bool:
    """Tell, in a hook after its step, whether the AMP scaler made an optimizer skip it."""
    # The scaler calls a fused optimizer even when it must skip, and hands it this tensor to act on. To read
    # it waits for the device, as the scaler itself does for an optimizer that is not fused.
    found_inf = getattr(optimizer, "found_inf", None)
    return found_inf is not None and bool(found_inf.item())
