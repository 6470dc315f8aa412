"""What an action is, what it is given and what it answers."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from lightning.pytorch import LightningModule, Trainer
from typing_extensions import override

from lightning_lr.plateau.detectors.base import Mode, Verdict
from lightning_lr.plateau.record import Record
from lightning_lr.plateau.weights import Weights

__all__ = ["Action", "ActionSpec", "Best", "Effect", "ReportOnly", "Situation"]


@dataclass(frozen=True)
class Best:
    """The best validation so far.

    Args:
        value: The monitored value.
        validation: Its number, counted from 1.
        weights: The weights and optimizer states it was made with, where an action wants them.
    """

    value: float
    validation: int
    weights: Weights | None = None


@dataclass(frozen=True)
class Situation:
    """What an action is given at a validation.

    Args:
        trainer: The Trainer of the running fit.
        pl_module: Its module.
        monitor: The name of the monitored value.
        mode: Whether smaller or larger values are better.
        record: The validation, with the verdict on it.
        best: The best validation so far, this one included; None as long as there was no finite value.
        memory: What this action remembers, empty at first: plain data and tensors, saved in checkpoints.
    """

    trainer: Trainer
    pl_module: LightningModule
    monitor: str
    mode: Mode
    record: Record
    best: Best | None
    memory: dict[str, Any]

    @property
    def value(self) -> float:
        """The value of this validation."""
        return self.record.value

    @property
    def validation(self) -> int:
        """Its number, counted from 1."""
        return self.record.validation

    @property
    def verdict(self) -> Verdict:
        """The verdict on it."""
        return self.record.verdict

    def is_better(self, value: float, than: float) -> bool:
        """Tell whether a value is better than another; no NaN is."""
        return value < than if self.mode == "min" else value > than


@dataclass(frozen=True)
class Effect:
    """What an action has done.

    Args:
        text: What is different now, as in `LR 0.1 -> 0.03`.
        starts_afresh: Whether the validations so far say nothing about what follows, because learning rates
            or weights are others now.
    """

    text: str
    starts_afresh: bool = False


class Action(ABC):
    """Something to do about a verdict.

    Every method is called on all ranks with the same values, and has to decide the same on all of them.

    Example:
        >>> class Beep(Action):
        ...     def act(self, situation: Situation) -> Effect:
        ...         return Effect("beeped")
    """

    @property
    def keeps_best(self) -> bool:
        """Whether the weights of the best validation have to be kept in memory."""
        return False

    def check(self, trainer: Trainer, *, monitor: str, mode: Mode) -> None:  # noqa: B027 (most can act always)
        """Refuse a fit in which this action could not act; called when it starts.

        Raises:
            MisconfigurationException: What is missing.
        """

    def check_memory(self, memory: Mapping[str, Any]) -> None:  # noqa: B027 (most remember nothing)
        """Check a memory from a checkpoint, which an action finds in `situation.memory`.

        Raises:
            ValueError: It is not a memory of this action.
        """

    @abstractmethod
    def act(self, situation: Situation) -> Effect | None:
        """Act on the verdict; called at every validation with a verdict that this action is for.

        Returns:
            What has been done; None for nothing.
        """

    def watch(self, situation: Situation) -> Effect | None:
        """Look at a validation, whatever the verdict on it; called before any action acts."""
        return None

    def before_batch(self, situation: Situation) -> Effect | None:
        """Do what cannot be done within a validation; called before the first batch after an effect."""
        return None


ActionSpec: TypeAlias = Action | Sequence[Action] | None
"""One action, several, or None for the default."""


@dataclass(frozen=True)
class ReportOnly(Action):
    """Change nothing: the verdict is told and that is all.

    Example:
        >>> ReportOnly()
        ReportOnly()
    """

    @override
    def act(self, situation: Situation) -> None:
        return None
