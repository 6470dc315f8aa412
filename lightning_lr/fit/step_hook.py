"""Finds the optimizer steps that really happen, for which Lightning has no hook."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress

from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from lightning_lr.fit.lightnings import Trainer

__all__ = ["StepHook", "dry_run_of", "happened", "in_dry_run", "steps_counted"]

_in_dry_run: set[Optimizer] = set()


class StepHook:
    """Calls a function with the optimizer after every optimizer step of a training batch.

    Steps that the AMP scaler skips do not count, nor do steps of a dry run or outside a batch.
    """

    def __init__(self, function: Callable[[Optimizer], None]) -> None:
        self.in_batch = False
        self._function = function
        self._handles: list[RemovableHandle] = []
        self._optimizers: list[Optimizer] = []

    def attach(self, optimizers: Sequence[Optimizer]) -> None:
        """Follow these optimizers, and no others; does nothing if it follows them already.

        One whose class does not run torch's constructor has no hooks, and cannot be followed.
        """
        if self._optimizers == optimizers:
            return
        self.detach()
        self._optimizers = list(optimizers)
        for optimizer in optimizers:
            with suppress(AttributeError):
                self._handles.append(optimizer.register_step_post_hook(self._after_step))

    @property
    def follows_all(self) -> bool:
        """Whether it hears of the steps of all optimizers."""
        return len(self._handles) == len(self._optimizers)

    def detach(self) -> None:
        """Stop following optimizers."""
        self.in_batch = False
        for handle in self._handles:
            handle.remove()
        self._handles, self._optimizers = [], []

    def _after_step(self, optimizer: Optimizer, args: object, kwargs: object) -> None:
        # At every step, so with few calls.
        if not self.in_batch or optimizer in _in_dry_run:
            return
        if getattr(optimizer, "found_inf", None) is None or not _was_skipped(optimizer):
            self._function(optimizer)


@contextmanager
def happened(
    optimizers: Iterable[Optimizer], then: Callable[[Optimizer], None] | None = None
) -> Iterator[list[Optimizer]]:
    """Yield the list of optimizers that really step in this context, one entry per step.

    Right after each such step, `then` is called with the optimizer.
    """
    stepped: list[Optimizer] = []

    def note(optimizer: Optimizer, *_: object) -> None:
        if not _was_skipped(optimizer):
            stepped.append(optimizer)
            if then is not None:
                then(optimizer)

    handles = []
    for optimizer in optimizers:
        with suppress(AttributeError):
            handles.append(optimizer.register_step_post_hook(note))
    try:
        yield stepped
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def dry_run_of(optimizers: Iterable[Optimizer]) -> Iterator[None]:
    """Mark the steps of these optimizers in this context as dry."""
    marked = list(optimizers)
    _in_dry_run.update(marked)
    try:
        yield
    finally:
        _in_dry_run.difference_update(marked)


def in_dry_run(optimizer: Optimizer) -> bool:
    """Return whether the current steps of an optimizer are dry."""
    return optimizer in _in_dry_run


def steps_counted(trainer: Trainer, *, automatic: bool) -> int:
    """Return `trainer.global_step`, at every step, with a tenth of the calls."""
    loop = trainer.fit_loop.epoch_loop
    if automatic:
        return loop.automatic_optimization.optim_progress.optimizer_steps
    return loop.manual_optimization.optim_step_progress.total.completed


def _was_skipped(optimizer: Optimizer) -> bool:
    """Return, in a hook after a step, whether the AMP scaler has made the optimizer skip it."""
    # The scaler calls a fused optimizer even if it must skip, and gives it this tensor to act on. Reading it
    # waits for the device, as the scaler itself does for an optimizer that is not fused.
    found_inf = getattr(optimizer, "found_inf", None)
    return found_inf is not None and bool(found_inf.item())
