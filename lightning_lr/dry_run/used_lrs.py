"""Looks whether steps are made with the LRs that a test has set for them."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from torch.optim import Optimizer

from lightning_lr.fit.lightnings import LightningModule, MisconfigurationException, is_overridden
from lightning_lr.fit.optimizers import is_same_lr, lrs_by_group

__all__ = ["UsedLRs"]


class UsedLRs:
    """Ends a test whose LRs other code replaces: its losses would be those of other LRs.

    The LRs are compared right before and right after each step of the optimizer, so a scheduler that is
    stepped by hand behind it is no hindrance. A tensor on a GPU is compared too: a test waits for each loss
    anyway.
    """

    def __init__(self, pl_module: LightningModule) -> None:
        self._module = pl_module
        self._expected: dict[int, float] = {}

    def expect(self, optimizers: Iterable[Optimizer]) -> None:
        """Remember the LRs that have just been set, for the steps that follow."""
        self._expected = lrs_by_group(optimizers)

    @contextmanager
    def checked(self, optimizers: Iterable[Optimizer]) -> Iterator[None]:
        """Check the steps of these optimizers, as far as they have hooks.

        Raises:
            MisconfigurationException: In a step: it has another LR.
        """
        with ExitStack() as stack:
            for optimizer in optimizers:
                with suppress(AttributeError):
                    stack.callback(optimizer.register_step_pre_hook(self.check).remove)
                    stack.callback(optimizer.register_step_post_hook(self.check).remove)
            yield

    def check(self, optimizer: Optimizer, *_: Any) -> None:
        """Compare the LRs of an optimizer with those that were set.

        Raises:
            MisconfigurationException: There is another one.
        """
        for group in optimizer.param_groups:
            expected = self._expected.get(id(group))
            if expected is None:
                continue
            found = float(group["lr"])
            if not is_same_lr(found, expected):
                raise MisconfigurationException(_message(self._module, optimizer, expected, found))


def _message(pl_module: LightningModule, optimizer: Optimizer, expected: float, found: float) -> str:
    if is_overridden("optimizer_step", pl_module):
        who = "`optimizer_step` of the module sets LRs"
    elif not pl_module.automatic_optimization:
        who = "`training_step`, or a scheduler that it steps, sets LRs"
    else:
        who = f"a hook of the module or {type(optimizer).__name__} itself sets LRs"
    return (
        f"The test has set the LR {expected:.4g} for a step, and other code has made it {found:.4g}: {who},"
        " so its losses say nothing about the LR. Take that code out of the module (for a warm-up there is"
        " `LRDecay(warmup=...)`), or take out the callback that looks for an LR. Nothing has been changed in"
        " this run."
    )
