"""Makes the logs of a resumed run continuous."""

from collections.abc import Mapping
from pathlib import Path

from lightning_lr.finders.finder import Finder
from lightning_lr.fit.lightnings import TensorBoardLogger, Trainer
from lightning_lr.fit.neighbors import callbacks_of
from lightning_lr.output.decisions import Entry, tell
from lightning_lr.output.faults import write_to_tensorboard
from lightning_lr.output.points import hide_points, next_step, write_points

__all__ = ["continue_curves", "tell_resumption"]


def continue_curves(trainer: Trainer) -> None:
    """Hide the points that the interrupted run left beyond the checkpoint; called before the first batch.

    This matters if the run resumes into the same folder. Some points of a range test or a search lie beyond
    the checkpoint too, since their x go on from the step of the test. They are written again.
    """
    step = next_step(trainer)
    if step == 0:
        return
    finders = callbacks_of(trainer, Finder)
    hidden = [point for finder in finders for point in finder.points if point.step >= step]

    def hide(logger: TensorBoardLogger) -> None:
        hide_points(logger, step)
        if len(list(Path(logger.log_dir).glob("events.out.tfevents.*"))) > 1:
            write_points([logger], hidden)

    write_to_tensorboard(trainer.loggers, hide)


def tell_resumption(trainer: Trainer, lrs: Mapping[str, float]) -> None:
    """Report where a run goes on and with which LRs, given by tag."""
    step, epoch = next_step(trainer), trainer.current_epoch
    summary = f"The run goes on in epoch {epoch} with step {step}."
    effect = f"LR goes on with {max(lrs.values(), default=0.0):.4g}"
    tell(trainer, Entry("LRLogger", "resume", summary, effect, {"step": step, "epoch": epoch, "lrs": lrs}))
