"""Runs LRRangeTest or LRSearch again."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from typing_extensions import override

from lightning_lr.checkpoints.saved_state import flag, read_entries
from lightning_lr.fit.lightnings import MisconfigurationException, Trainer
from lightning_lr.fit.neighbors import Finds, callbacks_of
from lightning_lr.plateau.actions.base import Action, Effect, Situation
from lightning_lr.plateau.detectors.base import Mode

__all__ = ["Retune"]


@dataclass(frozen=True, repr=False)
class Retune(Action):
    """Run the Trainer's LRRangeTest or LRSearch again from the current weights.

    The test is a dry run before the next training batch. An LR that it finds is the highest of the rest of
    the run.

    Raises:
        MisconfigurationException: At fit start: the Trainer has neither callback.

    Example:
        >>> from lightning_lr import LRRangeTest, PlateauDetector
        >>> callbacks = [LRRangeTest(), PlateauDetector(on_plateau=Retune())]
    """

    @override
    def check(self, trainer: Trainer, *, monitor: str, mode: Mode) -> None:
        if self._found(trainer) is None:
            raise MisconfigurationException(
                "`Retune` has no test to run again. Add the callback `LRRangeTest` or `LRSearch`, or use"
                " another action."
            )

    @override
    def check_memory(self, memory: Mapping[str, Any]) -> None:
        read_entries(memory, {"waiting": flag} if memory else {})

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

    def _found(self, trainer: Trainer) -> Finds | None:
        return next(iter(callbacks_of(trainer, Finds)), None)
