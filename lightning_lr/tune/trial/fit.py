"""Replaces the first `Trainer.fit` of a trial's process."""

import os
import sys
from collections.abc import Callable
from typing import Any

from lightning_lr.fit.internals import belongs_to_tuner, run_into
from lightning_lr.fit.lightnings import ModelCheckpoint
from lightning_lr.fit.neighbors import callbacks_of
from lightning_lr.tune.trial.look import Look
from lightning_lr.tune.trial.spec import VARIABLE, Spec
from lightning_lr.tune.trial.trial_callback import PutIn, TrialCallback

__all__ = ["fit_of_trial"]

_begun = _over = False


class _Ended(SystemExit):
    """Ends the script after its first fit, like `sys.exit(0)`: what follows is no part of a trial."""


def fit_of_trial(fit: Callable[..., Any], trainer: Any, *args: Any, **kwargs: Any) -> None:
    """Fit with what the environment says, and end the script; those of a Tuner are the script's own.

    Raises:
        SystemExit: The fit has ended, and it was that of a trial.
    """
    global _begun, _over  # noqa: PLW0603 (they belong to the process)
    if _over:
        # The script has caught what ends it, and would now train in vain.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
    if _begun or VARIABLE not in os.environ or belongs_to_tuner(trainer):
        fit(trainer, *args, **kwargs)
        return
    _begun = True
    spec = Spec.from_env()
    if spec.epochs is not None:
        trainer.fit_loop.max_epochs = spec.epochs
    if spec.task == "look":
        look = Look(spec)
        look.prepare(trainer)
        callback: PutIn | Look = look
    else:
        callback = TrialCallback(spec) if spec.task == "trial" else PutIn(spec)
        _prepare(trainer, spec)
    # First, so that all others find the LR put in.
    trainer.callbacks.insert(0, callback)
    try:
        fit(trainer, *args, **kwargs)
    finally:
        _over = spec.task != "train"
    if _over:
        raise _Ended(0)


def _prepare(trainer: Any, spec: Spec) -> None:
    """Give what the fit writes a folder of its own, also where many begin at once."""
    for logger in trainer.loggers if spec.folder else ():
        run_into(logger, spec.folder)
    for checkpoint in callbacks_of(trainer, ModelCheckpoint) if spec.folder else ():
        # Else a trial would go on from the last checkpoint of another, or they would delete each other's.
        if checkpoint.dirpath or not trainer.loggers:
            shared = checkpoint.dirpath or f"{trainer.default_root_dir}/checkpoints"
            checkpoint.dirpath = f"{shared}/{spec.folder}"
    for callback in trainer.callbacks:
        if type(callback).__name__ == "SaveConfigCallback":
            callback.overwrite = True
