"""What a fit says at its end: the best validation, the LR that led to it, and where the logs are."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from lightning_lr.checkpoints.saved_state import Read, count, number, read_entries, text
from lightning_lr.fit.lightnings import Trainer
from lightning_lr.output.console import say
from lightning_lr.output.decisions import run_folder

__all__ = ["Best", "say_end"]

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
