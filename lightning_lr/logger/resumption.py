"""Makes the logs of a resumed run continuous."""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger

from lightning_lr.finders.finder import Finder
from lightning_lr.fit.neighbors import callbacks_of
from lightning_lr.output.decisions import Entry, tell
from lightning_lr.output.faults import write_or_warn
from lightning_lr.output.points import Point, hide_points, next_step, write_points

__all__ = ["continue_curves", "tell_resumption"]


def continue_curves(trainer: Trainer) -> None:
    """Hide the points that an interrupted run has left beyond the checkpoint; called before the first batch.

    This matters where a run resumes into the folder of the interrupted one. What a range test or a search
    has drawn goes on beyond the step that it was made at, and is written again where it would be hidden too.
    """
    step = next_step(trainer)
    if step == 0:
        return
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            write_or_warn(logger, partial(hide_points, logger, step))
            if _has_older_points(logger):
                write_points([logger], [point for point in _test_points(trainer) if point.step >= step])


def tell_resumption(trainer: Trainer, lrs: Mapping[str, float]) -> None:
    """Tell where a run goes on and with which LRs, given by their tags."""
    step, epoch = next_step(trainer), trainer.current_epoch
    summary = f"The run goes on in epoch {epoch} with step {step}."
    effect = f"LR goes on with {max(lrs.values(), default=0.0):.4g}"
    tell(trainer, Entry("LRLogger", "resume", summary, effect, {"step": step, "epoch": epoch, "lrs": lrs}))


def _has_older_points(logger: TensorBoardLogger) -> bool:
    return len(list(Path(logger.log_dir).glob("events.out.tfevents.*"))) > 1


def _test_points(trainer: Trainer) -> Iterator[Point]:
    for finder in callbacks_of(trainer, Finder):
        yield from finder.points
