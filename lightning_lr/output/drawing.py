"""Draws figures beside the training: matplotlib takes longer than many steps do."""

import io
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_warn
from numpy.typing import NDArray
from typing_extensions import override

from lightning_lr.output.event_file import append_events
from lightning_lr.output.faults import write_or_warn

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw", "draws"]


def draws(trainer: Trainer) -> bool:
    """Tell whether `draw` would draw here: on the rank that logs, with a logger that takes images."""
    return trainer.is_global_zero and any(map(_takes_images, trainer.loggers))


def draw(trainer: Trainer, tag: str, make: Callable[[], "Figure"], step: int) -> None:
    """Draw a figure in another thread and hand it to the loggers that take images.

    These are TensorBoardLogger and those with a method `log_image(key, images, step=...)`, as WandbLogger has
    it. Without one of them nothing is drawn. The fit does not end, in whatever way, before the figure is
    written; an error in drawing becomes a warning. To be called on every rank, one of them draws. A process
    that is forked meanwhile, as the workers of a loader are, is forked when the figure is drawn.

    Args:
        trainer: The Trainer of the running fit.
        tag: The name of the figure.
        make: Returns the figure, made without pyplot, which is not for several threads. It is called in the
            other thread, so what it reads must not change any more.
        step: The x of the figure.
    """
    if not draws(trainer):
        return
    loggers: list[Any] = [logger for logger in trainer.loggers if _takes_images(logger)]
    for logger in loggers:
        # A logger makes what it writes with at the first use, which is not for two threads at once.
        write_or_warn(logger, partial(getattr, logger, "experiment"))
    if trainer not in _desks:
        _desks[trainer] = _Desk()
    desk = _desks[trainer]
    if desk not in trainer.callbacks:  # type: ignore[attr-defined]
        trainer.callbacks.append(desk)  # type: ignore[attr-defined]
    desk.order(_Order(loggers, tag, make, step, time.time()))


@dataclass(frozen=True)
class _Order:
    loggers: Sequence[Any]
    tag: str
    make: Callable[[], "Figure"]
    step: int
    wall_time: float


class _Desk(Callback):
    """Where figures are ordered. A callback, because only they are told that a fit ends."""

    def __init__(self) -> None:
        # One thread: matplotlib's caches are not made for several at once.
        self._thread: ThreadPoolExecutor | None = None
        self._orders: list[tuple[_Order, Future[None]]] = []

    def order(self, order: _Order) -> None:
        self._thread = self._thread or ThreadPoolExecutor(1, thread_name_prefix="lightning_lr figures")
        self._orders.append((order, self._thread.submit(_draw, order)))

    @override
    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._finish()

    @override
    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._finish()

    def _finish(self) -> None:
        orders, self._orders = self._orders, []
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.shutdown()
        for order, done in orders:
            error = done.exception()
            if error is not None:
                rank_zero_warn(
                    f"The figure `{order.tag}` could not be drawn: {type(error).__name__}: {error}"
                )


_desks: WeakKeyDictionary[Trainer, _Desk] = WeakKeyDictionary()
# A forked process inherits what other threads have locked, of modules being imported for one, for ever.
_not_while_forking = threading.RLock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_not_while_forking.acquire,
        after_in_parent=_not_while_forking.release,
        after_in_child=_not_while_forking.release,
    )


def _takes_images(logger: Logger) -> bool:
    # Asked of the class: Lightning's DummyLogger says yes to everything.
    return isinstance(logger, TensorBoardLogger) or callable(getattr(type(logger), "log_image", None))


def _draw(order: _Order) -> None:
    with _not_while_forking:
        png, pixels = _render(order.make)
    for logger in order.loggers:
        write_or_warn(logger, partial(_write_image, logger, order, png, pixels))


def _render(make: Callable[[], "Figure"]) -> tuple[bytes, NDArray[np.uint8]]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas: Any = FigureCanvasAgg(make())
    file = io.BytesIO()
    canvas.print_png(file)
    return file.getvalue(), np.array(canvas.buffer_rgba())


def _write_image(logger: Any, order: _Order, png: bytes, pixels: NDArray[np.uint8]) -> None:
    if not isinstance(logger, TensorBoardLogger):
        logger.log_image(order.tag, [pixels], step=order.step)
        return
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    # Not `add_figure`, which goes through pyplot and decodes and encodes the image once more.
    height, width, channels = pixels.shape
    image = Summary.Image(height=height, width=width, colorspace=channels, encoded_image_string=png)
    summary = Summary(value=[Summary.Value(tag=order.tag, image=image)])
    append_events(logger, [Event(step=order.step, wall_time=order.wall_time, summary=summary)])
