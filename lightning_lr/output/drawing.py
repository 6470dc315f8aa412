"""Draws figures and hands them to the loggers that take images."""

import io
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lightning_lr.fit.lightnings import Logger, TensorBoardLogger, Trainer, rank_zero_warn
from lightning_lr.output.event_file import append_events
from lightning_lr.output.faults import write_or_warn

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw", "draws", "prepare"]


def draws(trainer: Trainer) -> bool:
    """Return whether `draw` draws here: on the rank that logs, if a logger takes images."""
    return trainer.is_global_zero and any(map(_takes_images, trainer.loggers))


def prepare(trainer: Trainer) -> None:
    """Import matplotlib, which takes about a second, so that no step waits for it."""
    if draws(trainer):
        import matplotlib.backends.backend_agg
        import matplotlib.figure  # noqa: F401 (only loaded)


def draw(trainer: Trainer, tag: str, make: Callable[[], "Figure"], step: int) -> None:
    """Draw a figure in 0.1 to 0.3 s and hand it to the loggers that take images; all ranks call it.

    A TensorBoardLogger takes images, and so does a logger with a method `log_image(key, images, step=...)`
    like WandbLogger's. An error in drawing becomes a warning, and the fit goes on.
    """
    if not draws(trainer):
        return
    try:
        png, pixels = _render(make)
    except Exception as error:  # noqa: BLE001 (a missing font or backend must not end a run)
        rank_zero_warn(f"The figure `{tag}` could not be drawn: {type(error).__name__}: {error}")
        return
    for logger in filter(_takes_images, trainer.loggers):
        write_or_warn(logger, partial(_write_image, logger, tag, png, pixels, step))


def _takes_images(logger: Logger) -> bool:
    # The class is asked: an instance of Lightning's DummyLogger has every attribute.
    return isinstance(logger, TensorBoardLogger) or callable(getattr(type(logger), "log_image", None))


def _render(make: Callable[[], "Figure"]) -> tuple[bytes, NDArray[np.uint8]]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas: Any = FigureCanvasAgg(make())
    file = io.BytesIO()
    canvas.print_png(file)
    return file.getvalue(), np.array(canvas.buffer_rgba())


def _write_image(logger: Any, tag: str, png: bytes, pixels: NDArray[np.uint8], step: int) -> None:
    if not isinstance(logger, TensorBoardLogger):
        logger.log_image(tag, [pixels], step=step)
        return
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    # Not `add_figure`, which uses pyplot and decodes and encodes the image again.
    height, width, channels = pixels.shape
    image = Summary.Image(height=height, width=width, colorspace=channels, encoded_image_string=png)
    summary = Summary(value=[Summary.Value(tag=tag, image=image)])
    append_events(logger, [Event(step=step, wall_time=time.time(), summary=summary)])
