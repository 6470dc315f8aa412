"""Counts the steps and epochs of a run as its plan counts them."""

from torch.optim import Optimizer

from lightning_lr.fit.lightnings import LightningModule, Trainer
from lightning_lr.fit.step_hook import StepHook, steps_counted

__all__ = ["RunClock"]


class RunClock:
    """The time of a run.

    Attributes:
        step: The optimizer steps so far, or under manual optimization without `max_steps` the batches. A step
            that the AMP scaler skips does not count.
        epoch: The epochs so far.
    """

    def __init__(self) -> None:
        self.step = self.epoch = 0
        self._counts_batches = False
        self._is_automatic = True
        # The Trainer's count of steps when this one was last raised.
        self._seen = 0
        # Tells which steps the AMP scaler does not skip; None if there is no scaler.
        self._unskipped: StepHook | None = None
        self._happened = False

    def begin(self, trainer: Trainer, pl_module: LightningModule, *, saved: int | None) -> None:
        """Begin in `on_train_start`, from the step that a checkpoint has saved, or from the Trainer's."""
        manual = not pl_module.automatic_optimization
        self._is_automatic = not manual
        self._counts_batches = manual and trainer.max_steps == -1
        batches = trainer.fit_loop.epoch_loop.total_batch_idx + 1
        counted = batches if self._counts_batches else trainer.global_step
        self.step = counted if saved is None else saved
        # `current_epoch` lags behind if the checkpoint was saved at the end of an epoch.
        self.epoch = trainer.fit_loop.epoch_progress.current.processed  # type: ignore[attr-defined]
        self._seen, self._happened = trainer.global_step, False
        if getattr(trainer.precision_plugin, "scaler", None) is not None and not manual:
            self._unskipped = StepHook(self._note_step)

    def begin_batch(self, trainer: Trainer) -> None:
        """Look which steps of a batch happen."""
        if self._unskipped is not None:
            # The fit may have got new ones.
            self._unskipped.attach(trainer.optimizers)
            self._unskipped.in_batch = True

    def end_batch(self, trainer: Trainer) -> None:
        """Count the steps of a batch."""
        self.step += 1 if self._counts_batches else self._steps_since(trainer)

    def end_epoch(self, trainer: Trainer) -> None:
        """Count an epoch."""
        # Set and not incremented: the hook runs again if a run resumes from the end of an epoch.
        self.epoch = trainer.current_epoch + 1

    def stop(self) -> None:
        """Leave the optimizers alone; a second call is harmless."""
        if self._unskipped is not None:
            self._unskipped.detach()
            self._unskipped = None

    def _steps_since(self, trainer: Trainer) -> int:
        """Return how many steps the Trainer has made since the last call, without those that AMP skipped."""
        now = steps_counted(trainer, automatic=self._is_automatic)
        made, self._seen = now - self._seen, now
        hook = self._unskipped
        if hook is not None:
            hook.in_batch = False
            if made and hook.follows_all and not self._happened:
                return 0
            self._happened = False
        return made

    def _note_step(self, optimizer: Optimizer) -> None:
        self._happened = True
