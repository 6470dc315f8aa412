"""What PlateauDetector remembers about every validation."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from typing_extensions import override

from lightning_lr.checkpoints.saved_state import Read, count, each_of, number, one_of, read_entries, text
from lightning_lr.plateau.detectors.base import Verdict, VerdictState

__all__ = ["Record", "read_record"]


@dataclass(frozen=True)
class Record:
    """One validation, the verdict on it, and what the actions did.

    Args:
        validation: The number of the validation in the run, counted from 1.
        step: The x of its points in the loggers.
        value: The monitored value.
        training_loss: Mean training loss since the previous validation; NaN if there was no loss.
        lr: The LR of the group with the highest one, before any action.
        verdict: The verdict.
        effects: What the actions did, in their order.

    Example:
        `PlateauDetector().records` has one for each validation.

        >>> from lightning_lr.plateau import Verdict
        >>> verdict = Verdict("plateau", 0.0, 0.01, 0.004, 0.008, 10, "No longer worth waiting.")
        >>> Record(10, 229, 0.31, 0.28, 0.02, verdict, effects=("LR 0.02 -> 0.006",))
        Record(validation=10, step=229, value=0.31, lr=0.02, 'plateau', 'LR 0.02 -> 0.006')
    """

    validation: int
    step: int
    value: float
    training_loss: float
    lr: float
    verdict: Verdict
    effects: tuple[str, ...] = ()

    @override
    def __repr__(self) -> str:
        at = f"validation={self.validation}, step={self.step}, value={self.value:.4g}, lr={self.lr:.3g}"
        return f"Record({at}, {', '.join(map(repr, (self.verdict.state, *self.effects)))})"

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values, the form in checkpoints."""
        return {**vars(self), "verdict": self.verdict.to_dict(), "effects": list(self.effects)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Record":
        """Return the record whose `to_dict` gave these values.

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
    """Read a record from a checkpoint; raises ValueError if it is not one."""
    return Record.from_dict(read_entries(values, _RECORD))
