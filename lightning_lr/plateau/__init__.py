"""PlateauDetector: a verdict on every validation, and the actions that follow it.

Write your own detector as a subclass of `Detector`, and your own action as a subclass of `Action`. An action
keeps what it has to remember in `situation.memory`, which is saved in checkpoints.
"""

from lightning_lr.plateau.actions.base import Action, Effect, ReportOnly, Situation
from lightning_lr.plateau.actions.escape import Escape
from lightning_lr.plateau.actions.reduce import ReduceLR
from lightning_lr.plateau.actions.restore import RestoreBest
from lightning_lr.plateau.actions.retune import Retune
from lightning_lr.plateau.actions.stop import StartCooldown, StopTraining
from lightning_lr.plateau.detectors.base import Detector, Mode, Observation, State, Verdict
from lightning_lr.plateau.detectors.patience import Patience
from lightning_lr.plateau.detectors.progress import Progress
from lightning_lr.plateau.detectors.slope_test import SlopeTest
from lightning_lr.plateau.plateau_detector import PlateauDetector
from lightning_lr.plateau.record import Record

__all__ = [
    "Action",
    "Detector",
    "Effect",
    "Escape",
    "Mode",
    "Observation",
    "Patience",
    "PlateauDetector",
    "Progress",
    "Record",
    "ReduceLR",
    "ReportOnly",
    "RestoreBest",
    "Retune",
    "Situation",
    "SlopeTest",
    "StartCooldown",
    "State",
    "StopTraining",
    "Verdict",
]
