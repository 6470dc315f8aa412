"""LRRangeTest: raises the LR over training steps, takes them back, and reads one LR off the losses."""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

from typing_extensions import override

from lightning_lr.checkpoints.saved_state import Read, flag, optional
from lightning_lr.checks import check_choice, check_count, check_flag
from lightning_lr.dry_run.dry_run import DryRun
from lightning_lr.dry_run.validation import DryValidation
from lightning_lr.finders.bounds import check_bounds, find_bounds
from lightning_lr.finders.doubts import NO_WARMUP, fit_warms_up
from lightning_lr.finders.drift import USUAL_LENGTH, fitted_to_run
from lightning_lr.finders.finder import Finder
from lightning_lr.finders.progress import Bar, progress_bar
from lightning_lr.finders.range_test.curve import LossCurve, highest_to_try
from lightning_lr.finders.range_test.dry_ramp import Ramped, Validated, make_ramps
from lightning_lr.finders.range_test.evidence import evidence_of, summarize
from lightning_lr.finders.range_test.figure import range_test_figure
from lightning_lr.finders.range_test.live import LiveRamp
from lightning_lr.finders.range_test.ramp import Ramp, ramp
from lightning_lr.finders.range_test.rules import Basin, Rule
from lightning_lr.finders.report import Finding
from lightning_lr.finders.suggestion import Abstention, Decision, Suggestion
from lightning_lr.finders.trials.around import MOST_TRAININGS, best_around, steps_of_trainings
from lightning_lr.finders.trials.cold_start import COLD_TRIALS, fitted_to_cold_start
from lightning_lr.finders.trials.proposal import USUAL_WARMUP
from lightning_lr.finders.trials.shape import shape_of_run
from lightning_lr.finders.trials.short_trainings import ShortTrainings
from lightning_lr.fit.lightnings import LightningModule, MisconfigurationException, Trainer
from lightning_lr.fit.neighbors import Charts
from lightning_lr.fit.run_length import steps_left
from lightning_lr.peaks import highest_left
from lightning_lr.schedules.own_lrs import own_lr

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["LRRangeTest"]

_DEFAULT_RULE = Basin()
_PHASE = "LR range test"
_VALIDATION_BATCHES = 16
# Where the run has no warm-up, a trial without one takes this share of the steps.
_COLD_SHARE = 0.45


class LRRangeTest(Finder):
    """Find the base LR at startup with a range test that leaves no trace, and train with it.

    Before the first batch, the LR is raised from step to step until the loss blows up, and one LR is read off
    the curve of the losses. Then the steps are taken back.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> from lightning_lr import LRDecay, LRRangeTest
        >>> trainer = Trainer(callbacks=[LRRangeTest(), LRDecay(warmup=0.05)])

        In YAML, `- lightning_lr.LRRangeTest` in the list `trainer.callbacks`, or with arguments:

        ```yaml
        - class_path: lightning_lr.LRRangeTest
          init_args: {num_steps: 200}
        ```

    Args:
        num_steps: Steps of the ramp, at least 2. Without a `max_lr`, where noise hides what the loss does,
            and in a run that is long or has no warm-up, a test may take more; the progress bar and the
            decision say so.
        min_lr: LR of the first step, in (0, inf); None for the model's own scale.
        max_lr: LR of the last step, above `min_lr`; None to go on until the loss has risen again.
        early_stop: Whether the ramp ends when the loss has blown up. Otherwise it goes on up to `max_lr`, for
            a record of the whole range.
        mode: Whether each step multiplies the LR by a constant or adds a constant.
        rule: How the LR is read off the curve: a rule of `lightning_lr.finders`, or a subclass of `Rule`.
        repeats: How many ramps to make, at least 1, each over other batches. Their LRs are averaged on the
            log axis.
        milestones: When to test: at the start of epochs (int), and when shares of the run (float in [0, 1))
            are over; 0 is the start of the fit. What a later test finds is the highest LR of the rest.
        apply: Whether to train with the LR found.
        attr: The name of a number of the module that is kept in step with the LR found, as `lr` and
            `learning_rate` are: an attribute, or a hyperparameter. Dots lead deeper: `hparams.optimizer.lr`.
        validate_every: After how many steps of the ramp to measure the validation loss too, on up to 16
            batches. It is shown, and no rule reads it.
        stop_after: Whether to end the fit after the test.
        steps_per_trial: Steps of each short training after the ramp, at least 1, see below; 0 for none. None
            to make them where the whole test takes at most a tenth of the run.
        live: Whether to ramp over the first real batches of the fit, see below. Needs both bounds.

    Attributes:
        suggestion: What the last test decided, a `Suggestion` or an `Abstention`; None before the first.
        lrs: The LR of each parameter group after the last test, by its name in LRLogger; with `apply=False`,
            what it would be.
        curve: The losses of the ramp; None before the first test.
        validation_curve: The validation losses along the ramp; None without `validate_every`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of its range.
        MisconfigurationException: At fit start: a scheduler would not follow. At the test: its steps could
            not be taken back, and why.

    **No trace.** After the test, weights, buffers, optimizers, schedulers, random numbers, data loaders,
    counters, loggers, callbacks and your own objects are as before it: the fit is, bit for bit, one that was
    started with the LR found. Your objects are found wherever the fit holds them: in attributes, closures,
    samplers, data sets, open files, and variables of modules that functions name. What cannot be put back is
    named in a warning, before training goes on. Steps that call `wandb.log` or a `SummaryWriter` themselves
    do not in the test; what they write elsewhere, into files that they open, stays.

    **Groups and schedulers.** All LRs are multiplied by the same number, so groups and optimizers keep their
    ratios; an LR named here is that of the group with the highest one. Schedulers start again with the LR
    found as their highest; copies of them are run ahead to know what it is.

    **Too little to see.** If noise hides what the loss does, a second ramp takes three times the steps. If
    that is not enough, the LR stays what it was, and the decision says why. A step that raises an error
    because the LR is too high ends the ramp, like a divergence. A resumed fit is not tested again.

    **Length of the run.** The default rule is made for a run of a few hundred steps. For a longer one, the LR
    is corrected for the optimizer, and the decision says by how much.

    **Short trainings.** A ramp shows about where the LR lies. In a run of more than 28 times `num_steps`
    steps, short trainings say more: one with the LR of the default rule, one with a quarter and one with up
    to four times of it, of 0.6 to 1 `num_steps` steps each, from the start of the fit. The best of them is
    used. They begin as the run does, with a warm-up or without; validation judges them, on up to 16 batches,
    or the training loss.

    **No warm-up.** A ramp is itself a warm-up. Where the run has none, by LRDecay or a scheduler, and is too
    short for those trainings, the default rule's LR is tried without one, and so are half of it and a
    quarter, for 0.45 `num_steps` steps each from the start of the fit. The best of the three is used.

    **Live.** Some fits allow no dry run: streams that can be read only once, and
    `training_step(dataloader_iter)`. With `live=True` the ramp uses the first real batches. At its end,
    weights, buffers, optimizers and schedulers go back to the start; but the batches are used, and counters,
    random numbers, attributes of the module, callbacks and loggers have seen the steps.

    | logged | meaning | when |
    |---|---|---|
    | text `range_test` | the LR chosen, by which rule and why, and what the other rules say | after a test |
    | figure `range_test` | loss over LR; the LR chosen is red, those of other rules dotted | after a test |
    | `range_test/lr`, `range_test/loss` | the recorded curve, from the step of the fit on | after a test |
    | `range_test/val_loss` | the validation loss along it | after a test with `validate_every` |

    Source:
        Smith (2015), arXiv 1506.01186.
    """

    name = "LRRangeTest"
    kind = "range test"
    hparams_column = "lr_range_test"
    for_several = "One makes as many tests as you wish: `LRRangeTest(milestones=[0, 10], repeats=3)`."
    _newer: ClassVar[dict[str, Any]] = {"ramping": False, "validation_curve": None, "lrs": {}, "peak": None}

    def __init__(
        self,
        num_steps: int = 100,
        *,
        min_lr: float | None = None,
        max_lr: float | None = None,
        early_stop: bool = True,
        mode: Literal["exponential", "linear"] = "exponential",
        rule: Rule = _DEFAULT_RULE,
        repeats: int = 1,
        milestones: Sequence[int | float] = (0,),
        apply: bool = True,
        attr: str | None = None,
        validate_every: int | None = None,
        stop_after: bool = False,
        steps_per_trial: int | None = None,
        live: bool = False,
    ) -> None:
        check_count("LRRangeTest(num_steps=...)", num_steps, minimum=2)
        check_count("LRRangeTest(repeats=...)", repeats, minimum=1)
        check_choice("LRRangeTest(mode=...)", mode, ("exponential", "linear"))
        check_bounds("LRRangeTest", min_lr=min_lr, max_lr=max_lr)
        if not isinstance(rule, Rule):
            raise TypeError(
                f"`LRRangeTest(rule=...)` must be a Rule of `lightning_lr.finders`, got {rule!r}."
            )
        check_flag("LRRangeTest(live=...)", live)
        check_flag("LRRangeTest(early_stop=...)", early_stop)
        if validate_every is not None:
            check_count("LRRangeTest(validate_every=...)", validate_every, minimum=1)
        if steps_per_trial is not None:
            check_count("LRRangeTest(steps_per_trial=...)", steps_per_trial, minimum=0)
        super().__init__(milestones=milestones, apply=apply, attr=attr, stop_after=stop_after)
        once = repeats == 1 and self.milestones == (0,) and validate_every is None
        once = once and not steps_per_trial
        if live and not (once and min_lr is not None and max_lr is not None):
            raise ValueError(
                "`LRRangeTest(live=True)` ramps once, over the first batches: give it `min_lr` and `max_lr`,"
                " and leave `repeats`, `milestones`, `validate_every` and `steps_per_trial` as they are."
            )
        if not early_stop and max_lr is None:
            raise ValueError(
                "`LRRangeTest(early_stop=False)` needs a `max_lr`, up to which the ramp goes on."
            )
        self.num_steps = num_steps
        self.min_lr = min_lr
        self.max_lr = max_lr
        self.early_stop = early_stop
        self.mode: Literal["exponential", "linear"] = mode
        self.rule = rule
        self.repeats = repeats
        self.validate_every = validate_every
        self.steps_per_trial = steps_per_trial
        self.live = live
        self._is_due = False
        self._live_ramp: LiveRamp | None = None
        self.curve: LossCurve | None = None
        self.validation_curve: LossCurve | None = None

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        self._is_due, self._live_ramp = False, None

    @override
    def _begin(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.live and own_lr(trainer.optimizers) is None:
            # At the start of training other callbacks still attach to the optimizers.
            self._is_due = True
        else:
            super()._begin(trainer, pl_module)

    @override
    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self._due:
            super().on_train_batch_start(trainer, pl_module, batch, batch_idx)
        if self._is_due:
            self._is_due = False
            bounds = cast("tuple[float, float]", (self.min_lr, self.max_lr))
            self._live_ramp = LiveRamp(trainer, pl_module, self._ramp(bounds, self.num_steps))
        if self._live_ramp is not None and not self._live_ramp.begin_batch():
            self._end_live(trainer, pl_module, self._live_ramp)

    @override
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._live_ramp is not None:
            self._live_ramp.end_batch(outputs)

    @override
    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if self._live_ramp is not None:
            self._live_ramp.take_out_of(checkpoint)

    @override
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._live_ramp is not None:
            self._end_live(trainer, pl_module, self._live_ramp)
        super().on_train_end(trainer, pl_module)

    @override
    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if self._live_ramp is not None:
            self._live_ramp.end()
            self._live_ramp = None

    @override
    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {
            "curve": self.curve.to_dict() if self.curve else None,
            "validation_curve": self.validation_curve.to_dict() if self.validation_curve else None,
            "ramping": self._live_ramp is not None,
        }

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.curve = self._entries()["curve"](state_dict["curve"])
        self.validation_curve = self._entries()["curve"](state_dict.get("validation_curve"))
        # A ramp that was cut off begins again.
        self._is_due = self.live and state_dict.get("ramping", False)

    @override
    def _entries(self) -> dict[str, Read]:
        curve = optional(LossCurve.from_dict)
        return super()._entries() | {"curve": curve, "validation_curve": curve, "ramping": flag}

    def charts(self) -> Charts:
        """Return the charts of TensorBoard's Custom Scalars."""
        losses = ["range_test/loss$"] + ["range_test/val_loss$"] * (self.validate_every is not None)
        return {
            "Range test": {
                "Loss after each step of the test": losses,
                "LR of each step of the test": ["range_test/lr$"],
            }
        }

    @override
    def planned_steps(self, trainer: Trainer, pl_module: LightningModule) -> int:
        ramps = self.num_steps * self.repeats
        left = steps_left(trainer, manual=not pl_module.automatic_optimization)
        if self.live:
            return ramps
        if trial_steps := self._steps_of_trials(left, have_begun=False):
            return ramps + MOST_TRAININGS * trial_steps
        return ramps + COLD_TRIALS * self._steps_from_cold(left, warms_up=fit_warms_up(trainer, pl_module))

    @override
    def find(self, trainer: Trainer, pl_module: LightningModule) -> Finding:
        warms_up = fit_warms_up(trainer, pl_module)
        left = steps_left(trainer, manual=not pl_module.automatic_optimization)
        trial_steps = self._steps_of_trials(left, have_begun=trainer.global_step > 0)
        shape = shape_of_run(trainer, pl_module) if trial_steps else []
        cold_steps = 0 if trial_steps else self._steps_from_cold(left, warms_up=warms_up)
        with (
            progress_bar(trainer, _PHASE, self.num_steps + 1) as bar,
            DryRun(trainer, pl_module, ahead=self._ahead) as dry,
        ):
            decision, curve, validation_curve, steps = self._make_ramps(dry, bar)
            if dry.problem:
                decision = Abstention(type(self.rule).__name__, dry.problem)
            new_trainings = partial(
                ShortTrainings,
                dry,
                warmup=USUAL_WARMUP if warms_up else 0.0,
                shape=shape,
                validation_batches=_VALIDATION_BATCHES,
                advance=bar.advance,
            )
            if isinstance(decision, Suggestion) and curve is not None and trial_steps:
                bar.begin(f"{_PHASE}, short trainings", MOST_TRAININGS * trial_steps)
                trainings = new_trainings(trial_steps)
                decision = best_around(decision, trainings.loss_after, highest=highest_to_try(curve))
                steps += trainings.steps
            decision = self._for_run(trainer, decision, left, found_for=trial_steps)
            if isinstance(decision, Suggestion) and cold_steps:
                bar.begin(f"{_PHASE}, without a warm-up", COLD_TRIALS * cold_steps)
                trainings = new_trainings(cold_steps)
                decision = fitted_to_cold_start(decision, trainings.loss_after)
                steps += trainings.steps
        self.validation_curve = validation_curve
        finding = self._finding(curve, decision, old_lr=dry.reference_lr)
        is_untried = not (warms_up or trial_steps or cold_steps)
        if isinstance(decision, Suggestion) and is_untried and trainer.global_step == 0:
            finding = replace(finding, advice=NO_WARMUP)
        if steps > self.repeats * (self.num_steps + 1):
            finding = replace(finding, summary=f"{finding.summary} The test took {steps} steps.")
        return finding.after(dry)

    @override
    def plot(self) -> "Figure":
        """Draw the curve of the last test with what every rule reads off it.

        Raises:
            RuntimeError: There has been no test.
        """
        if self.curve is None or self.suggestion is None:
            raise RuntimeError("LRRangeTest has nothing to plot before `Trainer.fit` has run the test.")
        return range_test_figure(self.curve, self.suggestion, self.validation_curve)

    def _make_ramps(self, dry: DryRun, bar: Bar) -> Ramped:
        bounds = find_bounds(dry, self.min_lr, self.max_lr)
        if isinstance(bounds, str):
            return Ramped(Abstention(type(self.rule).__name__, bounds))
        return make_ramps(
            dry,
            self.rule,
            self.num_steps,
            repeats=self.repeats,
            new_ramp=partial(self._ramp, bounds),
            new_watch=partial(self._watched, dry),
            bar=bar,
            phase=_PHASE,
        )

    def _end_live(self, trainer: Trainer, pl_module: LightningModule, live: LiveRamp) -> None:
        self._live_ramp = None
        live.end()
        curve = live.ramp.curve()
        left = steps_left(trainer, manual=not pl_module.automatic_optimization)
        decision = self._for_run(trainer, self.rule.suggest(curve), left)
        # A plan of steps has gone on meanwhile.
        finding = self._finding(curve, decision, old_lr=highest_left(trainer))
        self._conclude(trainer, pl_module, finding)

    def _steps_of_trials(self, left: float, *, have_begun: bool) -> int:
        """Return the steps of each short training; 0 if there are to be none."""
        if self.steps_per_trial is not None:
            return int(min(self.steps_per_trial, left))
        # From trained weights, a short training gains the most by an LR that is too low for the run.
        if not self.rule.fits_run or have_begun:
            return 0
        return steps_of_trainings(self.num_steps, left, repeats=self.repeats)

    def _steps_from_cold(self, left: float, *, warms_up: bool) -> int:
        """Return the steps of each trial without a warm-up; 0 where none is made."""
        if warms_up or not self.rule.fits_run:
            return 0
        return int(min(math.ceil(_COLD_SHARE * self.num_steps), left))

    def _for_run(self, trainer: Trainer, decision: Decision, left: float, *, found_for: int = 0) -> Decision:
        """Return a decision for the rest of the run, of one by trainings of so many steps, if any."""
        if isinstance(decision, Abstention) or not (self.rule.fits_run or found_for):
            return decision
        # After a live ramp the weights are again those of the start.
        have_begun = trainer.global_step > 0 and not self.live
        length = found_for or USUAL_LENGTH
        return fitted_to_run(decision, trainer.optimizers, left, have_begun=have_begun, found_for=length)

    def _finding(self, curve: LossCurve | None, decision: Decision, *, old_lr: float) -> Finding:
        self.curve = curve
        evidence = None if curve is None else evidence_of(curve, decision, self.validation_curve)
        return Finding(decision, old_lr, summarize(decision), evidence)

    def _ramp(self, bounds: tuple[float, float], num_steps: int) -> Ramp:
        lrs = ramp(*bounds, num_steps, mode=self.mode)
        extend = self.max_lr is None and self.mode == "exponential"
        return Ramp(lrs, extend=extend, stops=self.early_stop)

    def _watched(self, dry: DryRun) -> Validated | None:
        if self.validate_every is None:
            return None
        validation = dry.validation_or_reason(_VALIDATION_BATCHES)
        if isinstance(validation, DryValidation):
            return Validated(validation, self.validate_every)
        raise MisconfigurationException(
            f"`LRRangeTest(validate_every={self.validate_every})` has nothing to measure. {validation} Or"
            " leave `validate_every` out."
        ) from validation
