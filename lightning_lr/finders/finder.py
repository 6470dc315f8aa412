"""What every callback that finds the LR before training has in common: when it tests, and what follows."""

import time
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from typing_extensions import override

from lightning_lr.checks import check_count, check_flag
from lightning_lr.finders.apply import apply_lr
from lightning_lr.finders.suggestion import Decision, Suggestion, decision_from_dict
from lightning_lr.fit.internals import keep_swa_lrs
from lightning_lr.fit.neighbors import check_not_restarted
from lightning_lr.fit.saved_state import (
    Read,
    count,
    each_of,
    mapping,
    number,
    optional,
    read_entries,
    read_state,
    text,
)
from lightning_lr.output.points import Point, logged_step, shifted
from lightning_lr.policies.arguments import as_tuple

__all__ = ["StartupTest"]


class StartupTest(Callback):
    """Tests at the start of a fit and at the milestones, and trains with what was found.

    A resumed fit is not tested again, and a `fast_dev_run` not at all.

    Args:
        milestones: Epochs at whose start to test, 0 for the start of the fit.
        apply: Whether to train with the LR found.
        stop_after: Whether to end the fit after the test, to look only.

    Attributes:
        suggestion: What the last test decided; None before the first.
        points: What the tests of this fit have drawn in the loggers, in the order of x.
        live: Whether the first test is made over the first steps of training.
    """

    live: bool = False

    def __init__(self, *, milestones: Sequence[int], apply: bool, stop_after: bool) -> None:
        name = type(self).__name__
        self.milestones = as_tuple(f"{name}(milestones=...)", milestones, "epochs")
        for milestone in self.milestones:
            check_count(f"{name}(milestones=...)", milestone, minimum=0)
        check_flag(f"{name}(apply=...)", apply)
        check_flag(f"{name}(stop_after=...)", stop_after)
        self.apply = apply
        self.stop_after = stop_after
        self.suggestion: Decision | None = None
        self.points: list[Point] = []
        self._tested: list[int] = []
        self._minimum: tuple[int | None, int | None] | None = None

    @abstractmethod
    def run_test(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Test from here, whatever the milestones, tell what was found and train with that.

        To be called on every rank, between two training steps: in `on_train_start`, `on_train_epoch_start` or
        `on_train_batch_start`.
        """

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._tested, self.points = [], []

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        keep_swa_lrs(trainer)
        check_not_restarted(trainer, self, loaded=bool(self._tested))
        # A live test has to wait: at the start of training, other callbacks attach to the optimizers.
        is_now = trainer.global_step == 0 and 0 in self.milestones and not self.live
        if is_now and self._may_run(trainer):
            self.run_test(trainer, pl_module)

    @override
    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        epoch = trainer.current_epoch
        if epoch > 0 and epoch in self.milestones and epoch not in self._tested:
            self.run_test(trainer, pl_module)

    @override
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._minimum is not None:
            loop = trainer.fit_loop
            loop.min_epochs, loop.epoch_loop.min_steps = self._minimum
            self._minimum = None

    @override
    def state_dict(self) -> dict[str, Any]:
        return {
            "tested": list(self._tested),
            "points": [{"step": point.step, "values": dict(point.values)} for point in self.points],
            "suggestion": self.suggestion.to_dict() if self.suggestion else None,
        }

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        state = read_state(self, state_dict, self._entries())
        self._tested, self.suggestion = state["tested"], state["suggestion"]
        self.points = state["points"]

    def _entries(self) -> dict[str, Read]:
        """Return how to read each entry of a state."""
        return {
            "tested": each_of(count),
            "points": each_of(_read_point),
            "suggestion": optional(decision_from_dict),
        }

    def _may_run(self, trainer: Trainer) -> bool:
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            name = type(self).__name__
            rank_zero_info(f"{name}: no test in a `fast_dev_run`, the LR stays what it is.")
            return False
        return not self._tested

    def _place(self, trainer: Trainer, points: Sequence[Point]) -> list[Point]:
        """Return points whose x count from 0 with x from where the run is, beyond those of earlier tests."""
        begin = max([logged_step(trainer), *(point.step + 1 for point in self.points[-1:])])
        placed = shifted(points, begin)
        self.points += placed
        return placed

    def _follow(
        self, trainer: Trainer, pl_module: LightningModule, decision: Decision, *, old: float
    ) -> bool:
        """Do what a decision asks for, and return whether the run trains with the LR found."""
        self._tested.append(trainer.current_epoch)
        self.suggestion = decision
        applied = self.apply and isinstance(decision, Suggestion)
        if self.apply and isinstance(decision, Suggestion):
            apply_lr(trainer, pl_module, old=old, new=decision.lr)
        if self.stop_after:
            loop = trainer.fit_loop
            self._minimum = (loop.min_epochs, loop.epoch_loop.min_steps)
            loop.min_epochs, loop.epoch_loop.min_steps = 0, None
            trainer.should_stop = True
        return applied


def _read_point(value: object) -> Point:
    entries = read_entries(value, {"step": count, "values": mapping})
    values = {text(tag): number(y) for tag, y in entries["values"].items()}
    return Point(entries["step"], time.time(), values)
