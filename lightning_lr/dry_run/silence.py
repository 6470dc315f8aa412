"""Keeps quiet, during a dry run, what would listen to its steps: callbacks, loggers, `log` and signals."""

import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor

from lightning_lr.dry_run.snapshot.restores import refill
from lightning_lr.dry_run.trackers import ignoring
from lightning_lr.fit.internals import callback_metrics_of
from lightning_lr.fit.lightnings import Callback, LightningModule, Logger, Trainer, lightning_of
from lightning_lr.fit.neighbors import callbacks_of
from lightning_lr.fit.run_length import accumulation

__all__ = ["deferred_signals", "mute", "uninterrupted"]

# The methods of callbacks and loggers that do something, by how their names begin.
_SILENCED = ("on_", "log_", "setup", "teardown", "save", "finalize", "after_save_checkpoint")
# Windows has none of them.
_NUMBERS = [getattr(signal, name) for name in ("SIGUSR1", "SIGUSR2") if hasattr(signal, name)]


@contextmanager
def deferred_signals() -> Iterator[None]:
    """Note SIGUSR1 and SIGUSR2 while the context lasts, and let their handlers run once when it is left.

    These save checkpoints, of whatever the weights are then; Lightning's handler for jobs that SLURM puts
    back into the queue is one of them. Only the main thread may change handlers; elsewhere this does nothing.
    """
    numbers = _NUMBERS if threading.current_thread() is threading.main_thread() else []
    handlers = {number: handler for number in numbers if callable(handler := signal.getsignal(number))}
    came: dict[int, None] = {}
    for number in handlers:
        signal.signal(number, lambda number, _: came.setdefault(number))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for number in came:
            signal.raise_signal(number)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Put off Ctrl-C while the context lasts, however often it comes, and let it act once when it is left."""
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or handler is None:
        yield
        return
    came: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if came:
            signal.raise_signal(signal.SIGINT)


def mute(stack: ExitStack, trainer: Trainer, pl_module: LightningModule) -> None:
    """Silence whatever listens to steps, and undo that when the stack is closed.

    Steps can still look at callbacks, loggers and what they have logged, as in training.
    """
    batches = accumulation(trainer)
    epoch = trainer.current_epoch
    replacements = {
        "callbacks": [silent for each in callbacks_of(trainer, Callback) if (silent := _silenced(each))],
        "loggers": [silent for each in trainer.loggers if (silent := _silenced(each))],
        "profiler": lightning_of(trainer).profilers.PassThroughProfiler(),
        "should_stop": trainer.should_stop,
        # GradientAccumulationScheduler sets it when the epoch starts.
        "accumulate_grad_batches": batches[max(start for start in batches if start <= epoch)],
    }
    for name, replacement in replacements.items():
        stack.callback(setattr, trainer, name, getattr(trainer, name))
        setattr(trainer, name, replacement)
    stack.enter_context(_figures_closed())
    metrics = callback_metrics_of(trainer)
    stack.callback(refill, metrics, dict(metrics))

    def log(name: str, value: Any, *_: Any, **__: Any) -> None:
        if isinstance(value, Tensor | int | float):
            metrics[name] = torch.as_tensor(value).detach()

    def log_dict(dictionary: Mapping[str, Any], *_: Any, **__: Any) -> None:
        for name, value in dictionary.items():
            log(name, value)

    for name, function in (("log", log), ("log_dict", log_dict)):
        stack.callback(vars(pl_module).pop, name, None)
        # An attribute of the instance hides the method of the class.
        vars(pl_module)[name] = function


@contextmanager
def _figures_closed() -> Iterator[None]:
    """Close what figures of pyplot were opened meanwhile: no logger has got them, which would have."""
    before = _open_figures()
    try:
        yield
    finally:
        for number in _open_figures() - before:
            sys.modules["matplotlib.pyplot"].close(number)


def _open_figures() -> set[int]:
    # Whoever opens one has imported it.
    pyplot = sys.modules.get("matplotlib.pyplot")
    return set() if pyplot is None else set(pyplot.get_fignums())


def _silenced(listener: Callback | Logger) -> Any:
    """Return an object with the class and the attributes of a callback or logger that does nothing.

    None if its class cannot be extended.
    """
    kind: Any = type(listener)

    def look_up(silent: Any, name: str) -> Any:
        # Also what an instance has in the place of a method of its class.
        if name == "experiment" and isinstance(listener, Logger):
            return _Silent(listener)
        value = kind.__getattribute__(silent, name)
        return _ignore if name.startswith(_SILENCED) and callable(value) else value

    members = {"__getattribute__": look_up, "__module__": kind.__module__, "__qualname__": kind.__qualname__}
    try:
        silent: Any = object.__new__(type(kind.__name__, (kind,), members))
        silent.__dict__ = listener.__dict__
    except TypeError:
        return None
    return silent


class _Silent:
    """The experiment of a logger, whose values can be read and whose methods do nothing."""

    def __init__(self, logger: Logger) -> None:
        self._logger = logger

    def __getattr__(self, name: str) -> Any:
        value = getattr(vars(self)["_logger"].experiment, name)
        return ignoring(name) if callable(value) else value


def _ignore(*args: Any, **kwargs: Any) -> None:
    pass
