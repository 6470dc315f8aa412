"""What the processes of a trial are told, by an environment variable."""

import json
import os
from dataclasses import asdict, dataclass
from typing import Literal

__all__ = ["VARIABLE", "Spec"]

VARIABLE = "LIGHTNING_LR_TRIAL"


@dataclass(frozen=True)
class Spec:
    """How to train.

    Args:
        task: To make a trial, to look at the fit before the first trial, or to train as the trials did.
        lr: The LR to put in; None where the fit is only looked at.
        seed: Of the random numbers of a script that does not seed them itself; None to leave them alone.
        epochs: Instead of the Trainer's `max_epochs`; None to keep that.
        monitor: What is read at every validation, or `loss/train`; empty where a look is to find out.
        folder: Where loggers that number their runs put this one, below their own folder; empty to let them.
        port: Of the worker, on this machine; 0 without one.
        token: Tells the worker that a process is one of the trial.
    """

    task: Literal["trial", "look", "train"]
    lr: float | None = None
    seed: int | None = None
    epochs: int | None = None
    monitor: str = "loss/val"
    folder: str = ""
    port: int = 0
    token: str = ""

    def to_env(self) -> dict[str, str]:
        """Return the environment variable."""
        return {VARIABLE: json.dumps(asdict(self))}

    @classmethod
    def from_env(cls) -> "Spec":
        """Read the environment variable."""
        return cls(**json.loads(os.environ[VARIABLE]))
