"""Looks whether the first steps after a change of the LR are made with the LR that was told."""

from collections.abc import Iterator
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from lightning_lr.fit.lightnings import BaseFinetuning, Trainer, rank_zero_warn
from lightning_lr.fit.neighbors import Schedules, callbacks_of, schedulers_of
from lightning_lr.fit.optimizers import is_same_lr, lrs_by_group
from lightning_lr.output.decisions import Entry, tell
from lightning_lr.rates import are_lent
from lightning_lr.schedules.own_lrs import own_lr

__all__ = ["FirstSteps"]

# The step that follows, and the one after it, before which others may set LRs anew.
_CHECKED_STEPS = 2


class FirstSteps:
    """Compares the LRs of the next two steps of each optimizer with those of now, or of its scheduler.

    A callback that sets LRs by plan compares its own, so beside one nothing is done here, nor beside a
    BaseFinetuning, which sets those of the groups that it thaws, nor with an optimizer that has an LR of its
    own. A tensor on a GPU is copied there and compared in `flush`, since reading it would wait for the
    device.

    Attributes:
        are_due: Whether a step is to be compared; after the first ones it costs nothing more than to ask.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._expected: dict[int, float] = {}
        self._left: dict[int, int] = {}
        self.are_due = False
        self._pending: list[tuple[float, Tensor]] = []

    def begin(self, trainer: Trainer, *, before_schedulers: bool = False) -> None:
        """Remember the LRs of now.

        Args:
            trainer: With its optimizers.
            before_schedulers: Whether schedulers may step before the next step: then what counts is the LR
                that they say they have set.
        """
        self._pending = []
        sets_lrs = bool(callbacks_of(trainer, Schedules)) or bool(callbacks_of(trainer, BaseFinetuning))
        if sets_lrs or own_lr(trainer.optimizers) is not None:
            self._left, self.are_due = {}, False
            return
        owned = [getattr(each, "optimizer", None) for each in schedulers_of(trainer) if before_schedulers]
        self._left = {
            id(each): _CHECKED_STEPS - any(each is other for other in owned) for each in trainer.optimizers
        }
        self._expected = lrs_by_group(trainer.optimizers)
        self.are_due = True

    def before_step(self, trainer: Trainer, optimizer: Optimizer) -> None:
        """Compare the LRs of an optimizer, in `on_before_optimizer_step`; all ranks call it."""
        left = self._left.get(id(optimizer), 0)
        if not left or are_lent(trainer.optimizers):
            return
        self._left[id(optimizer)] = left - 1
        self.are_due = any(self._left.values())
        for expected, lr in self._pairs(trainer, optimizer, is_first=left == _CHECKED_STEPS):
            if isinstance(lr, Tensor) and lr.device.type != "cpu":
                self._pending.append((expected, lr.clone()))
            elif not is_same_lr(lr, expected):
                self._tell(trainer, expected, float(lr))
                return

    def flush(self, trainer: Trainer) -> None:
        """Compare the LRs on other devices; all ranks call it."""
        for expected, lr in self._pending:
            if not is_same_lr(lr, expected):
                self._tell(trainer, expected, float(lr))
                break
        self._pending = []

    def _pairs(
        self, trainer: Trainer, optimizer: Optimizer, *, is_first: bool
    ) -> Iterator[tuple[float, float | Tensor]]:
        groups = optimizer.param_groups
        if not is_first:
            # By then the schedulers have stepped; each says what it has set.
            owned = schedulers_of(trainer)
            schedulers = [each for each in owned if getattr(each, "optimizer", None) is optimizer]
            if schedulers:
                [*_, last] = schedulers
                said: Any = last.get_last_lr() if hasattr(last, "get_last_lr") else ()
                yield from ((float(lr), group["lr"]) for lr, group in zip(said, groups, strict=False))
                return
        yield from (
            (self._expected[id(group)], group["lr"]) for group in groups if id(group) in self._expected
        )

    def _tell(self, trainer: Trainer, expected: float, found: float) -> None:
        self._left, self._pending, self.are_due = {}, [], False
        rank_zero_warn(
            f"{self._name} has told that the LR is {expected:.4g}, and a step is made with {found:.4g}: other"
            " code sets it, such as `optimizer_step`, `training_step` or a start hook of the module. Take"
            f" that code out, or take out {self._name}."
        )
        summary = "Other code has set another LR than the one told."
        evidence = {"expected": expected, "found": found}
        effect = f"LR {expected:.4g} -> {found:.4g}"
        tell(trainer, Entry(self._name, "LR changed", summary, effect, evidence), line="")
