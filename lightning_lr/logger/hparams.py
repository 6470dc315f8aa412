"""One row per run in TensorBoard's HParams tab: how the LR was found and set, and what came of it."""

import inspect
import time
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor

from lightning_lr.finders.finder import Finder
from lightning_lr.finders.suggestion import Suggestion
from lightning_lr.fit.internals import makes_hp_metric
from lightning_lr.fit.neighbors import Listed, callbacks_of, schedulers_of
from lightning_lr.output.event_file import append_events
from lightning_lr.output.faults import write_or_warn
from lightning_lr.rates import base_lr

__all__ = ["announce_columns", "lr_hparams", "write_row"]

# The folder under that of the run. TensorBoard shows the hyperparameters that a folder is given first: in
# one of their own, neither these nor those that the user logs displace the others.
_FOLDER = "hparams"
_NONE = "-"
# The columns of callbacks, in every run: a run without a callback has an empty one.
_COLUMNS = ("lr_range_test", "lr_search", "lr_schedule", "plateau_detector")


def announce_columns(trainer: Trainer, pl_module: LightningModule) -> None:
    """Give the tab columns for the row that `write_row` will write, before Lightning gives it its own.

    TensorBoard takes the columns from the first list of them that it finds, and from the rows where there is
    none. Lightning lists the module's hyperparameters and `hp_metric`, if there are such and unless told not
    to; then this list has those too. A list that the user makes instead is left alone, and comes first.
    """
    from tensorboard.compat.proto.event_pb2 import Event

    module = {**dict(getattr(trainer.datamodule, "hparams_initial", None) or {}), **pl_module.hparams_initial}  # type: ignore[attr-defined]
    metrics = {"loss/train_epoch", "loss/val", *_monitored(trainer)}
    for logger in trainer.loggers:
        if module and isinstance(logger, TensorBoardLogger) and makes_hp_metric(logger):
            names = {"hp_metric": -1.0} | {f"final/{name}": 0.0 for name in sorted(metrics)}
            columns, *_ = _summaries(dict(_flat(module)) | lr_hparams(trainer), names)
            event = Event(wall_time=time.time(), summary=columns)
            write_or_warn(logger, partial(append_events, logger, [event]))


def write_row(trainer: Trainer, metrics: Mapping[str, float], step: int) -> None:
    """Write the row of a run, with the user's own hyperparameters; for the rank that logs.

    Args:
        trainer: The Trainer at the end of a fit.
        metrics: The results by tag, to which the Trainer's are added.
        step: The x of the last step.
    """
    from torch.utils.tensorboard import SummaryWriter

    both: dict[str, Any] = {**trainer.callback_metrics, **metrics}
    results = {name: _number(value) for name, value in both.items()}
    final = {f"final/{name}": value for name, value in sorted(results.items()) if value is not None}

    def write(logger: TensorBoardLogger) -> None:
        hparams = dict(_flat(dict(logger.hparams))) | lr_hparams(trainer)
        with SummaryWriter(f"{logger.log_dir}/{_FOLDER}") as writer:
            _, start, end = _summaries(hparams, final)
            for summary in (start, end):
                writer.file_writer.add_summary(summary)
            for name, value in final.items():
                writer.add_scalar(name, value, step)

    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            write_or_warn(logger, partial(write, logger))


def lr_hparams(trainer: Trainer) -> dict[str, str | float]:
    """Return what decides the LR of a run, under the same names in every run, so that runs compare.

    `lr_base` is the current base LR and `lr_found` what a finder has found; 0 if there is none.
    """
    groups = [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
    has_lrs = bool(groups) and all("lr" in group for group in groups)
    found = list(_found(trainer))
    listed: dict[str, list[str]] = {column: [] for column in _COLUMNS}
    for callback in callbacks_of(trainer, Listed):
        listed.setdefault(callback.hparams_column, []).append(settings(callback))
    if schedulers := schedulers_of(trainer):
        listed["lr_schedule"] = [type(scheduler).__name__ for scheduler in schedulers]
    return {
        "lr_base": base_lr(trainer) if has_lrs else 0.0,
        "lr_found": found[-1][1].lr if found else 0.0,
        "lr_found_by": "; ".join(f"{name}, {suggestion.rule}" for name, suggestion in found) or _NONE,
        **{column: "; ".join(of_column) or _NONE for column, of_column in listed.items()},
    }


def settings(callback: object) -> str:
    """Return a callback as its constructor would be called, without the arguments that are defaults.

    Example:
        >>> from lightning_lr import LRRangeTest
        >>> settings(LRRangeTest(repeats=3))
        'LRRangeTest(repeats=3)'
    """
    given = [
        f"{name}={getattr(callback, name)!r}"
        for name, parameter in inspect.signature(type(callback)).parameters.items()
        if getattr(callback, name) != parameter.default
    ]
    return f"{type(callback).__name__}({', '.join(given)})"


def _monitored(trainer: Trainer) -> set[str]:
    monitors = {getattr(callback, "monitor", None) for callback in callbacks_of(trainer, Callback)}
    return {monitor for monitor in monitors if isinstance(monitor, str)}


def _summaries(hparams: Mapping[str, Any], metrics: Mapping[str, float]) -> tuple[Any, Any, Any]:
    """Return what lists the columns, what begins a row and what ends it."""
    from torch.utils.tensorboard.summary import hparams as summaries

    made: tuple[Any, Any, Any] = summaries(hparams, metrics)  # type: ignore[no-untyped-call]
    return made


def _found(trainer: Trainer) -> Iterator[tuple[str, Suggestion]]:
    """Yield what was found and is trained with, and by which callback."""
    for finder in callbacks_of(trainer, Finder):
        if finder.apply and isinstance(finder.suggestion, Suggestion):
            yield type(finder).__name__, finder.suggestion


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, bool | int | float | str]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}/")
        else:
            yield f"{prefix}{name}", value if isinstance(value, bool | int | float | str) else str(value)


def _number(value: float | Tensor) -> float | None:
    if isinstance(value, Tensor):
        return float(value) if value.numel() == 1 else None
    return float(value)
