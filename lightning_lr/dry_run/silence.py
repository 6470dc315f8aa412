"""Keeps quiet, during a dry run, what would listen to its steps: callbacks, loggers, `log` and signals."""

import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.loggers.logger import DummyLogger
from lightning.pytorch.profilers import PassThroughProfiler

__all__ = ["deferred_signals", "mute"]

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


def mute(stack: ExitStack, trainer: Trainer, pl_module: LightningModule) -> None:
    """Silence whatever listens to steps, and undo that when the stack is closed."""
    replacements = {
        "callbacks": [],
        "loggers": [DummyLogger()] if trainer.loggers else [],
        "profiler": PassThroughProfiler(),
        "should_stop": trainer.should_stop,
    }
    for name, replacement in replacements.items():
        stack.callback(setattr, trainer, name, getattr(trainer, name))
        setattr(trainer, name, replacement)
    for name in ("log", "log_dict"):
        stack.callback(vars(pl_module).pop, name)
        # An attribute of the instance hides the method of the class.
        vars(pl_module)[name] = _ignore


def _ignore(*args: Any, **kwargs: Any) -> None:
    pass
