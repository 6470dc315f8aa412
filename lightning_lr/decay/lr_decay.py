"""LRDecay: the learning rate of every step as a closed form of time."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from lightning_lr.checkpoints.keys import KeyedCallback
from lightning_lr.checkpoints.resume import check_not_restarted
from lightning_lr.decay.clock import RunClock
from lightning_lr.decay.doubts import warms_up
from lightning_lr.decay.figure import PlanFigure
from lightning_lr.decay.moments import moments_from
from lightning_lr.decay.of_fit import schedule_of
from lightning_lr.decay.other_values import OtherValues, charts_of
from lightning_lr.decay.plan import Interval, Plan
from lightning_lr.decay.ramp import RampShape
from lightning_lr.decay.report import (
    tell_doubts,
    tell_floor,
    tell_new_plan,
    tell_unmatched,
    tell_warmup_end,
    warn_of_new_horizon,
)
from lightning_lr.decay.saved_plan import SavedPlan
from lightning_lr.decay.schedule import Schedule
from lightning_lr.decay.settings import Settings
from lightning_lr.decay.writer import LRWriter, names_of
from lightning_lr.fit.lightnings import LightningModule, Trainer, TrainerFn
from lightning_lr.fit.neighbors import Charts, check_no_rival
from lightning_lr.fit.optimizers import groups_of
from lightning_lr.policies import Linear, Policy
from lightning_lr.rates import adopt_groups, are_lent
from lightning_lr.shown import as_call, figure_html, with_result

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["LRDecay"]

_DEFAULT_POLICY = Linear()


class LRDecay(KeyedCallback):
    """Set the LR of every parameter group to its base LR times a policy of time.

    LR = base LR x ramp(step) x policy(time), and after the ramp no lower than `min_lr`

    The base LR is the one that the optimizer was created with, or that a finder found, so the groups keep
    their ratios.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> from lightning_lr import LRDecay
        >>> from lightning_lr.policies import Constant, Cosine, Sequence
        >>> decay = LRDecay(Cosine(end=0.01), interval="step", warmup=0.05)
        >>> trainer = Trainer(max_epochs=30, callbacks=[decay])

        A backbone that is frozen for 5 epochs of 30, and a head that is not:

        >>> frozen_first = Sequence([Constant(0.0), Cosine()], durations=[5])
        >>> decay = LRDecay(Cosine(), policies={"backbone": frozen_first})

        In YAML, in the list `trainer.callbacks`:

        ```yaml
        - class_path: lightning_lr.LRDecay
          init_args:
            policy:
              class_path: lightning_lr.policies.Cosine
              init_args: {end: 0.01}
            interval: step
            warmup: 0.05
        ```

    Args:
        policy: The decay: a policy of `lightning_lr.policies`, or a subclass of `Policy`.
        policies: The decay of parameter groups by name or pattern, in place of `policy`; see below.
        interval: Whether the policy counts time in completed epochs or in optimizer steps.
        warmup: Length of the ramp at the start of the run: a count of optimizer steps (int), or a share of
            the run in [0, 1] (float). Step s of W runs at s / W, as in transformers, so the first step runs
            at zero. With `interval="step"`, the policy's clock starts when the ramp ends.
        warmup_start: Factor of the first step of the ramp, in [0, 1], like `start_factor` of torch's
            `LinearLR`. With `warmup=W - 1, warmup_start=1 / W`, step s of W runs at (s + 1) / W.
        warmup_shape: The curve of the ramp: `"linear"`, `"cosine"`, `"exponential"` (which needs a
            `warmup_start` above 0) or `"1-sqrt"`.
        min_lr: The LR below which the policy does not go, in [0, inf), for every group; a lower base LR stays
            as it is. It is an LR and no factor, since the base LR may be unknown before a range test.
        momentum: The momentum itself (the first of Adam's `betas`) as a policy with values in [0, 1), for all
            groups that have one. `Piecewise([0.0, 0.3, 1.0], [0.95, 0.85, 0.95], shape="cosine")` is the
            opposite cycle of torch's `OneCycleLR` beside `OneCycle(0.3)`. No ramp multiplies it.
        weight_decay: The factor of each group's own weight decay as a policy; groups without any stay so.
            No ramp multiplies it.

    Raises:
        TypeError: `policy` is not a Policy, or a number has the wrong type.
        ValueError: An argument is out of range.
        MisconfigurationException: At fit start: `configure_optimizers` returns an LR scheduler, there is SWA,
            or the policy or a `warmup` share needs an end that the Trainer does not set.

    **Time** is counted as the Trainer counts it: a batch that only accumulates gradients is no step, and an
    `optimizer_step` that steps twice, or only on every second batch, counts once for each batch. A step that
    the AMP scaler skips does not count. Under manual optimization the Trainer cannot know how many steps a
    batch makes, so time is counted in what bounds the run: with `max_steps`, the steps of all optimizers
    together, otherwise batches. An LR is written before any callback's `on_train_batch_start` of its step.

    **Resume** needs no setup: the LR is computed from the time and the base LRs in the checkpoint, and is
    that of the uninterrupted run bit for bit. A run that is resumed with another `max_epochs` or `max_steps`
    goes on with the plan of the new length, with a warning.

    **Groups.** With `policies`, a backbone can be slower or frozen, or each layer have its own decay. A group
    has the name that LRLogger shows. `lr/AdamW/head` is meant by `head` (the `name` beside the group's
    `params`; `pg2` for a second group without one), by `AdamW/head`, by `AdamW` for all groups of an
    optimizer, or by a pattern such as `encoder.*`. All policies have the same clock, ramp and floor. A name
    that no group has is refused, with those that there are; but a pattern may wait for a group that joins
    during the run, and so may a name if a finetuning callback of Lightning thaws one.

    **Other code.** If it changes an LR, the change is kept as a change of the base LR, with a warning. The
    `lr` of a group that is added during the run is its base LR; if a finetuning callback of Lightning adds
    it, it is the current LR. A warning says which.

    It logs no values itself: `LRLogger` shows the LRs, and momentum and weight decay if they are scheduled;
    so does `LearningRateMonitor(log_momentum=True, log_weight_decay=True)`.
    """

    hparams_column = "lr_schedule"
    for_several = (
        "One sets the LRs of all groups: `LRDecay(policies={'head': ...})` gives groups their own policies,"
        " the policy `Sequence` phases that follow one another, and `momentum` and `weight_decay` set those."
    )

    def __init__(
        self,
        policy: Policy = _DEFAULT_POLICY,
        *,
        policies: Mapping[str, Policy] | None = None,
        interval: Interval = "epoch",
        warmup: int | float = 0,
        warmup_start: float = 0.0,
        warmup_shape: RampShape = "linear",
        min_lr: float = 0.0,
        momentum: Policy | None = None,
        weight_decay: Policy | None = None,
    ) -> None:
        self.settings = Settings(
            policy=policy,
            policies=policies,
            interval=interval,
            warmup=warmup,
            warmup_start=warmup_start,
            warmup_shape=warmup_shape,
            min_lr=min_lr,
            momentum=momentum,
            weight_decay=weight_decay,
        )
        self.policy = policy
        self.policies = policies
        self.interval: Interval = interval
        self.warmup = warmup
        self.warmup_start = warmup_start
        self.warmup_shape: RampShape = warmup_shape
        self.min_lr = min_lr
        self.momentum = momentum
        self.weight_decay = weight_decay
        self._schedule: Schedule | None = None
        self._clock = RunClock()
        self._writer = LRWriter()
        self._others = OtherValues()
        self._figure = PlanFigure()
        self._loaded: SavedPlan | None = None
        self._is_warming_up = False
        self._floor_is_due = False

    @property
    def plan(self) -> Plan:
        """The plan of the running fit, or of the last one, for groups that are not in `policies`.

        Raises:
            RuntimeError: No fit has started yet, or the next one is being set up.
        """
        return self.schedule.plan

    @property
    def schedule(self) -> Schedule:
        """The plans of all groups of that fit.

        Raises:
            RuntimeError: No fit has started yet, or the next one is being set up.
        """
        if self._schedule is None:
            raise RuntimeError("LRDecay has no plan before `Trainer.fit` has started.")
        return self._schedule

    def plot(self) -> "Figure":
        """Draw the plan of the running fit, or of the last one, from the base LRs that it began with.

        Raises:
            RuntimeError: No fit has made a step yet, or the run has no end.
        """
        return self._figure.draw()

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self.settle_key(trainer)
        self._loaded = None
        if stage == TrainerFn.FITTING:
            self._schedule = None
            self._others = OtherValues()
            self._figure.is_due = True

    @override
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        check_no_rival(trainer)
        adopt_groups(trainer.optimizers)

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        loaded = self._loaded
        check_not_restarted(trainer, self, loaded=loaded is not None and loaded.step > 0)
        self._schedule = self.check_fit(trainer, pl_module)
        self._clock.begin(trainer, pl_module, saved=loaded.step if loaded else None)
        self._writer = LRWriter()
        step = self._clock.step
        self._is_warming_up = step < self.plan.warmup_steps
        self._floor_is_due = step == 0
        if loaded:
            warn_of_new_horizon(self.plan, loaded.horizon, step=step, epoch=self._clock.epoch)
        if loaded and loaded.settings not in (None, self.settings.text):
            tell_new_plan(trainer, loaded.settings, self.settings.text)
        elif step == 0:
            tell_doubts(trainer, self._schedule, self._names(trainer))
        self._update(trainer)

    def check_fit(self, trainer: Trainer, pl_module: LightningModule) -> Schedule:
        """Return the plans of a fit whose loaders are set up; all ranks call it.

        Raises:
            MisconfigurationException: There are none.
        """
        return schedule_of(trainer, pl_module, self.settings, self._loaded)

    def prepare(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Set momentum and weight decay of the first step, for a test before it; all ranks call it."""
        if self._schedule is None:
            self._others.write(trainer, self.check_fit(trainer, pl_module), step=0, epoch=0)

    @override
    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._clock.begin_batch(trainer)
        if self._floor_is_due and not are_lent(trainer.optimizers):
            # Only now has every callback found its base LR.
            self._floor_is_due = False
            tell_floor(trainer, self.min_lr)
        if self._figure.is_due and not are_lent(trainer.optimizers):
            self._figure.keep(trainer, self.schedule)
        if self._writer.lacks_bases(trainer.optimizers):
            self.write(trainer)

    @override
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._clock.end_batch(trainer)
        self._update(trainer)
        if self._is_warming_up and self._clock.step >= self.plan.warmup_steps:
            self._is_warming_up = False
            tell_warmup_end(trainer, self.schedule)

    @override
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._clock.end_epoch(trainer)
        self._update(trainer)

    @override
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if unmatched := [key for key in self.schedule.others if key not in self._writer.keys]:
            tell_unmatched(trainer, unmatched, names_of(trainer.optimizers))

    @override
    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._clock.stop()

    @override
    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._clock.stop()

    @override
    def state_dict(self) -> dict[str, Any]:
        if self._schedule is None:
            return self._loaded.to_dict() if self._loaded else {}
        return SavedPlan.of(self._schedule, step=self._clock.step, settings=self.settings.text).to_dict()

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        # Empty if it was saved before the first step.
        self._loaded = None if state_dict == {} else SavedPlan.read(self, state_dict)

    @override
    def __repr__(self) -> str:
        if self._schedule is None:
            return as_call(self)
        steps = self._schedule.plan.horizon.steps
        end = f" of {steps:g}" if math.isfinite(steps) else ""
        return with_result(self, f"step {self._clock.step}{end}")

    def _repr_html_(self) -> str:
        return figure_html(self.plot, repr(self))

    def warms_up(self, trainer: Trainer, pl_module: LightningModule) -> bool:
        """Return whether the LR of a fit whose loaders are set up begins low and rises; all ranks call it."""
        return warms_up(self._schedule or self.check_fit(trainer, pl_module), self._names(trainer))

    def factors(self, trainer: Trainer, pl_module: LightningModule, *, is_whole: bool) -> list[list[float]]:
        """Return the factors of each group over the rest of the run, or over the whole of it.

        They are spread evenly but for one. All ranks call it.
        """
        schedule = self._schedule or self.check_fit(trainer, pl_module)
        names = names_of(trainer.optimizers) if self.policies else [""] * len(groups_of(trainer.optimizers))
        step, epoch = (0, 0) if is_whole or self._schedule is None else (self._clock.step, self._clock.epoch)
        return schedule.factors(names, moments_from(trainer, schedule.plan, step=step, epoch=epoch))

    @property
    def schedule_name(self) -> str | None:
        """The plan as sentences name it; None if it keeps the LR."""
        return self.settings.schedule_name

    @property
    def has_cooldown(self) -> bool:
        """Whether `start_cooldown` can be used: a policy is `WarmupStableDecay`."""
        return self.settings.has_cooldown

    @property
    def scheduled_keys(self) -> tuple[str, ...]:
        """The values of parameter groups that are set beside the LRs: `momentum`, `weight_decay`."""
        return self.settings.scheduled_keys

    def charts(self) -> Charts:
        """Return the charts of momentum and weight decay, if they are set."""
        return charts_of(self.scheduled_keys)

    def start_cooldown(self, trainer: Trainer, *, keeps_length: bool = True) -> str | None:
        """Begin the cooldown of `WarmupStableDecay` now and end the run with it.

        The cooldown keeps its planned length, even if that is a share of the run; with `keeps_length=False`,
        it takes the rest of a run whose end is known. Groups with another policy stay on it. At its end,
        LRDecay stops the fit by `trainer.should_stop`, which `min_epochs` and `min_steps` can delay. Start
        and length are saved in checkpoints; the LR remains a closed form of time.

        Returns:
            A text that says what happens; None if the LR is still warming up or already cooling down.

        Raises:
            RuntimeError: No fit is running, or the policy is not `WarmupStableDecay`.
        """
        if not self.has_cooldown:
            raise RuntimeError(f"`LRDecay(policy={self.policy!r})` has no cooldown: use `WarmupStableDecay`.")
        epochs = self._clock.epoch + (self.interval == "epoch" and trainer.is_last_batch)
        try:
            self._schedule = self.schedule.cooled_from(
                step=self._clock.step, epoch=epochs, keeps_length=keeps_length
            )
        except ValueError:
            return None
        length = math.ceil(max(self._schedule.cooldown_lengths()))
        self.write(trainer)
        return f"LR cools down over {length} {self.interval}s, and the run ends with that"

    def write(self, trainer: Trainer) -> None:
        """Write the current LRs from the current base LRs; does nothing before training starts.

        LRDecay calls this at every step. Code that changes base LRs between steps calls it too, so that the
        LRs are right before the next step.
        """
        if self._schedule is None or are_lent(trainer.optimizers):
            return
        step, epoch = self._clock.step, self._clock.epoch
        self._others.write(trainer, self._schedule, step=step, epoch=epoch)
        self._writer.write(trainer, self._schedule, step=step, epoch=epoch)

    def _update(self, trainer: Trainer) -> None:
        """Write the LRs of the new time, and stop the fit if an early cooldown has ended."""
        self.write(trainer)
        if self.schedule.is_over(step=self._clock.step, epoch=self._clock.epoch):
            trainer.should_stop = True

    def _names(self, trainer: Trainer) -> list[str]:
        """Return the names of the groups; none if no policy depends on them, so that they may be anything."""
        return names_of(trainer.optimizers) if self.policies else []
