"""What every callback that finds an LR has in common: when it looks for one, and what follows."""

import math
import time
from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from torch.optim import Optimizer
from typing_extensions import override

from lightning_lr.checkpoints.keys import KeyedCallback
from lightning_lr.checkpoints.resume import check_not_restarted, read_state
from lightning_lr.checkpoints.saved_state import (
    Read,
    count,
    each_of,
    mapping,
    number,
    optional,
    positive,
    read_entries,
    text,
)
from lightning_lr.checks import check_flag
from lightning_lr.finders.doubts import tell_doubts, tell_no_test, told_of_schedule, why_too_late
from lightning_lr.finders.milestones import check_milestones, read_milestone, steps_of_shares
from lightning_lr.finders.report import Finding, report, tell_traces
from lightning_lr.finders.suggestion import Abstention, Decision, Suggestion, decision_from_dict
from lightning_lr.finders.written_lrs import check_attr, lrs_by_name, train_with, write_down
from lightning_lr.first_steps import FirstSteps
from lightning_lr.fit.internals import keep_swa_lrs
from lightning_lr.fit.lightnings import (
    LightningModule,
    MisconfigurationException,
    Trainer,
    rank_zero_info,
)
from lightning_lr.fit.neighbors import check_fits, prepare_schedules
from lightning_lr.fit.run_length import steps_made
from lightning_lr.output.decisions import Entry, tell
from lightning_lr.output.points import Point, logged_step, shifted
from lightning_lr.peaks import check_schedules_follow, highest_left, peak_lr
from lightning_lr.rates import current_lr
from lightning_lr.schedules.own_lrs import own_lr
from lightning_lr.shown import figure_html, with_result

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Finder"]


class Finder(KeyedCallback):
    """Tests at the start of a fit and at the milestones, and trains with the LR found.

    A resumed fit is not tested again, and a `fast_dev_run` not at all. What a test finds in the middle of a
    run is the highest LR of its rest: where the schedule has come down to a half, the base LR becomes twice
    that.

    Attributes:
        suggestion: What the last test decided; None before the first.
        lrs: The LR of each group after the last test, by the names of LRLogger; with `apply=False`, what it
            would be.
        points: What the tests of this fit have drawn in the loggers, in the order of x.
        name: The source of its decisions.
        kind: The kind of its decisions.
    """

    name: ClassVar[str]
    kind: ClassVar[str]
    # What states of version 0.1.0 lack.
    _newer: ClassVar[dict[str, Any]] = {"lrs": {}, "peak": None}

    def __init__(
        self, *, milestones: Sequence[int | float], apply: bool, stop_after: bool, attr: str | None = None
    ) -> None:
        name = type(self).__name__
        self.milestones = check_milestones(f"{name}(milestones=...)", milestones)
        check_flag(f"{name}(apply=...)", apply)
        check_flag(f"{name}(stop_after=...)", stop_after)
        if attr is not None and not isinstance(attr, str):
            raise TypeError(f"`{name}(attr=...)` must be a name, got {attr!r}.")
        self.apply = apply
        self.attr = attr
        self.lrs: dict[str, float] = {}
        self.stop_after = stop_after
        self.suggestion: Decision | None = None
        self.points: list[Point] = []
        # Milestones, and the epochs of other tests.
        self._tested: list[int | float] = []
        # The highest LR of the whole run with the LR found, which may be that of its rest.
        self._peak: float | None = None
        # The shares of the run at which a test is to come, and after how many steps.
        self._due: dict[float, int] = {}
        self._minimum: tuple[int | None, int | None] | None = None
        # The start hooks of the module that the fit calls only after the test.
        self._ahead: tuple[str, ...] = ()
        self._first_steps = FirstSteps(name)

    @override
    def __repr__(self) -> str:
        return with_result(self, self.suggestion.text if self.suggestion else None)

    def _repr_html_(self) -> str:
        return figure_html(self.plot, repr(self))

    @abstractmethod
    def plot(self) -> "Figure":
        """Draw what the last test found; raises RuntimeError before the first."""

    def check_fit(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse a fit whose loaders are set up, before any test; all ranks call it.

        Raises:
            MisconfigurationException: Why, and what to change.
        """
        # Where there is none, Lightning takes one without groups.
        if not any(optimizer.param_groups for optimizer in trainer.optimizers):
            raise MisconfigurationException(
                f"`configure_optimizers` returns no optimizer, so {type(self).__name__} has no LR to find. If"
                " the module steps one of its own, return that from `configure_optimizers`."
            )
        steps_of_shares(type(self).__name__, self.milestones, trainer, pl_module)

    @abstractmethod
    def planned_steps(self, trainer: Trainer, pl_module: LightningModule) -> int | float:
        """Return about how many steps the first test makes, a count (int) or a share of the run (float)."""

    def expect_lrs(self, trainer: Trainer) -> None:
        """Take the LRs of now for those of the next steps, which are compared with them."""
        # Schedulers may step before the next step.
        self._first_steps.begin(trainer, before_schedulers=True)

    @abstractmethod
    def find(self, trainer: Trainer, pl_module: LightningModule) -> Finding:
        """Look for an LR from here, and leave no trace in the fit."""

    def run_test(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Test from here, whatever the milestones, report the LR found and train with it.

        All ranks call it, between two training steps: in `on_train_start`, `on_train_epoch_start` or
        `on_train_batch_start`.
        """
        has_own = own_lr(trainer.optimizers)
        reason = has_own or why_too_late(trainer)
        if reason is None:
            finding = self.find(trainer, pl_module)
        else:
            old_lr = math.nan if has_own else highest_left(trainer)
            finding = Finding(Abstention(self.name, reason), old_lr, f"No test. {reason}", None)
        self._conclude(trainer, pl_module, finding)

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self.settle_key(trainer)
        self._tested, self.points, self._ahead = [], [], ()

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        keep_swa_lrs(trainer)
        if self.attr is not None:
            check_attr(pl_module, self.attr, type(self).__name__)
        self._first_steps.begin(trainer)
        check_not_restarted(trainer, self, loaded=bool(self._tested))
        if self.apply and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            # Whenever it tests, nothing is found that cannot be used.
            check_schedules_follow(trainer, type(self).__name__)
        if self.apply and self._tested and isinstance(self.suggestion, Suggestion):
            # Of a fit that is resumed, the module is a new one.
            write_down(trainer, pl_module, self._peak or self.suggestion.lr, attr=self.attr)
        self._plan_shares(trainer, pl_module)
        if 0 not in self.milestones or not self._may_run(trainer):
            return
        if trainer.global_step == 0:
            # Whatever the order of the callbacks, a fit that one of them refuses costs no test.
            check_fits(trainer, pl_module)
            prepare_schedules(trainer, pl_module)
            if own_lr(trainer.optimizers) is None:
                tell_doubts(trainer, pl_module, self, steps=self.planned_steps(trainer, pl_module))
            self._begin(trainer, pl_module)
        elif trainer.ckpt_path is not None:
            tell_no_test(trainer, self.name)
        else:
            self._keep_found(trainer, pl_module)

    @override
    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        epoch = trainer.current_epoch
        if epoch > 0 and epoch in self.milestones and epoch not in self._tested:
            self._ahead = ("on_train_epoch_start",)
            self.run_test(trainer, pl_module)
            self._ahead = ()
            # One test is enough for a share of the run that is over here.
            self._take_due(trainer, pl_module)

    @override
    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self._due and self._take_due(trainer, pl_module):
            self.run_test(trainer, pl_module)

    @override
    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        if self._first_steps.are_due:
            self._first_steps.before_step(trainer, optimizer)

    @override
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._first_steps.flush(trainer)

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
            "lrs": dict(self.lrs),
            "peak": self._peak,
        }

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        state = read_state(self, state_dict, self._entries(), newer=self._newer)
        self._tested, self.suggestion = state["tested"], state["suggestion"]
        self.points, self.lrs, self._peak = state["points"], state["lrs"], state["peak"]

    def _entries(self) -> dict[str, Read]:
        """Return how to read each entry of a state."""
        return {
            "tested": each_of(read_milestone),
            "points": each_of(_read_point),
            "suggestion": optional(decision_from_dict),
            "lrs": _read_lrs,
            "peak": optional(positive),
        }

    def _may_run(self, trainer: Trainer) -> bool:
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            name = type(self).__name__
            rank_zero_info(f"{name}: no test in a `fast_dev_run`, the LR stays what it is.")
            return False
        return not self._tested

    def _plan_shares(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look when shares of the run are over; those that were before the fit began are left out."""
        self._due = {}
        if not trainer.fast_dev_run:  # type: ignore[attr-defined]
            steps = steps_of_shares(type(self).__name__, self.milestones, trainer, pl_module)
            made = steps_made(trainer, manual=not pl_module.automatic_optimization)
            self._due = {
                share: step for share, step in steps.items() if step >= made and share not in self._tested
            }

    def _take_due(self, trainer: Trainer, pl_module: LightningModule) -> bool:
        """Note the shares of the run that are over, and tell whether there are any."""
        made = steps_made(trainer, manual=not pl_module.automatic_optimization)
        over = [share for share, step in self._due.items() if made >= step]
        self._tested += over
        for share in over:
            del self._due[share]
        return bool(over)

    def _begin(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make the first test."""
        self._ahead = ("on_train_start", "on_train_epoch_start")
        self.run_test(trainer, pl_module)
        self._ahead = ()

    def _keep_found(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Go on with the LR that an earlier fit of the same Trainer has found."""
        found = self.suggestion
        if not self.apply or not isinstance(found, Suggestion):
            return
        old = peak_lr(trainer)
        new = self._peak or found.lr
        if old and not math.isclose(old, new):
            train_with(trainer, pl_module, old=old, new=new, attr=self.attr)
            summary = "A fit of this Trainer before has found the LR, and the optimizers are new."
            tell(trainer, Entry(self.name, "LR kept", summary, f"LR {old:.3g} -> {new:.3g}"))

    def _conclude(self, trainer: Trainer, pl_module: LightningModule, finding: Finding) -> None:
        """Train with the LR found, and report it."""
        decision, old_lr = finding.decision, finding.old_lr
        self._tested.append(trainer.current_epoch)
        self.suggestion = decision
        # Above the highest LR to come there may be a floor.
        shown = max(old_lr, current_lr(trainer)) if trainer.global_step else old_lr
        effect = "LR stays the optimizer's own" if math.isnan(old_lr) else f"LR stays {shown:.3g}"
        if self.apply and isinstance(decision, Suggestion):
            self._peak = train_with(trainer, pl_module, old=old_lr, new=decision.lr, attr=self.attr)
            effect = f"LR {shown:.3g} -> {decision.lr:.3g}" + told_of_schedule(trainer, decision.lr)
        self.lrs = {} if math.isnan(old_lr) else lrs_by_name(trainer)
        if not self.apply and isinstance(decision, Suggestion):
            self.lrs = {name: lr * decision.lr / old_lr for name, lr in self.lrs.items()}
        self._first_steps.begin(trainer)
        if self.stop_after:
            self._stop(trainer)
        points = [] if finding.evidence is None else self._place(trainer, finding.evidence.points)
        entry = Entry(self.name, self.kind, finding.summary, effect, decision.to_dict())
        line = _line(decision, effect, is_used=self.apply)
        report(trainer, entry, finding.evidence, points, line=f"{line} {finding.advice}".rstrip())
        tell_traces(trainer, self.name, finding)

    def _stop(self, trainer: Trainer) -> None:
        loop = trainer.fit_loop
        self._minimum = (loop.min_epochs, loop.epoch_loop.min_steps)
        loop.min_epochs, loop.epoch_loop.min_steps = 0, None
        trainer.should_stop = True

    def _place(self, trainer: Trainer, points: Sequence[Point]) -> list[Point]:
        """Return the points with x from the current step on, after those of earlier tests."""
        begin = max([logged_step(trainer), *(point.step + 1 for point in self.points[-1:])])
        placed = shifted(points, begin)
        self.points += placed
        return placed


def _line(decision: Decision, effect: str, *, is_used: bool) -> str:
    """Return a decision as the console shows it."""
    if isinstance(decision, Abstention):
        return f"{effect}. {decision.reason}"
    span = f"({decision.low:.2g} to {decision.high:.2g})"
    if not is_used:
        return f"LR {decision.lr:.3g} {span} found, and {effect}."
    change, comma, rest = effect.partition(",")
    return f"{change} {span}{comma}{rest}."


def _read_point(value: object) -> Point:
    entries = read_entries(value, {"step": count, "values": mapping})
    values = {text(tag): number(y) for tag, y in entries["values"].items()}
    return Point(entries["step"], time.time(), values)


def _read_lrs(value: object) -> dict[str, float]:
    return {text(name): number(lr) for name, lr in mapping(value).items()}
