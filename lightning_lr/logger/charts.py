"""The charts of TensorBoard's Custom Scalars tab."""

from functools import partial
from typing import TypeAlias

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import TensorBoardLogger

from lightning_lr.finders.range_test.lr_range_test import LRRangeTest
from lightning_lr.finders.search.lr_search import LRSearch
from lightning_lr.output.faults import write_or_warn
from lightning_lr.plateau.plateau_detector import PlateauDetector

__all__ = ["write_layout"]

# By category and title the kind of a chart and its tags: names for `Margin`, else regular expressions that
# match from the start.
_Charts: TypeAlias = dict[str, dict[str, tuple[str, list[str]]]]

_LEARNING_RATE: _Charts = {
    "Learning rate": {
        "LR, every group": ("Multiline", ["lr/"]),
        "Base LR, every group": ("Multiline", ["lr_base/"]),
        "Factor: LR / base LR": ("Multiline", ["lr_factor/"]),
    }
}
_LOSS: _Charts = {
    "Loss": {
        "Training loss, per step": ("Multiline", ["loss/train$"]),
        "Training loss per epoch, and validation loss": ("Multiline", ["loss/train_epoch$", "loss/val"]),
    }
}
_OF_CALLBACKS: dict[type[Callback], _Charts] = {
    LRRangeTest: {
        "Range test": {
            "Loss after each step of the test": ("Multiline", ["range_test/loss$"]),
            "LR of each step of the test": ("Multiline", ["range_test/lr$"]),
        }
    },
    LRSearch: {
        "Search": {
            "Loss of each trial": ("Multiline", ["search/loss$"]),
            "LR of each trial": ("Multiline", ["search/lr$"]),
        }
    },
}


def write_layout(trainer: Trainer) -> None:
    """Write the charts of a run to its TensorBoard loggers; to be called on the rank that logs.

    Those of a callback are there where the Trainer has the callback.
    """
    charts = _LEARNING_RATE | _LOSS | _plateau_charts(trainer)
    for kind, of_kind in _OF_CALLBACKS.items():
        if any(isinstance(callback, kind) for callback in trainer.callbacks):  # type: ignore[attr-defined]
            charts = charts | of_kind
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            write_or_warn(logger, partial(_add_charts, logger, charts))


def _add_charts(logger: TensorBoardLogger, charts: _Charts) -> None:
    logger.experiment.add_custom_scalars(charts)


def _plateau_charts(trainer: Trainer) -> _Charts:
    monitors = [each.monitor for each in trainer.callbacks if isinstance(each, PlateauDetector)]  # type: ignore[attr-defined]
    if not monitors:
        return {}
    # A chart with a band takes the names of one curve and its two borders.
    bands = {
        f"Improvement of {monitor} per validation: below the band of noise it is a plateau": (
            "Margin",
            [f"plateau/{monitor}/{name}" for name in ("slope", "threshold", "upper_threshold")],
        )
        for monitor in monitors
    }
    verdict = "Verdict: 0 undecided, 1 improving, 2 plateau, 3 overfitting, 4 diverging"
    others = {
        verdict: ("Multiline", ["plateau/.*/verdict$"]),
        "Noise of one validation": ("Multiline", ["plateau/.*/noise$"]),
    }
    return {"Plateau": bands | others}
