"""Ends the fit, or does nothing but let the verdict be told."""

from dataclasses import dataclass

from typing_extensions import override

from lightning_lr.plateau.actions.base import Action, Effect, Situation

__all__ = ["ReportOnly", "StopTraining"]


@dataclass(frozen=True)
class StopTraining(Action):
    """End the fit, as `EarlyStopping` does; not before the Trainer's `min_epochs` and `min_steps`.

    Example:
        >>> StopTraining()
        StopTraining()
    """

    @override
    def act(self, situation: Situation) -> Effect | None:
        if situation.trainer.should_stop:
            return None
        situation.trainer.should_stop = True
        return Effect("training stops")


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
