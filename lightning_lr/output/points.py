"""Writes points to the Trainer's loggers: TensorBoard in packed events, the others as they like it."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import Logger, TensorBoardLogger

from lightning_lr.output.event_file import append_events
from lightning_lr.output.faults import write_or_warn

if TYPE_CHECKING:
    from tensorboard.compat.proto.event_pb2 import Event

__all__ = [
    "Point",
    "hide_points",
    "logged_step",
    "next_step",
    "save_loggers",
    "shifted",
    "write_points",
    "write_text",
]


@dataclass(frozen=True)
class Point:
    """Values of several curves at one x.

    Args:
        step: The x.
        wall_time: When the values were true, in seconds since the epoch.
        values: The y of each curve by tag.
    """

    step: int
    wall_time: float
    values: Mapping[str, float]


def logged_step(trainer: Trainer) -> int:
    """Return the x of what is logged now, which lines up with Lightning's own points.

    It is the count of optimizer steps before the running batch, or of batches under manual optimization,
    where the Trainer cannot know how many steps a batch makes. A validation has the x of the batch it
    follows.
    """
    if not trainer.lightning_module.automatic_optimization:
        return max(0, trainer.fit_loop.epoch_loop.total_batch_idx)
    return max(0, trainer.global_step - trainer.validating)


def next_step(trainer: Trainer) -> int:
    """Return the x that the next batch will have, between two batches; see `logged_step`."""
    if not trainer.lightning_module.automatic_optimization:
        return trainer.fit_loop.epoch_loop.total_batch_idx + 1
    return trainer.global_step


def shifted(points: Iterable[Point], step: int) -> list[Point]:
    """Return points whose x count from 0, with x that count from `step`."""
    return [replace(point, step=point.step + step) for point in points]


def write_points(loggers: Iterable[Logger], points: Iterable[Point]) -> None:
    """Write every point to every logger that can write; the others are told of.

    Args:
        loggers: The Trainer's loggers, on the rank that logs.
        points: In the order of their steps; points without values are left out.
    """
    points = [point for point in points if point.values]
    for logger in loggers:
        write_or_warn(logger, partial(_write, logger, points))


def write_text(loggers: Iterable[Logger], tag: str, text: str, step: int) -> None:
    """Write a text in Markdown to every logger of TensorBoard that can write."""
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            write_or_warn(logger, partial(_add_text, logger, tag, text, step))


def hide_points(logger: TensorBoardLogger, step: int) -> None:
    """Hide what an interrupted run has left in the folder of a logger from a step on.

    It is the mark that `SummaryWriter(purge_step=...)` writes, twice. Nothing is deleted.
    """
    from tensorboard.compat.proto.event_pb2 import Event, SessionLog

    mark = Event(step=step, wall_time=time.time(), session_log=SessionLog(status=SessionLog.START))
    # Of a run that TensorBoard reads with Python, the first mark only says that there will be others.
    append_events(logger, [mark, mark])


def save_loggers(loggers: Iterable[Logger]) -> None:
    """Put on disk what the loggers hold in memory."""
    for logger in loggers:
        write_or_warn(logger, partial(_save, logger))


def _save(logger: Logger) -> None:
    logger.save()
    if isinstance(logger, TensorBoardLogger):
        logger.experiment.flush()


def _add_text(logger: TensorBoardLogger, tag: str, text: str, step: int) -> None:
    logger.experiment.add_text(tag, text, step)


def _write(logger: Logger, points: list[Point]) -> None:
    if isinstance(logger, TensorBoardLogger):
        append_events(logger, list(map(_event, points)))
    else:
        for point in points:
            logger.log_metrics(dict(point.values), step=point.step)


def _event(point: Point) -> "Event":
    """Return one event for all values of a step: `add_scalar` writes one each, at the price of one each."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    values = [Summary.Value(tag=tag, simple_value=value) for tag, value in point.values.items()]
    return Event(step=point.step, wall_time=point.wall_time, summary=Summary(value=values))
