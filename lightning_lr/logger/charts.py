"""The charts of TensorBoard's Custom Scalars tab."""

from lightning_lr.fit.lightnings import Trainer
from lightning_lr.fit.neighbors import Charted, Charts, callbacks_of
from lightning_lr.output.faults import write_to_tensorboard

__all__ = ["write_charts"]

_LEARNING_RATE: Charts = {
    "Learning rate": {
        "LR, every group": ("Multiline", ["lr/"]),
        "Base LR, every group": ("Multiline", ["lr_base/"]),
        "Factor: LR / base LR": ("Multiline", ["lr_factor/"]),
    }
}
_LOSS: Charts = {
    "Loss": {
        "Training loss, per step": ("Multiline", ["loss/train$"]),
        "Training loss per epoch, and validation loss": ("Multiline", ["loss/train_epoch$", "loss/val"]),
    }
}


def write_charts(trainer: Trainer) -> None:
    """Write our charts and those of the Trainer's callbacks to TensorBoard; for the rank that logs."""
    merged: dict[str, dict[str, tuple[str, list[str]]]] = {}
    for callback in callbacks_of(trainer, Charted):
        for category, charts in callback.charts().items():
            merged.setdefault(category, {}).update(charts)
    # Charts with a band come first in their category.
    others = {
        category: dict(sorted(merged[category].items(), key=lambda chart: chart[1][0] != "Margin"))
        for category in sorted(merged)
    }
    layout = {**_LEARNING_RATE, **_LOSS, **others}
    write_to_tensorboard(trainer.loggers, lambda logger: logger.experiment.add_custom_scalars(layout))
