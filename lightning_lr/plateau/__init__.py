"""PlateauDetector: a verdict on every validation, and the actions that follow it.

| action | what it does |
|---|---|
| `ReduceLR(factor, min_lr, ...)` | multiplies the LR; lowers it to 0 in the last fifth of a run with an end |
| `RestoreBest(factor, source)` | goes back to the weights of the best validation, then multiplies the LR |
| `StartCooldown(keeps_length)` | lets `LRDecay(WarmupStableDecay(...))` cool down from now to the end |
| `Retune()` | runs the Trainer's `LRRangeTest` or `LRSearch` again from here, as a dry run |
| `Escape(factor, quantity, ...)` | raises LR or momentum for a while; goes back if that does not pay |
| `StopTraining()` | ends the fit |
| `ReportOnly()` | tells the verdict, nothing else |

| detector | when validation is on a plateau |
|---|---|
| `Progress(patience, ...)` | waiting no longer pays, given the noise and the rest of the run; the default |
| `Patience(patience, ...)` | no better value for so many validations, as torch's `ReduceLROnPlateau` |
| `SlopeTest(...)` | the slope is surely too small: certain and slow |

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
