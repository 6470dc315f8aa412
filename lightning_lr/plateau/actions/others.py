"""Lets another callback of the Trainer act: LRDecay cool down, LRRangeTest or LRSearch test again."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningModule, Trainer
from typing_extensions import override

from lightning_lr.plateau.actions.base import Action, Effect, Situation
from lightning_lr.plateau.detectors.base import Mode, check_entries

__all__ = ["CoolsDown", "Retune", "StartCooldown", "Tests"]


@runtime_checkable
class CoolsDown(Protocol):
    """A callback that can begin a cooldown before its time, such as LRDecay."""

    @property
    def has_cooldown(self) -> bool:
        """Whether its policy has one."""

    def start_cooldown(self, trainer: Trainer) -> str | None:
        """Begin it, and return what that means for the run; None where it has begun already."""


@runtime_checkable
class Tests(Protocol):
    """A callback that finds the LR with steps that leave no trace, such as LRRangeTest."""

    def run_test(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Run the test from here, tell what it found and train with that."""


@dataclass(frozen=True)
class StartCooldown(Action):
    """Let `LRDecay(WarmupStableDecay(...))` begin its cooldown now, and the run end with it.

    The cooldown has the length that it was planned with, and its start is kept in checkpoints. At its end
    LRDecay stops the fit by `trainer.should_stop`, after a last validation; not before the Trainer's
    `min_epochs` and `min_steps`.

    Source:
        Hägele et al. (2024), arXiv 2405.18392.

    Example:
        >>> StartCooldown()
        StartCooldown()
    """

    @override
    def check(self, trainer: Trainer, *, monitor: str, mode: Mode) -> None:
        if self._found(trainer) is None:
            raise MisconfigurationException(
                "`StartCooldown` has no cooldown to start. Add the callback `LRDecay` with the policy"
                " `WarmupStableDecay`, or take another action."
            )

    @override
    def act(self, situation: Situation) -> Effect | None:
        decay = self._found(situation.trainer)
        text = decay.start_cooldown(situation.trainer) if decay is not None else None
        return None if text is None else Effect(text, starts_afresh=True)

    def _found(self, trainer: Trainer) -> CoolsDown | None:
        callbacks = trainer.callbacks  # type: ignore[attr-defined]
        return next((each for each in callbacks if isinstance(each, CoolsDown) and each.has_cooldown), None)


@dataclass(frozen=True)
class Retune(Action):
    """Run the Trainer's LRRangeTest or LRSearch again from the weights of now, and train with what it finds.

    The test is a dry run before the next training batch. Where it finds nothing, the LR stays.

    Example:
        >>> Retune()
        Retune()
    """

    @override
    def check(self, trainer: Trainer, *, monitor: str, mode: Mode) -> None:
        if self._found(trainer) is None:
            raise MisconfigurationException(
                "`Retune` has no test to run again. Add the callback `LRRangeTest` or `LRSearch`, or take"
                " another action."
            )

    @override
    def check_memory(self, memory: Mapping[str, Any]) -> None:
        check_entries("Retune", memory, {"waiting": lambda waiting: waiting is True} if memory else {})

    @override
    def act(self, situation: Situation) -> Effect | None:
        if situation.memory.get("waiting"):
            return None
        situation.memory["waiting"] = True
        test = type(self._found(situation.trainer)).__name__
        return Effect(f"{test} looks for another LR before the next batch")

    @override
    def before_batch(self, situation: Situation) -> Effect | None:
        test = self._found(situation.trainer)
        if test is None or not situation.memory.pop("waiting", False):
            return None
        test.run_test(situation.trainer, situation.pl_module)
        return Effect("the LR was looked for anew", starts_afresh=True)

    def _found(self, trainer: Trainer) -> Tests | None:
        callbacks = trainer.callbacks  # type: ignore[attr-defined]
        return next((each for each in callbacks if isinstance(each, Tests)), None)
