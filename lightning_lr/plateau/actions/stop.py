"""Ends the fit: immediately, or with the cooldown of LRDecay."""

from dataclasses import dataclass

from typing_extensions import override

from lightning_lr.fit.lightnings import MisconfigurationException, Trainer
from lightning_lr.fit.neighbors import Schedules, callbacks_of
from lightning_lr.plateau.actions.base import Action, Effect, Situation
from lightning_lr.plateau.detectors.base import Mode

__all__ = ["StartCooldown", "StopTraining"]


@dataclass(frozen=True, repr=False)
class StopTraining(Action):
    """End the fit as `EarlyStopping` does, but not before the Trainer's `min_epochs` and `min_steps`.

    Example:
        >>> from lightning_lr import PlateauDetector
        >>> from lightning_lr.plateau import RestoreBest
        >>> detector = PlateauDetector(on_overfitting=[RestoreBest(), StopTraining()])
    """

    @override
    def act(self, situation: Situation) -> Effect | None:
        if situation.trainer.should_stop:
            return None
        situation.trainer.should_stop = True
        return Effect("training stops")


@dataclass(frozen=True, repr=False)
class StartCooldown(Action):
    """Let `LRDecay(WarmupStableDecay(...))` begin its cooldown now and end the run with it.

    In a run with a known end, the cooldown takes the rest of it. With `keeps_length=True`, or if the end is
    not known, it keeps its planned length, and at its end, after a last validation, LRDecay stops the fit
    by `trainer.should_stop`, but not before the Trainer's `min_epochs` and `min_steps`. Without a plateau,
    the policy cools down in time for the end of the run. Start and length are saved in checkpoints.

    With this action on a plateau, the default on overfitting and divergence is to go back to the best weights
    and to start the cooldown as well.

    Args:
        keeps_length: Whether an early cooldown is as long as planned, and ends the run early.

    Raises:
        MisconfigurationException: At fit start: the Trainer has no LRDecay with this policy.

    Source:
        Hägele et al. (2024), arXiv 2405.18392.

    Example:
        >>> from lightning_lr import LRDecay, PlateauDetector
        >>> from lightning_lr.policies import WarmupStableDecay
        >>> callbacks = [
        ...     LRDecay(WarmupStableDecay(0.2), interval="step"),
        ...     PlateauDetector(on_plateau=StartCooldown()),
        ... ]
    """

    keeps_length: bool = False

    @override
    def check(self, trainer: Trainer, *, monitor: str, mode: Mode) -> None:
        if self._found(trainer) is None:
            raise MisconfigurationException(
                "`StartCooldown` has no cooldown to start. Add the callback `LRDecay` with the policy"
                " `WarmupStableDecay`, or use another action."
            )

    @override
    def act(self, situation: Situation) -> Effect | None:
        decay = self._found(situation.trainer)
        text = (
            decay.start_cooldown(situation.trainer, keeps_length=self.keeps_length)
            if decay is not None
            else None
        )
        return None if text is None else Effect(text, starts_afresh=True)

    def _found(self, trainer: Trainer) -> Schedules | None:
        return next((each for each in callbacks_of(trainer, Schedules) if each.has_cooldown), None)
