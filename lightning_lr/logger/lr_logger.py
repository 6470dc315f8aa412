"""LRLogger writes every learning rate and every loss of a fit to the Trainer's loggers."""

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from lightning_lr.checkpoints.keys import KeyedCallback
from lightning_lr.checkpoints.resume import read_state
from lightning_lr.checkpoints.saved_state import Read, count, each_of, number, optional, weight
from lightning_lr.checks import check_flag
from lightning_lr.fit.lightnings import (
    LightningModule,
    MisconfigurationException,
    Trainer,
    TrainerFn,
)
from lightning_lr.fit.losses import batch_size, training_loss
from lightning_lr.fit.neighbors import callbacks_of
from lightning_lr.fit.ranks import epochs_are_in_step
from lightning_lr.fit.run_share import RunShare
from lightning_lr.logger.charts import ShownCharts
from lightning_lr.logger.figures.lr_history import LRHistory
from lightning_lr.logger.figures.overview import RunOverview
from lightning_lr.logger.hparams import RunRow, announce_columns
from lightning_lr.logger.losses.epoch_loss import EpochLoss
from lightning_lr.logger.losses.missing import MissingLosses
from lightning_lr.logger.losses.own_curves import OwnCurves
from lightning_lr.logger.losses.validation import ValidationLosses
from lightning_lr.logger.resumption import continue_curves, tell_resumption
from lightning_lr.logger.steps.buffer import StepRecord, point_of
from lightning_lr.logger.steps.recorder import StepRecorder
from lightning_lr.output.decisions import save_decisions, story_of
from lightning_lr.output.drawing import prepare
from lightning_lr.output.ending import BestValidation, say_end
from lightning_lr.output.points import Point, next_step, save_loggers, write_points
from lightning_lr.output.story import Story, read_told
from lightning_lr.plateau import PlateauDetector
from lightning_lr.shown import figure_html, with_result

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["LRLogger"]


class LRLogger(KeyedCallback):
    """Log every LR of every parameter group and every loss; nothing in the module has to call `self.log`.

    It also logs the decisions of the other callbacks, and ends the fit with a line that names the best
    validation and the folder of the logs.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> from lightning.pytorch.loggers import TensorBoardLogger
        >>> from lightning_lr import LRLogger
        >>> trainer = Trainer(logger=TensorBoardLogger("logs"), callbacks=[LRLogger()])

        In YAML, `- lightning_lr.LRLogger` in the list `trainer.callbacks`.

    Args:
        log_momentum: Also log the momentum of every group if LRDecay does not schedule it.
        log_weight_decay: The same for the weight decay.
        prog_bar: Also show every LR in the progress bar. An LR that is a tensor on an accelerator is not
            shown there, since that would wait for the device.
        overview: Whether to draw the overview.

    Raises:
        MisconfigurationException: At fit start: the Trainer has no logger, or two groups of one optimizer
            have the same name.

    | tag | meaning | when |
    |---|---|---|
    | `lr/AdamW` | LR of the step, one curve per group | every optimizer step |
    | `lr_base/AdamW` | base LR; only with LRDecay or a scheduler, which define one | see below |
    | `lr_factor/AdamW` | LR / base LR | with the base LR |
    | `momentum/AdamW` | momentum or beta1, if scheduled or with `log_momentum=True` | every optimizer step |
    | `weight_decay/AdamW` | the same with `log_weight_decay=True` | every optimizer step |
    | `loss/train` | training loss: mean over micro-batches and ranks | every optimizer step |
    | `loss/train_epoch` | mean of the training loss over the samples of an epoch | every epoch |
    | `loss/val` | mean validation loss over the samples | every validation |
    | figure `Overview` | LRs, losses, decisions and the test at a glance | at ends of epochs and of the fit |
    | figure `lr` | LRs as planned by LRDecay and as used | when a fit starts and ends |
    | text `decisions` | all decisions about the LR in order, with reason and effect | with each, up to 20 |
    | text `decisions_newest` | one decision, if the list was not renewed with it | with each |
    | custom scalars | charts of the above and of the other callbacks' curves | with the first curve of each |
    | hparams | how the LR was found and set, and the last metrics as `result/...` | when a fit ends |

    Groups have the names of `LearningRateMonitor`, with `lr/` for `lr-`: `lr/AdamW-1` for the second AdamW,
    `lr/AdamW/pg2` for a second group. With several validation loaders there is one curve per loader:
    `loss/val/dataloader_idx_0`. The x is that of Lightning's own points in the same step. Base LRs are logged
    at the first step of an epoch and every `log_every_n_steps` steps.

    The training loss is what `training_step` returns. The validation loss is what `validation_step`
    returns (a tensor, or a dict with `loss`), or else what it logs under a name that contains `loss`.

    Losses stay on the device and are read every `Trainer(log_every_n_steps=...)` steps, and at the latest
    after 1000 batches, with one reduction under DDP. The rest is written at the end of an epoch, before a
    checkpoint is saved, and when the fit ends, also after an exception or Ctrl-C. After an exception the last
    unread steps show the loss of rank 0, since other ranks may never answer. A step that the AMP scaler skips
    has a loss but no LR. If epochs may end after different steps on the ranks (loaders without a length, or
    of different lengths), no rank waits for the others at their end: `loss/train_epoch` covers rank 0's
    epochs, and `loss/val` is rank 0's own unless validations come by steps
    (`Trainer(check_val_every_n_epoch=None)`).

    TensorBoard sorts by name, capital letters first. There, `lr/` and `loss/` are called `LR/` and `Loss/`
    and come before Lightning's `epoch`. If the module logs the validation loss or the epochs' mean
    training loss itself, with the same values at the same steps, ours is left out, and the charts show the
    module's curve.

    **Metrics.** `trainer.callback_metrics` holds the LR of every group as of the last step, under its tag,
    for `EarlyStopping("lr/AdamW")` or `ModelCheckpoint(filename="{epoch}-{lr/AdamW:.2e}")` (with
    `auto_insert_metric_name=False`, since a `/` in a name makes a folder). Lightning does not log it again.
    With more than 16 different LRs in an optimizer, they are those of every `log_every_n_steps`-th step, of
    the last one before a validation, and of the last one of an epoch.

    **Resume.** A run that resumes into the folder of the interrupted one (`TensorBoardLogger(version=...)`)
    continues its curves: TensorBoard hides the points beyond the checkpoint, and the run makes them again.
    A new folder gets the points after the checkpoint. Checkpoints hold the decisions so far, so `decisions`
    is always complete. CSVLogger deletes the `metrics.csv` of a folder that it is given again: give it a new
    one.

    **HParams.** The row of a run is a run of its own, `hparams` in the run's folder, so that it does not
    displace what the module or you log; it holds those hyperparameters too. A module that calls
    `save_hyperparameters` gets a second row and a list of columns from Lightning, which may hide those of
    other runs, unless `TensorBoardLogger(..., default_hp_metric=False)`.

    **Faults.** An `OSError` of a logger (a full disk, a lost server) becomes a warning, and the run goes on;
    any other error of a logger ends the run. Lightning writes what the module logs itself: there, every error
    ends the run.
    """

    for_several = "One writes to all loggers of the Trainer: leave the others out."

    def __init__(
        self,
        *,
        log_momentum: bool = False,
        log_weight_decay: bool = False,
        prog_bar: bool = False,
        overview: bool = True,
    ) -> None:
        check_flag("LRLogger(log_momentum=...)", log_momentum)
        check_flag("LRLogger(log_weight_decay=...)", log_weight_decay)
        check_flag("LRLogger(prog_bar=...)", prog_bar)
        check_flag("LRLogger(overview=...)", overview)
        self.overview = overview
        self.prog_bar = prog_bar
        self.log_momentum = log_momentum
        self.log_weight_decay = log_weight_decay
        self._begin(Story())

    def _begin(self, story: Story) -> None:
        self._story = story
        self._story.begin_fit()
        further = [*(["momentum"] * self.log_momentum), *(["weight_decay"] * self.log_weight_decay)]
        self._steps = StepRecorder(further, in_bar=self.prog_bar)
        self._missing = MissingLosses()
        self._epoch_loss = EpochLoss()
        self._validations = ValidationLosses(self._missing)
        self._best = BestValidation()
        self._own = OwnCurves()
        self._history = LRHistory()
        self._overview = RunOverview(is_wanted=self.overview)
        self._charts = ShownCharts()
        self._row = RunRow()
        self._run: RunShare | None = None
        self._epochs_in_step = True
        self._has_resumed = False

    @override
    def __repr__(self) -> str:
        return with_result(self, self._best.told or None)

    def _repr_html_(self) -> str:
        return figure_html(self.plot, repr(self))

    def plot(self) -> "Figure":
        """Draw the overview of the last fit: its LRs and losses, its decisions, and what a test saw.

        Raises:
            RuntimeError: No fit has ended yet, no logger takes images, or `overview=False`.
        """
        return self._overview.figure()

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        # Other stages load callbacks' states too, but they do not continue the run.
        self.settle_key(trainer)
        self._begin(story_of(trainer) if stage == TrainerFn.FITTING else Story())

    @override
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.loggers:
            raise MisconfigurationException(
                "LRLogger has nowhere to write: the Trainer has no logger. Give it one, for example"
                " `Trainer(logger=TensorBoardLogger('logs'))`, or remove LRLogger."
            )
        if trainer.is_global_zero:
            announce_columns(trainer, pl_module)

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._steps.begin(trainer)
        self._has_resumed = next_step(trainer) > 0
        self._epochs_in_step = epochs_are_in_step(trainer)
        self._validations.begin_fit(trainer)
        self._run = RunShare(trainer, pl_module)
        if trainer.is_global_zero:
            if self._has_resumed:
                self._charts.resume(trainer)
            continue_curves(trainer)
        self._overview.begin(trainer, self._steps.step)
        prepare(trainer)

    @override
    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Only now has Lightning logged what the module said about the last epoch.
        self._write(trainer, self._own.lacking_points(trainer.logged_metrics))

    @override
    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self._has_resumed:
            # Only now has every callback set the LR with which the run goes on.
            self._has_resumed = False
            tell_resumption(trainer, self._steps.rates.lrs())
        self._steps.begin_batch(trainer, pl_module, batch_idx)

    @override
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        loss, divided_by = training_loss(trainer, pl_module, outputs)
        is_due = self._steps.end_batch(trainer, loss, divided_by=divided_by, weight=batch_size(batch))
        if loss is None:
            self._missing.warn_of_step(outputs, manual=not pl_module.automatic_optimization)
        if not self._history.has_begun:
            self._history.begin(trainer, self._steps.step)
            if self._history.has_begun:
                self._row.begin(trainer)
        if is_due:
            self._write_steps(trainer, self._steps.read_complete(trainer))

    @override
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._epoch_loss.end_epoch(self._steps.step)
        if self._epochs_in_step:
            self._write_steps(trainer, self._steps.read(trainer))
        share = self._run.share(trainer) if self._run else 0.0
        self._overview.draw_if_due(trainer, self._steps.step, share, self._best.told)

    @override
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._write(trainer, self._own.lacking_points(trainer.logged_metrics))
        self._end(trainer)
        self.conclude(trainer)

    def conclude(self, trainer: Trainer) -> None:
        """Say which validation was the best, with which LR, and where the logs are; all ranks call it."""
        judged = [judge.best_text for judge in callbacks_of(trainer, PlateauDetector)]
        texts = self._best.texts(steps=self._steps.step + 1) or [text for text in judged if text]
        say_end(trainer, "LRLogger", texts)

    @override
    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._steps.stop()
        self._end(trainer, over_ranks=False)
        self._save_decisions(trainer)

    @override
    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._steps.metrics.catch_up()
        self._validations.start(trainer)
        self._own.begin(trainer.logged_metrics)

    @override
    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._validations.add(outputs, batch, loader=dataloader_idx)

    @override
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking:
            return
        step, losses = self._steps.step, self._validations.finish(trainer)
        self._row.add(losses)
        self._best.note(losses, steps=step + 1, lr=self._steps.metrics.highest)
        lacking = self._own.lacking(losses, trainer.logged_metrics)
        self._overview.add_validation(step, losses, self._own.names)
        self._write(trainer, [Point(step, time.time(), lacking)])

    @override
    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        # A run that is killed later and resumed from here misses no point. Lightning has already asked for
        # our state, so it has to be replaced.
        if trainer.is_last_batch and not self._steps.in_batch:
            # A run that resumes from here does not end this epoch again.
            self._epoch_loss.end_epoch(self._steps.step)
        self._write_steps(trainer, self._steps.read_complete(trainer))
        if trainer.is_global_zero:
            save_decisions(trainer)
            save_loggers(trainer.loggers)
        checkpoint["callbacks"][self.state_key] = self.state_dict()

    @override
    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._steps.stop()
        if stage == TrainerFn.FITTING:
            self._save_decisions(trainer)  # Other callbacks may have told some in `on_train_end`.

    @override
    def state_dict(self) -> dict[str, Any]:
        return {
            **self._epoch_loss.state_dict(),
            "decisions": self._story.entries,
            "decisions_before": self._story.left_out,
            "lrs": self._history.state(),
            "best": self._best.state(),
            "overview": self._overview.state(),
            "charts": self._charts.titles,
            "base_lr": self._row.lr_base,
            "own_curves": dict(self._own.names),
        }

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        entries: dict[str, Read] = {
            "epoch_loss": number,
            "epoch_weight": weight,
            "decisions": each_of(read_told),
            "decisions_before": count,
            "lrs": self._history.restore,
            "best": self._best.restore,
            "overview": self._overview.restore,
            "charts": self._charts.restore,
            "base_lr": optional(number),
            "own_curves": self._own.restore,
        }
        # Checkpoints of version 0.1.0 hold all decisions.
        newer: dict[str, Any] = {
            "decisions_before": 0,
            "best": None,
            "overview": None,
            "charts": [],
            "base_lr": None,
            "own_curves": None,
        }
        state = read_state(self, state_dict, entries, newer=newer)
        self._epoch_loss.load_state_dict(state)
        self._story.restore(state["decisions"], state["decisions_before"])
        self._row.lr_base = state["base_lr"]

    def _write_steps(self, trainer: Trainer, records: list[StepRecord]) -> None:
        """Write the points of some steps, and of the epochs that end with them."""
        ended = self._epoch_loss.add(records)
        self._history.add(records)
        self._overview.add(records)
        known = self._own.wait(ended) if self._epochs_in_step else ended
        self._write(trainer, [*map(point_of, records), *known])
        for point in ended:
            self._row.add(point.values)

    def _write(self, trainer: Trainer, points: Iterable[Point]) -> None:
        if trainer.is_global_zero:
            write_points(trainer.loggers, points)
            self._charts.update(trainer, self._own.of_module)

    def _end(self, trainer: Trainer, *, over_ranks: bool = True) -> None:
        step = self._steps.step
        self._write_steps(trainer, self._steps.read(trainer, over_ranks=over_ranks))
        self._write(trainer, self._own.left())
        self._history.draw(trainer, step)
        self._overview.draw(trainer, step, self._best.told)
        self._row.write(trainer, step, without=self._steps.metrics.tags)

    def _save_decisions(self, trainer: Trainer) -> None:
        if trainer.is_global_zero:
            save_decisions(trainer, is_last=True)
