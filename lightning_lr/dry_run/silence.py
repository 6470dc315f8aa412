"""Puts off what handlers of SIGUSR1 and SIGUSR2 do: they save checkpoints, of whatever the weights are then.

Lightning's handler for jobs that SLURM puts back into the queue is one of them.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["deferred_signals"]

# Windows has none of them.
_NUMBERS = [getattr(signal, name) for name in ("SIGUSR1", "SIGUSR2") if hasattr(signal, name)]


@contextmanager
def deferred_signals() -> Iterator[None]:
    """Note these signals while the context lasts, and let their handlers run once when it is left.

    Only the main thread may change handlers; in another one this does nothing.
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
