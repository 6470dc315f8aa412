"""LRDecay: the learning rate of every step, as a closed form of time."""

import math
from dataclasses import asdict
from typing import Any

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch.optim import Optimizer
from typing_extensions import override

from lightning_lr.checks import check_choice
from lightning_lr.decay.plan import Cooldown, Interval, Plan
from lightning_lr.decay.report import (
    group_count,
    take_in_added,
    tell_change,
    tell_warmup_end,
    warn_of_new_horizon,
)
from lightning_lr.fit.horizon import Horizon
from lightning_lr.fit.neighbors import check_no_rival
from lightning_lr.fit.resume import check_not_restarted, read_state
from lightning_lr.fit.run_length import REMEDY, check_epochs_end_together, run_length
from lightning_lr.fit.saved_state import Read, count, length, number, optional, positive, read_entries
from lightning_lr.fit.step_hook import StepHook
from lightning_lr.policies import Constant, Linear, Policy, WarmupStableDecay, check_span
from lightning_lr.rates import adopt_groups, are_lent, set_factor

__all__ = ["LRDecay"]

_DEFAULT_POLICY = Linear()

_ENTRIES: dict[str, Read] = {
    "step": count,
    "horizon": lambda values: Horizon(**read_entries(values, {"steps": length, "epochs": length})),
    "cooldown": optional(
        lambda values: Cooldown(**read_entries(values, {"start": number, "length": positive}))
    ),
}


class LRDecay(Callback):
    """Set the LR of every parameter group to its base LR times a policy of time.

    LR = base LR x ramp(step) x policy(time). The base LR is the one the optimizer was made with
    (`group["initial_lr"]`, torch's convention), so the ratios between groups stay. The LR of a step is
    written before any callback's `on_train_batch_start` sees that step.

    **Time** is counted in epochs completed or in optimizer steps made: a batch that only accumulates
    gradients and a step that the AMP scaler skipped do not count. Under manual optimization the Trainer
    cannot know how many steps a batch makes, so time runs in the unit that bounds the run: optimizer
    steps of all optimizers together, as the Trainer counts them, with `max_steps`; batches otherwise.

    **Resume** needs nothing: the LR is recomputed from the time and the base LRs in the checkpoint, and
    equals that of the uninterrupted run bit for bit. A run resumed with another `max_epochs` or
    `max_steps` continues on the plan of the new length and says so.

    **Others.** A group added during the run takes its `lr` as base, and one that a finetuning callback of
    Lightning thaws takes it for the LR of now; a warning says so. An LR changed by other code is not
    overwritten but taken as a change of the base, with a warning. With an LR scheduler in
    `configure_optimizers`, fit refuses to start.

    Args:
        policy: The decay, one of `lightning_lr.policies` or a subclass of `Policy`.
        interval: Whether the policy's time is counted in epochs or in optimizer steps.
        warmup: Length of a linear ramp from 0 at the start of the run, as a count of optimizer steps
            (int) or a share of the run in [0, 1] (float), Lightning's convention for
            `limit_train_batches`. Step s of W runs at s / W, as in transformers, so the first step
            runs at zero. With `interval="step"` the policy's clock starts when the ramp ends.

    Raises:
        TypeError: `policy` is no policy, `warmup` no number.
        ValueError: `interval` or `warmup` out of range.
        MisconfigurationException: At fit start: there is an LR scheduler, or SWA; the policy or a `warmup`
            share needs an end that the Trainer does not set.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> from lightning_lr import LRDecay
        >>> from lightning_lr.policies import Cosine
        >>> decay = LRDecay(Cosine(floor=0.01), interval="step", warmup=0.05)
        >>> trainer = Trainer(max_epochs=30, callbacks=[decay], logger=False, enable_checkpointing=False)

        The same in YAML:

        ```yaml
        trainer:
          max_epochs: 30
          callbacks:
            - class_path: lightning_lr.LRDecay
              init_args:
                policy:
                  class_path: lightning_lr.policies.Cosine
                  init_args: {floor: 0.01}
                interval: step
                warmup: 0.05
        ```

    It logs nothing itself: `LRLogger` and `LearningRateMonitor` show the LRs it sets.
    """

    hparams_column = "lr_schedule"

    def __init__(
        self, policy: Policy = _DEFAULT_POLICY, *, interval: Interval = "epoch", warmup: int | float = 0
    ) -> None:
        if not isinstance(policy, Policy):
            raise TypeError(
                f"`LRDecay(policy=...)` must be a Policy, got {policy!r}. Wrap a function in"
                " `lightning_lr.policies.Function`."
            )
        check_choice("LRDecay(interval=...)", interval, ("epoch", "step"))
        check_span("LRDecay(warmup=...)", warmup)
        self.policy = policy
        self.interval: Interval = interval
        self.warmup = warmup
        self._plan: Plan | None = None
        self._step = 0
        self._epoch = 0
        self._loaded: dict[str, Any] = {}
        self._saved: dict[str, Any] = {}
        self._factor: float | None = None
        self._group_count = 0
        self._counts_batches = False
        self._is_warming_up = False
        self._hook = StepHook(self._count_step)
        self._warned = False

    @property
    def plan(self) -> Plan:
        """The plan of the running fit, or of the last one.

        Raises:
            RuntimeError: No fit has started yet, or the next one is being set up.
        """
        if self._plan is None:
            raise RuntimeError("LRDecay has no plan before `Trainer.fit` has started.")
        return self._plan

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._loaded, self._saved = {}, {}
        self._warned = False
        if stage == TrainerFn.FITTING:
            self._plan = None

    @override
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        check_no_rival(trainer)
        adopt_groups(trainer.optimizers)

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        check_not_restarted(trainer, self, loaded=self._loaded.get("step", 0) > 0)
        if self.interval == "epoch":
            check_epochs_end_together(
                trainer,
                "`LRDecay(interval='epoch')` sets one LR on all ranks",
                otherwise="it trains with another LR than the others for a while",
                remedy="Use `LRDecay(interval='step')`",
            )
        manual = not pl_module.automatic_optimization
        self._counts_batches = manual and trainer.max_steps == -1
        self._plan = self._make_plan(trainer, manual=manual)
        batches = trainer.fit_loop.epoch_loop.total_batch_idx + 1
        self._step = self._loaded.get("step", batches if self._counts_batches else trainer.global_step)
        # `current_epoch` lags behind where a checkpoint was saved at the end of an epoch.
        self._epoch = trainer.fit_loop.epoch_progress.current.processed  # type: ignore[attr-defined]
        self._factor = None
        self._is_warming_up = self._step < self._plan.warmup_steps
        old = self._loaded.get("horizon", self._plan.horizon)
        warn_of_new_horizon(self._plan, old, step=self._step, epoch=self._epoch)
        self.write(trainer)
        self._end_cooldown(trainer)
        self._hook.attach([] if self._counts_batches else trainer.optimizers)

    @override
    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._hook.in_batch = True
        if group_count(trainer.optimizers) != self._group_count:
            self.write(trainer)

    @override
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._hook.in_batch = False
        if self._counts_batches:
            self._step += 1
        self.write(trainer)
        if self._is_warming_up:
            self._is_warming_up = not tell_warmup_end(trainer, self.plan, self._step)
        self._end_cooldown(trainer)

    @override
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Not counted up: the hook is called again where a run resumes from the end of an epoch.
        self._epoch = trainer.current_epoch + 1
        self.write(trainer)
        self._end_cooldown(trainer)

    @override
    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._hook.detach()

    @override
    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._hook.detach()

    @override
    def state_dict(self) -> dict[str, Any]:
        if self._plan is None:
            return self._saved
        cooldown = self._plan.cooldown
        return {
            "step": self._step,
            "horizon": asdict(self._plan.horizon),
            "cooldown": asdict(cooldown) if cooldown else None,
        }

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        # Empty where it was saved before the first step.
        self._loaded = read_state(self, state_dict, _ENTRIES) if state_dict != {} else {}
        self._saved = dict(state_dict)

    @property
    def schedule_name(self) -> str | None:
        """The plan as sentences name it; None if it keeps the LR."""
        return None if isinstance(self.policy, Constant) else f"LRDecay({type(self.policy).__name__})"

    @property
    def has_cooldown(self) -> bool:
        """Whether `start_cooldown` can be used: the policy is `WarmupStableDecay`."""
        return isinstance(self.policy, WarmupStableDecay)

    def start_cooldown(self, trainer: Trainer) -> str | None:
        """Begin the cooldown of `WarmupStableDecay` now, and end the run with it.

        It has the length that was planned, also where that is a share of the run. When it is over, the fit is
        stopped by `trainer.should_stop`, which `min_epochs` and `min_steps` can delay. Start and length are
        kept in checkpoints; the LR stays a closed form of time and of these two.

        Returns:
            What that means for the run, as text; None where the LR is warming up or cooling down already.

        Raises:
            RuntimeError: There is no cooldown to begin: no fit runs, or the policy is another one.
        """
        if not self.has_cooldown:
            raise RuntimeError(f"`LRDecay(policy={self.policy!r})` has no cooldown: use `WarmupStableDecay`.")
        epochs = self._epoch + (self.interval == "epoch" and trainer.is_last_batch)
        try:
            self._plan = self.plan.cooled_from(step=self._step, epoch=epochs)
        except ValueError:
            return None
        length = math.ceil(self._plan.cooldown.length) if self._plan.cooldown else 0
        self.write(trainer)
        return f"LR cools down over {length} {self.interval}s, and the run ends with that"

    def write(self, trainer: Trainer) -> None:
        """Write the current LRs from the current base LRs; before training starts this does nothing.

        LRDecay does so at every step. Code that changes base LRs between steps calls it, for those who read
        LRs before the next one.
        """
        optimizers = trainer.optimizers
        if self._plan is None or are_lent(optimizers):
            return
        factor = self.plan.factor(step=self._step, epoch=self._epoch)
        groups = group_count(optimizers)
        if self._factor is not None and groups != self._group_count:
            take_in_added(trainer, self._factor)
        changes = set_factor(optimizers, factor, previous=self._factor)
        self._factor = factor
        self._group_count = groups
        if changes and not self._warned:
            self._warned = True
            expected, found = changes[0]
            tell_change(trainer, self._step, expected=expected, found=found)

    def _end_cooldown(self, trainer: Trainer) -> None:
        if self.plan.is_over(step=self._step, epoch=self._epoch):
            trainer.should_stop = True

    def _make_plan(self, trainer: Trainer, *, manual: bool) -> Plan:
        length = run_length(trainer, manual=manual)
        cooldown = self._loaded.get("cooldown")
        if cooldown is not None:
            # A cooldown goes on as it began, whatever the Trainer's bounds are now.
            length = self._loaded["horizon"]
        try:
            plan = Plan(self.policy, self.interval, self.warmup, length, cooldown)
        except ValueError as error:
            raise MisconfigurationException(f"LRDecay: {error} {REMEDY[self.interval]}") from error
        plan.check()
        return plan

    def _count_step(self, optimizer: Optimizer) -> None:
        self._step += 1
