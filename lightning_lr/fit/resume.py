"""Refuses to resume a callback from what is not its state, or in a fit that does not go on from there."""

from collections.abc import Mapping
from typing import Any

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import BatchSizeFinder, LearningRateFinder

from lightning_lr.fit.neighbors import callbacks_of
from lightning_lr.fit.saved_state import Read, read_entries

__all__ = ["check_not_restarted", "read_state"]


def read_state(callback: Callback, state: object, entries: Mapping[str, Read]) -> dict[str, Any]:
    """Read the state of a callback.

    Raises:
        MisconfigurationException: The state is none of this callback's.
    """
    try:
        return read_entries(state, entries)
    except ValueError as error:
        name = type(callback).__name__
        raise MisconfigurationException(
            f"{name} cannot go on from this checkpoint. {error} Is it of another configuration or version? To"
            f" resume from it all the same, take {name} out of the Trainer's callbacks."
        ) from error


def check_not_restarted(trainer: Trainer, callback: Callback, *, loaded: bool) -> None:
    """Refuse, in `on_train_start`, a resumed fit that a tuner of Lightning has begun anew.

    Before the fit they make steps of their own, and put back what was before: the beginning of training with
    a new optimizer, whatever the checkpoint holds. The LRs of its callbacks would be those of another moment.

    Args:
        trainer: The Trainer of the running fit.
        callback: Who asks.
        loaded: Whether it has the state of a later step.

    Raises:
        MisconfigurationException: Which tuner, and how to resume.
    """
    if not loaded or trainer.global_step > 0:
        return
    for tuner in [*callbacks_of(trainer, BatchSizeFinder), *callbacks_of(trainer, LearningRateFinder)]:
        name, ours = type(tuner).__name__, type(callback).__name__
        raise MisconfigurationException(
            f"{name} has taken the resumed fit back to step 0, with a new optimizer, and {ours} has the"
            f" state of a later step from the checkpoint. To resume, take {name} out of the Trainer's"
            " callbacks; to start anew, give no `ckpt_path`."
        )
