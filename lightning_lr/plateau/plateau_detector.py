"""PlateauDetector: judges every validation, and lets actions follow the verdict."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch.optim import Optimizer
from typing_extensions import override

from lightning_lr.checkpoints.keys import KeyedCallback
from lightning_lr.checkpoints.resume import check_not_restarted, read_state
from lightning_lr.checkpoints.saved_state import Read, count
from lightning_lr.checks import check_choice, check_count
from lightning_lr.first_steps import FirstSteps
from lightning_lr.fit.internals import keep_swa_lrs, state_key
from lightning_lr.fit.lightnings import (
    LightningModule,
    MisconfigurationException,
    Trainer,
    TrainerFn,
)
from lightning_lr.fit.neighbors import Charts, Concludes, WatchesLRs, callbacks_of, write_schedules
from lightning_lr.fit.run_share import RunShare
from lightning_lr.output.ending import say_end
from lightning_lr.output.points import batch_step, next_step
from lightning_lr.peaks import check_schedules_follow
from lightning_lr.plateau.actions.base import ActionSpec, Effect
from lightning_lr.plateau.detectors.base import Detector, Mode, Observation, Verdict
from lightning_lr.plateau.detectors.progress import Progress
from lightning_lr.plateau.judgments import Judgments
from lightning_lr.plateau.monitored import (
    MonitoredValue,
    ReadsValidations,
    TrainingLoss,
    TrainingValue,
    check_has_validations,
    check_validations,
)
from lightning_lr.plateau.reactions import Reactions, checked_actions, tell_default
from lightning_lr.plateau.record import Record
from lightning_lr.plateau.report import (
    best_text,
    plateau_charts,
    plateau_figure,
    sum_up,
    tell_too_few,
    tell_verdict,
    write_verdict,
)
from lightning_lr.rates import current_lr
from lightning_lr.shown import figure_html, with_result

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["PlateauDetector"]

_DEFAULT_DETECTOR = Progress()
_WAY_OUT = (
    "What {owner} tells would not be the LR that is used. Return the optimizer alone and add the callback"
    " LRDecay, or leave the LR alone, with `PlateauDetector(on_plateau=[], ...)`."
)


class PlateauDetector(KeyedCallback, ReadsValidations):
    """Judge every validation as improving, plateau, overfitting, diverging or undecided, and act on it.

    A plateau is an improvement too slow to be worth waiting for. By default, the LR is then multiplied by
    0.3; on overfitting and divergence, the weights first go back to the best ones.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> from lightning_lr import PlateauDetector
        >>> from lightning_lr.plateau import ReduceLR, RestoreBest, StopTraining
        >>> detector = PlateauDetector(
        ...     "val_loss",
        ...     on_plateau=ReduceLR(0.3, min_lr=1e-5),
        ...     on_overfitting=[RestoreBest(), StopTraining()],
        ... )
        >>> trainer = Trainer(callbacks=[detector])

        In YAML, in the list `trainer.callbacks`:

        ```yaml
        - class_path: lightning_lr.PlateauDetector
          init_args:
            monitor: val_loss
            on_plateau:
              class_path: lightning_lr.plateau.ReduceLR
              init_args: {factor: 0.3, min_lr: 1e-5}
            on_overfitting:
              - class_path: lightning_lr.plateau.RestoreBest
              - class_path: lightning_lr.plateau.StopTraining
        ```

    Args:
        monitor: The name of a value that the validation logs. `loss/val` is the mean of what
            `validation_step` returns, and so is `val_loss` if nothing is logged by that name.
        mode: Whether smaller or larger values are better.
        every_n_steps: None to judge validations. Otherwise judge the mean of a value of training over so
            many optimizer steps, at least 1: `loss/train`, the loss that `training_step` returns, or a name
            that it logs at every step. `train_loss` means `loss/train` if nothing is logged by that name.
        detector: Judges the values: a detector of `lightning_lr.plateau`, or a subclass of `Detector`.
        on_plateau: What to do on a plateau: one or several actions of `lightning_lr.plateau`, an empty list
            for nothing, or None for the default.
        on_overfitting: The same for overfitting: worse while the training loss still falls.
        on_divergence: The same for divergence: worse while the training loss does not fall.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: `mode` is neither `min` nor `max`, or `every_n_steps` is below 1.
        MisconfigurationException: At fit start: there is no validation, the ranks validate after different
            steps, or an action lacks what it needs. At the first validation, or after the first
            `every_n_steps`: there was no such value.

    **Time** is counted in validations, however many there are in an epoch; the sanity check does not count.
    With `every_n_steps`, "validation" means each mean of a value of training. A value from an earlier
    validation is never counted again. The callback reads the training loss itself.

    **Actions** follow a verdict, all of them and in their order, and work with any LR schedule, since they
    multiply the base LR. By default the LR also falls to 0 in the last fifth of a run with a known end. The
    best weights are kept in memory and in checkpoints; if they are sharded over ranks, they are not kept, and
    the default only multiplies the LR. If LRDecay, a torch scheduler or SWA sets the LR, the default is only
    to report, and a message at fit start says so. A change of the LR or the weights starts a new history.

    **Coming from ReduceLROnPlateau:** `patience` and `threshold` belong to the detector, `factor`, `cooldown`
    and `min_lr` to the action: `PlateauDetector(detector=Progress(patience=5), on_plateau=ReduceLR(0.1))`.
    The detector `Patience` is its rule, step for step.

    **Resume.** Checkpoints hold the full state: a run that is interrupted after any validation and resumed
    has the verdicts and LRs of the uninterrupted run.

    **Ranks** decide together, on the mean over the ranks, even for values logged without `sync_dist`. So all
    ranks have to validate after the same steps. If their loaders may have different lengths, use
    `Trainer(check_val_every_n_epoch=None, val_check_interval=...)`.

    | logged | meaning | when |
    |---|---|---|
    | `plateau/val_loss/verdict` | 0 undecided, 1 improving, 2 plateau, 3 overfitting, 4 diverging | always |
    | `plateau/val_loss/slope` | improvement per validation, as the detector measures it | if estimated |
    | `plateau/val_loss/noise` | standard deviation of one validation, in the same units | if estimated |
    | `plateau/val_loss/threshold` | the slope below which the verdict is a plateau | if there is one |
    | `plateau/val_loss/upper_threshold` | the slope that is surely worth waiting for | if there is one |
    | figure `plateau/val_loss` | the curve colored by verdict, with the LR | when the fit ends |
    | a decision | a new verdict or an action with its evidence; a summary | with each; at the end |
    """

    hparams_column = "plateau_detector"
    for_several = (
        "They judge the same value. Give all the actions to one, as lists: `on_plateau=[ReduceLR(), ...]`; or"
        " give the other another `monitor`."
    )

    def __init__(
        self,
        monitor: str = "val_loss",
        *,
        mode: Mode = "min",
        every_n_steps: int | None = None,
        detector: Detector = _DEFAULT_DETECTOR,
        on_plateau: ActionSpec = None,
        on_overfitting: ActionSpec = None,
        on_divergence: ActionSpec = None,
    ) -> None:
        if not isinstance(monitor, str):
            raise TypeError(f"`PlateauDetector(monitor=...)` must be a name, got {monitor!r}.")
        check_choice("PlateauDetector(mode=...)", mode, ("min", "max"))
        if every_n_steps is not None:
            check_count("PlateauDetector(every_n_steps=...)", every_n_steps, minimum=1)
        if not isinstance(detector, Detector):
            wanted = "a Detector of `lightning_lr.plateau`"
            raise TypeError(f"`PlateauDetector(detector=...)` must be {wanted}, got {detector!r}.")
        self.monitor = monitor
        self.mode: Mode = mode
        self.every_n_steps = every_n_steps
        self.detector = detector
        self.on_plateau = checked_actions("on_plateau", on_plateau)
        self.on_overfitting = checked_actions("on_overfitting", on_overfitting)
        self.on_divergence = checked_actions("on_divergence", on_divergence)
        self._forget()

    def _forget(self) -> None:
        self._judgments = Judgments(self.detector, self.mode)
        self._value = MonitoredValue(self.monitor)
        self._training_value = TrainingValue(self.monitor)
        self._training_loss = TrainingLoss()
        self._reactions = Reactions(
            {"plateau": self.on_plateau, "overfitting": self.on_overfitting, "diverging": self.on_divergence}
        )
        # How many times `every_n_steps` are over.
        self._periods = 0
        self._told_too_few = False
        self._step = 0
        self._run: RunShare | None = None
        self._first_steps = FirstSteps("PlateauDetector")

    @property
    @override
    def own_key(self) -> str:
        every = {} if self.every_n_steps is None else {"every_n_steps": self.every_n_steps}
        return state_key(self, monitor=self.monitor, mode=self.mode, **every)

    @property
    def verdict(self) -> Verdict | None:
        """The verdict on the last validation; None before the first one."""
        return self._judgments.records[-1].verdict if self._judgments.records else None

    @property
    def acts(self) -> bool:
        """Whether it does more than to report; what `on_plateau=None` means is only known at fit start."""
        return any(
            each is None or each for each in (self.on_plateau, self.on_overfitting, self.on_divergence)
        )

    @property
    def records(self) -> list[Record]:
        """The last 1000 validations with values, verdicts and effects."""
        return list(self._judgments.records)

    @property
    def verdicts(self) -> list[Verdict]:
        """The verdicts on the last 1000 validations."""
        return [record.verdict for record in self._judgments.records]

    @property
    def best_text(self) -> str | None:
        """The best value so far in words, with the LR that led to it; None before the first finite one."""
        return best_text(self.monitor, self._reactions.best, self._judgments.records)

    @override
    def __repr__(self) -> str:
        state = None if self.verdict is None else self.verdict.state
        told = [text for text in (state, self.best_text) if text]
        return with_result(self, ", ".join(told) or None)

    def _repr_html_(self) -> str:
        return figure_html(self.plot, repr(self))

    def plot(self) -> "Figure":
        """Draw the monitored curve, colored by verdict, and the LR.

        Raises:
            RuntimeError: There has been no validation yet.
        """
        if not self._judgments.records:
            raise RuntimeError("PlateauDetector has nothing to plot before the first validation of a fit.")
        return plateau_figure(self._judgments.records, self.monitor)

    def charts(self) -> Charts:
        """Return the charts of TensorBoard's Custom Scalars."""
        return plateau_charts(self.monitor)

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self.settle_key(trainer)
        if stage == TrainerFn.FITTING:
            self._forget()

    @override
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.every_n_steps is None:
            check_has_validations(trainer)
        is_first = callbacks_of(trainer, PlateauDetector)[0] is self
        self._reactions.begin(trainer, monitor=self.monitor, mode=self.mode, is_first=is_first)

    def expect_lrs(self, trainer: Trainer) -> None:
        """Take the LRs of now for those of the next steps, if no other callback watches them."""
        if callbacks_of(trainer, WatchesLRs)[0] is self:
            # Schedulers may step between a validation and the next step.
            self._first_steps.begin(trainer, before_schedulers=True)

    def check_fit(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse a fit whose loaders are set up but whose validations cannot be judged; all ranks call it.

        Raises:
            MisconfigurationException: Why not, and what to do instead.
        """
        if self.every_n_steps is None:
            check_validations(trainer)
        if self._reactions.rescales:
            check_schedules_follow(trainer, "PlateauDetector", way_out=_WAY_OUT)

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        keep_swa_lrs(trainer)
        check_not_restarted(trainer, self, loaded=self._judgments.count > 0)
        self.check_fit(trainer, pl_module)
        self._run = RunShare(trainer, pl_module)
        if next_step(trainer) > 0:
            if any(record.effects for record in self._judgments.records):
                self.expect_lrs(trainer)
            return
        self._tell_if_too_few(trainer, self._run.planned(trainer, self.every_n_steps))
        if None in (self.on_plateau, self.on_overfitting, self.on_divergence):
            tell_default(trainer)

    def _tell_if_too_few(self, trainer: Trainer, total: float) -> None:
        fewest = self.detector.fewest(total)
        if total < fewest and not self._told_too_few:
            self._told_too_few = True
            tell_too_few(trainer, self.monitor, total, fewest)

    @override
    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._step = batch_step(trainer, pl_module)
        if self._reactions.has_acted:
            effects = self._reactions.before_batch(trainer, pl_module, self._judgments.records[-1])
            self._follow_up(trainer, effects)

    @override
    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        if self._first_steps.are_due:
            self._first_steps.before_step(trainer, optimizer)

    @override
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._training_loss.add(trainer, pl_module, outputs)
        if self.every_n_steps is None:
            return
        self._training_value.add(trainer)
        periods = trainer.global_step // self.every_n_steps
        if periods > self._periods:
            self._periods = periods
            training_loss = self._training_loss.take(trainer)
            value, names = self._training_value.take(trainer, training_loss)
            self._note(trainer, pl_module, value, training_loss, names)

    @override
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if (
            trainer.state.fn == TrainerFn.FITTING
            and not trainer.sanity_checking
            and self.every_n_steps is None
        ):
            value, names = self._value.finish(trainer)
            self._note(trainer, pl_module, value, self._training_loss.take(trainer), names)

    def _note(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        value: float | None,
        training_loss: float | None,
        names: list[str],
    ) -> None:
        """Judge a value, which may be missing, and the mean training loss since the one before."""
        self._first_steps.flush(trainer)
        count = self._judgments.count
        if value is not None:
            total = self._run.validations(trainer, count + 1) if self._run else math.inf
            known = math.nan if training_loss is None else training_loss
            self._judge(trainer, pl_module, Observation(value, known, total))
        elif not count:
            source = self._value if self.every_n_steps is None else self._training_value
            raise source.missing(trainer, names)

    @override
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        sum_up(trainer, self.monitor, self._judgments.records)
        if self.best_text and not callbacks_of(trainer, Concludes):
            say_end(trainer, "PlateauDetector", [self.best_text])

    @override
    def state_dict(self) -> dict[str, Any]:
        return {
            **self._judgments.state_dict(),
            "training_loss": self._training_loss.state_dict(),
            "training_value": self._training_value.state_dict(),
            "periods": self._periods,
            "reactions": self._reactions.state_dict(),
        }

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        entries: dict[str, Read] = {
            **self._judgments.entries,
            "training_loss": self._training_loss.load_state_dict,
            "training_value": self._training_value.load_state_dict,
            "periods": count,
            "reactions": self._reactions.load_state_dict,
        }
        # What states of version 0.1.0 lack.
        newer = {"periods": 0, "training_value": TrainingValue(self.monitor).state_dict()}
        state = read_state(self, state_dict, entries, newer=newer)
        self._judgments.load_state_dict(state)
        self._periods = state["periods"]
        if self._reactions.has_acted and not self._judgments.records:
            raise MisconfigurationException(
                "PlateauDetector cannot go on from this checkpoint: an action has acted on no validation."
            )

    def _judge(self, trainer: Trainer, pl_module: LightningModule, observation: Observation) -> None:
        if not self._judgments.count:
            self._tell_if_too_few(trainer, observation.total)
        record = self._judgments.judge(observation, step=self._step, lr=current_lr(trainer))
        effects = self._reactions.react(trainer, pl_module, record, total=observation.total)
        told = [effect.text for effect in effects if not effect.is_announced]
        record = self._judgments.add(record, effects=told)
        write_verdict(trainer, self.monitor, record)
        if self._judgments.is_news(record):
            tell_verdict(trainer, self.monitor, record, reports=self._reactions.reports)
        self._follow_up(trainer, effects)

    def _follow_up(self, trainer: Trainer, effects: Sequence[Effect]) -> None:
        if any(effect.starts_afresh for effect in effects):
            self._judgments.start_afresh()
        if effects:
            write_schedules(trainer)
