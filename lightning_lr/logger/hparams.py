"""One row per run in TensorBoard's HParams tab: how the LR was found and set, and the final metrics."""

import time
from collections.abc import Container, Iterator, Mapping
from typing import Any

from torch import Tensor

from lightning_lr.finders.finder import Finder
from lightning_lr.finders.suggestion import Suggestion
from lightning_lr.fit.internals import makes_hp_metric
from lightning_lr.fit.lightnings import Callback, LightningModule, TensorBoardLogger, Trainer
from lightning_lr.fit.neighbors import Listed, callbacks_of, schedulers_of
from lightning_lr.fit.optimizers import groups_of
from lightning_lr.output.event_file import append_events
from lightning_lr.output.faults import write_to_tensorboard
from lightning_lr.rates import base_lr
from lightning_lr.shown import as_call

__all__ = ["RunRow", "announce_columns"]

# The folder within that of the run. TensorBoard shows the first hyperparameters of a folder only: in separate
# folders, ours and the user's do not displace each other.
_FOLDER = "hparams"
_NONE = "-"
# Every run has these columns; without the callback, the column is empty.
_COLUMNS = ("lr_range_test", "lr_search", "lr_schedule", "plateau_detector")


def announce_columns(trainer: Trainer, pl_module: LightningModule) -> None:
    """Write the list of columns for the row of `RunRow`, before Lightning writes its own list.

    TensorBoard takes the columns from the first list that it finds, or from the rows if there is no list.
    Lightning lists the module's hyperparameters and `hp_metric` (if there are any, and unless
    `default_hp_metric=False`), so this list has those too. A list that the user writes instead comes first.
    """
    from tensorboard.compat.proto.event_pb2 import Event

    module = {**dict(getattr(trainer.datamodule, "hparams_initial", None) or {}), **pl_module.hparams_initial}  # type: ignore[attr-defined]
    metrics = {"loss/train_epoch", "loss/val", *_monitored(trainer)}
    names = {"hp_metric": -1.0} | {f"result/{name}": 0.0 for name in sorted(metrics)}

    def write(logger: TensorBoardLogger) -> None:
        if makes_hp_metric(logger):
            columns, *_ = _summaries(dict(_flat(module)) | _lr_hparams(trainer, 0.0), names)
            append_events(logger, [Event(wall_time=time.time(), summary=columns)])

    if module:
        write_to_tensorboard(trainer.loggers, write)


class RunRow:
    """The row of a run at its last step, with the user's hyperparameters.

    Its results are losses, by tag, and the Trainer's `callback_metrics`. The column `lr_base` is the base LR
    that the run began with.

    Attributes:
        lr_base: That LR; None before the first step.
    """

    def __init__(self) -> None:
        self.lr_base: float | None = None
        self._losses: dict[str, float] = {}

    def begin(self, trainer: Trainer) -> None:
        """Note the current base LR, unless a checkpoint has told that of the start."""
        if self.lr_base is None:
            self.lr_base = _base_lr_of(trainer)

    def add(self, losses: Mapping[str, float]) -> None:
        """Add the newest losses by tag."""
        self._losses |= losses

    def write(self, trainer: Trainer, step: int, *, without: Container[str] = ()) -> None:
        """Write the row if the run has a loss; metrics in `without` are left out."""
        if not (trainer.is_global_zero and trainer.optimizers and self._losses):
            return
        from torch.utils.tensorboard import SummaryWriter

        lr_base = _base_lr_of(trainer) if self.lr_base is None else self.lr_base
        both: dict[str, Any] = {**trainer.callback_metrics, **self._losses}
        results = {name: _number(value) for name, value in both.items() if name not in without}
        final = {f"result/{name}": value for name, value in sorted(results.items()) if value is not None}

        def write(logger: TensorBoardLogger) -> None:
            hparams = dict(_flat(dict(logger.hparams))) | _lr_hparams(trainer, lr_base)
            with SummaryWriter(f"{logger.log_dir}/{_FOLDER}") as writer:
                _, start, end = _summaries(hparams, final)
                for summary in (start, end):
                    writer.file_writer.add_summary(summary)
                for name, value in final.items():
                    writer.add_scalar(name, value, step)

        write_to_tensorboard(trainer.loggers, write)


def _base_lr_of(trainer: Trainer) -> float:
    """Return the current base LR, 0 if a group has none."""
    groups = groups_of(trainer.optimizers)
    has_lrs = bool(groups) and all(group.get("lr") is not None for group in groups)
    return base_lr(trainer) if has_lrs else 0.0


def _lr_hparams(trainer: Trainer, lr_base: float) -> dict[str, str | float]:
    """Return what decides the LR of a run, under the same names in every run.

    `lr_found` is the LR that a finder has found; 0 if there is none.
    """
    found = list(_found(trainer))
    listed: dict[str, list[str]] = {column: [] for column in _COLUMNS}
    for callback in callbacks_of(trainer, Listed):
        listed.setdefault(callback.hparams_column, []).append(as_call(callback))
    if schedulers := schedulers_of(trainer):
        listed["lr_schedule"] = [type(scheduler).__name__ for scheduler in schedulers]
    return {
        "lr_base": lr_base,
        "lr_found": found[-1][1].lr if found else 0.0,
        "lr_found_by": "; ".join(f"{name}, {suggestion.rule}" for name, suggestion in found) or _NONE,
        **{column: "; ".join(of_column) or _NONE for column, of_column in listed.items()},
    }


def _monitored(trainer: Trainer) -> set[str]:
    monitors = {getattr(callback, "monitor", None) for callback in callbacks_of(trainer, Callback)}
    return {monitor for monitor in monitors if isinstance(monitor, str)}


def _summaries(hparams: Mapping[str, Any], metrics: Mapping[str, float]) -> tuple[Any, Any, Any]:
    """Return the list of columns, the start of a row and its end."""
    from torch.utils.tensorboard.summary import hparams as summaries

    made: tuple[Any, Any, Any] = summaries(hparams, metrics)  # type: ignore[no-untyped-call]
    return made


def _found(trainer: Trainer) -> Iterator[tuple[str, Suggestion]]:
    """Yield the name of each finder whose LR is used, and its suggestion."""
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
