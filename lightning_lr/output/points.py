"""Writes points to the Trainer's loggers: to TensorBoard in packed events, to others by `log_metrics`."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from weakref import WeakKeyDictionary

from lightning_lr.fit.lightnings import LightningModule, Logger, TensorBoardLogger, Trainer
from lightning_lr.fit.step_hook import steps_counted
from lightning_lr.output.event_file import append_events, append_serialized
from lightning_lr.output.faults import write_or_warn, write_to_tensorboard
from lightning_lr.output.packed import packed, shown_tag

__all__ = [
    "Point",
    "batch_step",
    "hide_points",
    "logged_step",
    "next_step",
    "save_loggers",
    "shifted",
    "tags_of",
    "write_points",
    "write_text",
]


@dataclass(frozen=True)
class Point:
    """Values of several curves at one x.

    Args:
        step: The x of all values.
        wall_time: When the values were measured, in seconds since the epoch.
        values: The y of each curve by tag.
    """

    step: int
    wall_time: float
    values: Mapping[str, float]


_tags: WeakKeyDictionary[Logger, set[str]] = WeakKeyDictionary()


def tags_of(logger: TensorBoardLogger) -> set[str]:
    """Return the tags of the points that were written to a logger, as TensorBoard shows them."""
    return _tags.setdefault(logger, set())


def logged_step(trainer: Trainer) -> int:
    """Return the x of what is logged now, in line with Lightning's own points.

    It counts the optimizer steps before the running batch. Under manual optimization it counts batches, since
    the Trainer cannot know how many steps a batch makes. A validation has the x of the batch before it.
    """
    if not trainer.lightning_module.automatic_optimization:
        return max(0, trainer.fit_loop.epoch_loop.total_batch_idx)
    return max(0, trainer.global_step - trainer.validating)


def batch_step(trainer: Trainer, pl_module: LightningModule) -> int:
    """Return `logged_step` of a training batch that begins, at every step, with a tenth of the calls."""
    if pl_module.automatic_optimization:
        return steps_counted(trainer, automatic=True)
    return trainer.fit_loop.epoch_loop.total_batch_idx


def next_step(trainer: Trainer) -> int:
    """Return the x of the next batch; called between two batches."""
    if not trainer.lightning_module.automatic_optimization:
        return trainer.fit_loop.epoch_loop.total_batch_idx + 1
    return trainer.global_step


def shifted(points: Iterable[Point], step: int) -> list[Point]:
    """Move points by `step` along the x axis."""
    return [replace(point, step=point.step + step) for point in points]


def write_points(loggers: Iterable[Logger], points: Iterable[Point]) -> None:
    """Write points, ordered by step, to every logger that can write; for the rank that logs."""
    points = [point for point in points if point.values]
    for logger in loggers:
        write_or_warn(logger, partial(_write, logger, points))


def write_text(loggers: Iterable[Logger], tag: str, text: str, step: int) -> bool:
    """Write a text in Markdown to every TensorBoardLogger; return whether all could write."""
    return write_to_tensorboard(loggers, lambda logger: logger.experiment.add_text(tag, text, step))


def hide_points(logger: TensorBoardLogger, step: int) -> None:
    """Hide the points from `step` on that an interrupted run left in a logger's folder; delete nothing.

    It writes the mark of `SummaryWriter(purge_step=...)` twice.
    """
    from tensorboard.compat.proto.event_pb2 import Event, SessionLog

    mark = Event(step=step, wall_time=time.time(), session_log=SessionLog(status=SessionLog.START))
    # If TensorBoard reads a run with Python, the first mark only announces that others will follow.
    append_events(logger, [mark, mark])


def save_loggers(loggers: Iterable[Logger]) -> None:
    """Write to disk what the loggers hold in memory."""
    for logger in loggers:
        write_or_warn(logger, partial(_save, logger))


def _save(logger: Logger) -> None:
    logger.save()
    if isinstance(logger, TensorBoardLogger):
        logger.experiment.flush()


def _write(logger: Logger, points: list[Point]) -> None:
    if isinstance(logger, TensorBoardLogger):
        append_serialized(logger, packed(points))
        tags_of(logger).update(map(shown_tag, {tag for point in points for tag in point.values}))
    else:
        for point in points:
            logger.log_metrics(dict(point.values), step=point.step)
