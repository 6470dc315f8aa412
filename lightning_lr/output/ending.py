"""What a fit says at its end: the best validation, the LR that led to it, and where the logs are."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from lightning_lr.checkpoints.saved_state import Read, count, number, read_entries, text
from lightning_lr.fit.lightnings import Trainer
from lightning_lr.output.console import say
from lightning_lr.output.decisions import run_folder

__all__ = ["Best", "BestValidation", "say_end"]

_ENTRIES: dict[str, Read] = {"tag": text, "value": number, "steps": count, "lr": number}


@dataclass(frozen=True)
class Best:
    """The best validation of a run.

    Args:
        tag: The tag of its loss.
        value: Its loss.
        steps: How many steps had been made.
        lr: The highest LR of the last one of them; NaN if no group has an LR.
    """

    tag: str
    value: float
    steps: int
    lr: float

    @property
    def told(self) -> str:
        """What was best, in words."""
        name = "validation loss" if self.tag == "loss/val" else self.tag
        return f"best {name} {self.value:.3g} after step {self.steps}"

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain numbers."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Best":
        """Return the best validation that `to_dict` gave; raise ValueError for anything else."""
        return cls(**read_entries(values, _ENTRIES))


class BestValidation:
    """The best validation so far, if there was one.

    Example:
        >>> best = BestValidation()
        >>> best.note({"loss/val": 0.5}, steps=9, lr=lambda: 0.1)
        >>> best.told, best.texts(steps=20)
        ('best validation loss 0.5 after step 9', ['best validation loss 0.5 after step 9 of 20, LR 0.1'])
    """

    def __init__(self) -> None:
        self._best: Best | None = None

    @property
    def told(self) -> str:
        """What was best, in words; empty before the first validation."""
        return self._best.told if self._best else ""

    def texts(self, *, steps: int) -> list[str]:
        """Return what to say at the end of a run of so many steps, with the LR that led to it."""
        return [f"{self._best.told} of {steps}, LR {self._best.lr:.3g}"] if self._best else []

    def note(self, losses: Mapping[str, float], *, steps: int, lr: Callable[[], float]) -> None:
        """Note the first of the losses of a validation, by tag, if it is the best one.

        Args:
            losses: One for each loader.
            steps: How many steps have been made.
            lr: Reads the highest LR of the last one of them.
        """
        for tag, loss in list(losses.items())[:1]:
            # Older versions took NaN for the best, and checkpoints may hold it.
            is_better = self._best is None or not loss >= self._best.value
            if is_better and not math.isnan(loss):
                self._best = Best(tag, loss, steps, lr())

    def state(self) -> dict[str, Any] | None:
        """Return the best validation as plain values."""
        return None if self._best is None else self._best.to_dict()

    def restore(self, state: Any) -> None:
        """Continue from what `state` returned; raise ValueError for anything else."""
        self._best = None if state is None else Best.from_dict(state)


def say_end(trainer: Trainer, source: str, texts: list[str]) -> None:
    """Say the last line of a fit; all ranks call it, rank 0 writes.

    Args:
        trainer: The Trainer of the fit.
        source: The callback that says it.
        texts: What is best, in words.
    """
    folder = run_folder(trainer) if trainer.is_global_zero else None
    said = [f"{'; '.join(texts)}."] * bool(texts) + [f"Logs: {folder}"] * (folder is not None)
    if said:
        say(f"{source}: {' '.join(said)}")
