"""What becomes of a run whose logger cannot write any more: it goes on, and says so.

A full disk or a server that does not answer must not end a training of days. Lightning's own logging does end
it, so what the module logs itself is not spared.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from lightning.pytorch.loggers import Logger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

__all__ = ["write_or_warn"]

_FIRST_PAUSE_S = 60.0
_LOST = "learning rates, losses, decisions and figures are missing there"


@dataclass
class _Outage:
    pause_s: float = _FIRST_PAUSE_S
    until: float = 0.0


_outages: WeakKeyDictionary[Logger, _Outage] = WeakKeyDictionary()


def write_or_warn(logger: Logger, write: Callable[[], object]) -> None:
    """Write something to a logger, or go on without it where there is an `OSError`.

    That is what a full disk, a lost network drive and a connection give; anything else is raised. The first
    failure is told. After it nothing is written for a minute, then for twice as long after each other
    failure; what falls into that time is lost.

    Args:
        logger: On the rank that logs.
        write: Does it.

    Example:
        >>> from lightning.pytorch.loggers import CSVLogger
        >>> logger = CSVLogger("logs")
        >>> write_or_warn(logger, lambda: print("written"))
        written
    """
    outage = _outages.get(logger)
    if outage is not None and time.monotonic() < outage.until:
        return
    try:
        write()
    except OSError as error:
        _pause(logger, error)
        return
    if outage is not None:
        del _outages[logger]
        rank_zero_info(f"{type(logger).__name__} writes again.")


def _pause(logger: Logger, error: OSError) -> None:
    outage = _outages.setdefault(logger, _Outage())
    if not outage.until:
        rank_zero_warn(
            f"{type(logger).__name__} cannot write: {type(error).__name__}: {error}. The training goes on,"
            f" but {_LOST} until it can. Free the disk or mend the connection: it is tried again after a"
            " minute, then ever more rarely."
        )
    outage.until = time.monotonic() + outage.pause_s
    outage.pause_s *= 2
    if isinstance(logger, TensorBoardLogger):
        # A writer that has failed once only repeats its error. Without it, the next point opens a new file.
        with suppress(OSError):  # What could not be opened is not there.
            writer = logger.experiment
            writer.file_writer = writer.all_writers = None
