"""What PlateauDetector remembers of every validation."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from lightning_lr.fit.saved_state import Read, count, each_of, number, one_of, read_entries, text
from lightning_lr.plateau.detectors.base import Verdict, VerdictState

__all__ = ["Record", "read_record"]


@dataclass(frozen=True)
class Record:
    """One validation and what came of it.

    Args:
        validation: Its number in the run, counted from 1.
        step: The x of its points in the loggers.
        value: The monitored value.
        training_loss: Mean training loss since the validation before; NaN where there was none.
        lr: The LR of the group with the highest one, before any action.
        verdict: The verdict on it.
        effects: What the actions did.
    """

    validation: int
    step: int
    value: float
    training_loss: float
    lr: float
    verdict: Verdict
    effects: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values, as checkpoints hold them."""
        return {**vars(self), "verdict": self.verdict.to_dict(), "effects": list(self.effects)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Record":
        """Return the record that `to_dict` gave.

        Example:
            >>> from lightning_lr.plateau.detectors.base import Verdict
            >>> record = Record(1, 9, 0.5, 0.4, 0.1, Verdict("plateau", 0.0, 0.1, 0.2, 0.3, 10, "Flat."))
            >>> Record.from_dict(record.to_dict()) == record
            True
        """
        return cls(**{**values, "verdict": Verdict(**values["verdict"]), "effects": tuple(values["effects"])})


_VERDICT: dict[str, Read] = {
    "state": one_of(get_args(VerdictState)),
    **dict.fromkeys(("slope", "noise", "threshold", "upper_threshold"), number),
    "window": count,
    "reason": text,
}
_RECORD: dict[str, Read] = {
    **dict.fromkeys(("validation", "step"), count),
    **dict.fromkeys(("value", "training_loss", "lr"), number),
    "verdict": lambda values: read_entries(values, _VERDICT),
    "effects": each_of(text),
}


def read_record(values: object) -> Record:
    """Read a record from a checkpoint.

    Raises:
        ValueError: Not a valid record.
    """
    return Record.from_dict(read_entries(values, _RECORD))
