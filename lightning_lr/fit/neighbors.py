"""Finds the callbacks and schedulers that would undo what ours do to the learning rates."""

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import BatchSizeFinder, LearningRateFinder, StochasticWeightAveraging

__all__ = ["check_no_rival", "check_not_restarted"]


def check_no_rival(trainer: Trainer) -> None:
    """Refuse a fit in which an LR scheduler is configured, or a callback brings one.

    Raises:
        MisconfigurationException: Which, and how to keep the one or the other.
    """
    if trainer.lr_scheduler_configs:
        scheduler = type(trainer.lr_scheduler_configs[0].scheduler).__name__
        raise MisconfigurationException(
            f"`configure_optimizers` returns the LR scheduler {scheduler} and the Trainer has the"
            " callback LRDecay: two writers of one learning rate. To keep the scheduler, remove LRDecay"
            " from `Trainer(callbacks=...)`; to keep LRDecay, return the optimizer alone from"
            " `configure_optimizers`."
        )
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, StochasticWeightAveraging):
            raise MisconfigurationException(
                f"The callback {type(callback).__name__} brings an LR scheduler of its own and the Trainer"
                " has the callback LRDecay: two writers of one learning rate. To keep its LRs, remove"
                " LRDecay; to keep LRDecay, average with `EMAWeightAveraging` or `WeightAveraging`, which"
                " leave the LR alone."
            )


def check_not_restarted(trainer: Trainer, callback: Callback, *, loaded: bool) -> None:
    """Refuse a resumed fit that a tuner of Lightning has begun anew; to be called in `on_train_start`.

    Before the fit they make steps of their own, and put back what was before: the beginning of training with
    a new optimizer, whatever the checkpoint holds. The LRs of its callbacks would be those of another moment.

    Args:
        trainer: The Trainer of the running fit.
        callback: Who asks.
        loaded: Whether it has the state of a later step.

    Raises:
        MisconfigurationException: Which tuner, and how to resume.
    """
    for tuner in trainer.callbacks:  # type: ignore[attr-defined]
        if loaded and trainer.global_step == 0 and isinstance(tuner, BatchSizeFinder | LearningRateFinder):
            name, ours = type(tuner).__name__, type(callback).__name__
            raise MisconfigurationException(
                f"{name} has taken the resumed fit back to step 0, with a new optimizer, and {ours} has the"
                f" state of a later step from the checkpoint. To resume, take {name} out of the Trainer's"
                " callbacks; to start anew, give no `ckpt_path`."
            )
