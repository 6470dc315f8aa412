"""Refuses to resume a callback from a state that is not its own, or in a fit that restarts from step 0."""

from collections.abc import Mapping
from typing import Any

from lightning_lr.checkpoints.saved_state import Read, read_entries
from lightning_lr.fit.lightnings import (
    BatchSizeFinder,
    Callback,
    LearningRateFinder,
    MisconfigurationException,
    Trainer,
)
from lightning_lr.fit.neighbors import callbacks_of

__all__ = ["check_not_restarted", "read_state"]


def read_state(
    callback: Callback, state: object, entries: Mapping[str, Read], *, newer: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Read the state of a callback; raise MisconfigurationException if it is not valid.

    Args:
        callback: Whose state it is.
        state: What the checkpoint holds.
        entries: How to read each entry.
        newer: What to take for entries that earlier versions did not write.
    """
    try:
        return read_entries({**(newer or {}), **state} if isinstance(state, Mapping) else state, entries)
    except ValueError as error:
        name = type(callback).__name__
        raise MisconfigurationException(
            f"{name} cannot go on from this checkpoint. {error} Is it of another configuration or version? To"
            f" resume from it anyway, remove {name} from the Trainer's callbacks."
        ) from error


def check_not_restarted(trainer: Trainer, callback: Callback, *, loaded: bool) -> None:
    """Refuse, in `on_train_start`, a resumed fit that a tuner of Lightning has restarted from step 0.

    A tuner makes steps before the fit and then goes back to step 0, with a new optimizer, whatever the
    checkpoint holds. The LRs of a callback with the `loaded` state of a later step would be wrong there.

    Raises:
        MisconfigurationException: A tuner has restarted the fit.
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
