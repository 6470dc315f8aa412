"""The interface of an action: what it gets to see, and what it returns."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from typing_extensions import override

from lightning_lr.fit.lightnings import LightningModule, Trainer
from lightning_lr.plateau.detectors.base import Mode, Verdict, is_better
from lightning_lr.plateau.record import Record
from lightning_lr.plateau.weights import Weights
from lightning_lr.shown import as_call

__all__ = ["Action", "ActionSpec", "Best", "Effect", "ReportOnly", "Situation"]


@dataclass(frozen=True)
class Best:
    """The best validation so far.

    Args:
        value: The monitored value.
        validation: Its number, counted from 1.
        weights: The weights and optimizer states at that validation, if an action needs them.
    """

    value: float
    validation: int
    weights: Weights | None = None


@dataclass(frozen=True)
class Situation:
    """What an action gets to see at a validation.

    Args:
        trainer: The Trainer of the running fit.
        pl_module: The module being trained.
        monitor: The name of the monitored value.
        mode: Whether smaller or larger values are better.
        record: The validation and the verdict on it.
        best: The best validation so far, including this one; None before the first finite value.
        memory: What this action remembers, initially empty: plain data and tensors, saved in checkpoints.
        total: How many validations the whole run has; infinite if it is not known.
        leads: Whether this is the first action on a plateau of the first PlateauDetector, beside no schedule
            that lowers the LR: the one that may lower it to the end of the run.

    Example:
        An action that counts in its memory, which checkpoints keep:

        >>> class Count(Action):
        ...     def act(self, situation: Situation) -> Effect:
        ...         situation.memory["times"] = situation.memory.get("times", 0) + 1
        ...         return Effect(f"{situation.verdict.state} no. {situation.memory['times']}")
        >>> from lightning.pytorch import LightningModule, Trainer
        >>> from lightning_lr.plateau import Verdict
        >>> verdict = Verdict("plateau", 0.0, 0.01, 0.004, 0.008, 10, "No longer worth waiting.")
        >>> record = Record(10, 229, 0.31, 0.28, 0.02, verdict)
        >>> trainer = Trainer(logger=False, enable_checkpointing=False)
        >>> Count().act(Situation(trainer, LightningModule(), "val_loss", "min", record, None, memory={}))
        Effect(text='plateau no. 1', starts_afresh=False, is_announced=False)
    """

    trainer: Trainer
    pl_module: LightningModule
    monitor: str
    mode: Mode
    record: Record
    best: Best | None
    memory: dict[str, Any]
    total: float = math.inf
    leads: bool = False

    @property
    def value(self) -> float:
        """The value of this validation."""
        return self.record.value

    @property
    def validation(self) -> int:
        """The number of this validation, counted from 1."""
        return self.record.validation

    @property
    def verdict(self) -> Verdict:
        """The verdict on this validation."""
        return self.record.verdict

    def is_better(self, value: float, than: float) -> bool:
        """Tell whether a value is better than another; NaN is never better."""
        return is_better(value, than, self.mode)


@dataclass(frozen=True)
class Effect:
    """What an action has done.

    Args:
        text: What has changed, as in `LR 0.1 -> 0.03`.
        starts_afresh: Whether the detector starts a new history, because learning rates or weights have
            changed.
        is_announced: Whether an earlier effect has said that this would happen. Then it is not told again.

    Example:
        >>> Effect("LR 0.02 -> 0.006", starts_afresh=True).text
        'LR 0.02 -> 0.006'
    """

    text: str
    starts_afresh: bool = False
    is_announced: bool = False


class Action(ABC):
    """Something to do after a verdict.

    Every method is called on all ranks with the same values, and must make the same decision on all of them.

    Example:
        >>> class Beep(Action):
        ...     def act(self, situation: Situation) -> Effect:
        ...         return Effect("beeped")
    """

    @override
    def __repr__(self) -> str:
        return as_call(self)

    @property
    def keeps_best(self) -> bool:
        """Whether the weights of the best validation have to be kept in memory."""
        return False

    @property
    def rescales(self) -> bool:
        """Whether it multiplies the base LR, which the schedulers then have to follow."""
        return False

    def check(self, trainer: Trainer, *, monitor: str, mode: Mode) -> None:  # noqa: B027 (most can always act)
        """Refuse a fit in which this action could not act; called when the fit starts.

        Raises:
            MisconfigurationException: Something that the action needs is missing.
        """

    def check_memory(self, memory: Mapping[str, Any]) -> None:  # noqa: B027 (most remember nothing)
        """Check a memory from a checkpoint before it becomes `situation.memory`.

        Raises:
            ValueError: This is not a memory of this action.
        """

    @abstractmethod
    def act(self, situation: Situation) -> Effect | None:
        """Act on the verdict; called at every validation whose verdict this action follows.

        Returns:
            What was done; None if nothing was done.
        """

    def watch(self, situation: Situation) -> Effect | None:
        """Look at a validation, whatever its verdict; called before any action acts."""
        return None

    def before_batch(self, situation: Situation) -> Effect | None:
        """Do what cannot be done during a validation; called before the first batch after an effect."""
        return None


ActionSpec: TypeAlias = Action | Sequence[Action] | None
"""One action, several, or None for the default."""


@dataclass(frozen=True, repr=False)
class ReportOnly(Action):
    """Change nothing and only report the verdict.

    Example:
        >>> from lightning_lr import PlateauDetector
        >>> detector = PlateauDetector(on_plateau=ReportOnly())
    """

    @override
    def act(self, situation: Situation) -> None:
        return None
