"""The charts of TensorBoard's Custom Scalars tab: those that have a curve to show."""

import re
from collections.abc import Collection, Iterable
from pathlib import Path

from lightning_lr.checkpoints.saved_state import each_of, text
from lightning_lr.fit.lightnings import TensorBoardLogger, Trainer
from lightning_lr.fit.neighbors import Charted, Charts, callbacks_of
from lightning_lr.output.faults import write_to_tensorboard
from lightning_lr.output.points import tags_of

__all__ = ["ShownCharts", "all_charts"]


class ShownCharts:
    """Writes the charts of all callbacks, each as soon as it has a curve; for the rank that logs.

    TensorBoard shows the newest list of charts of a run, and an empty chart for one without a curve.
    """

    def __init__(self) -> None:
        self._titles: set[str] = set()
        self._before: list[str] = []
        self._curves = -1
        self._layout: dict[str, dict[str, tuple[str, list[str]]]] = {}

    @property
    def titles(self) -> list[str]:
        """The charts that have been shown, for a checkpoint."""
        return sorted(self._titles)

    def restore(self, titles: object) -> None:
        """Take the `titles` of a checkpoint; raise ValueError for anything else."""
        self._before = each_of(text)(titles)

    def resume(self, trainer: Trainer) -> None:
        """Continue with the charts of the interrupted run if this one resumes into its folder."""
        loggers = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
        if any(len(list(Path(logger.log_dir).glob("events.out.tfevents.*"))) > 1 for logger in loggers):
            self._titles.update(self._before)

    def update(self, trainer: Trainer, own: Collection[str] = ()) -> None:
        """Write the charts again if there are more; `own` are the losses that the module logs itself."""
        loggers = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
        curves = sum(len(tags_of(logger)) for logger in loggers) + len(own)
        if curves == self._curves:
            return
        self._curves = curves
        tags = {tag for logger in loggers for tag in tags_of(logger)} | set(own)
        layout: dict[str, dict[str, tuple[str, list[str]]]] = {}
        for category, charts in all_charts(trainer, own).items():
            for title, patterns in charts.items():
                if title in self._titles or _has_curve(patterns, tags):
                    layout.setdefault(category, {})[title] = ("Multiline", patterns)
        if layout == self._layout:
            return
        if write_to_tensorboard(loggers, lambda logger: logger.experiment.add_custom_scalars(layout)):
            self._layout = layout
            self._titles.update(title for charts in layout.values() for title in charts)


def all_charts(trainer: Trainer, own: Iterable[str] = ()) -> Charts:
    """Return our charts and those of the Trainer's callbacks: LRs, losses, then categories by name."""
    merged: dict[str, dict[str, list[str]]] = {}
    for callback in callbacks_of(trainer, Charted):
        for category, charts in callback.charts().items():
            merged.setdefault(category, {}).update(charts)
    return {
        "Learning rate": {
            "LR, every group": ["LR/"],
            "Base LR, every group": ["lr_base/"],
            "Factor: LR / base LR": ["lr_factor/"],
        },
        "Loss": {
            "Training loss, per step": ["Loss/train$"],
            "Training loss per epoch, and validation loss": [
                "Loss/train_epoch$",
                "Loss/val",
                *(f"{re.escape(name)}$" for name in own),
            ],
        },
        **{category: merged[category] for category in sorted(merged)},
    }


def _has_curve(patterns: Iterable[str], tags: Collection[str]) -> bool:
    return any(re.match(pattern, tag) for pattern in patterns for tag in tags)
