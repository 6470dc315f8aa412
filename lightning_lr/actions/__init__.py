"""What a PlateauDetector does about its verdicts: small classes, several of which can follow one verdict.

An action of your own is a subclass of `Action`. What it has to remember it keeps in `situation.memory`, which
is saved in checkpoints.
"""

from lightning_lr.actions.base import Action, Effect, Situation
from lightning_lr.actions.escape import Escape
from lightning_lr.actions.lr import ReduceLR
from lightning_lr.actions.others import Retune, StartCooldown
from lightning_lr.actions.restore import RestoreBest
from lightning_lr.actions.stop import ReportOnly, StopTraining

__all__ = [
    "Action",
    "Effect",
    "Escape",
    "ReduceLR",
    "ReportOnly",
    "RestoreBest",
    "Retune",
    "Situation",
    "StartCooldown",
    "StopTraining",
]
