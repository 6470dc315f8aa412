"""Keeps a run going if a logger can no longer write, and says so.

A full disk or a server that does not answer must not end days of training. Lightning's own logging does end
it: what the module logs itself is not protected.
"""

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from weakref import WeakKeyDictionary

from lightning_lr.fit.lightnings import CSVLogger, Logger, TensorBoardLogger, rank_zero_info, rank_zero_warn

__all__ = ["write_or_warn", "write_to_tensorboard"]

_FIRST_PAUSE_S = 60.0
_LOST = "learning rates, losses, decisions and figures are missing there"


@dataclass
class _Outage:
    pause_s: float = _FIRST_PAUSE_S
    until: float = 0.0


_outages: WeakKeyDictionary[Logger, _Outage] = WeakKeyDictionary()


def write_or_warn(logger: Logger, write: Callable[[], object]) -> bool:
    """Call `write` for a logger, or go on without it after an `OSError`; for the rank that logs.

    A full disk, a lost network drive and a broken connection raise `OSError`; other errors are raised. A log
    folder that was deleted is made again. Only the first failure is reported. The logger then pauses for a
    minute, and for twice as long after each further failure; what would have been written meanwhile is lost.

    Returns:
        Whether it was written.

    Example:
        >>> from lightning.pytorch.loggers import CSVLogger
        >>> logger = CSVLogger("logs")
        >>> write_or_warn(logger, lambda: print("written"))
        written
        True
    """
    outage = _outages.get(logger)
    if outage is not None and time.monotonic() < outage.until:
        return False
    try:
        try:
            write()
        except FileNotFoundError:
            if not _makes_folder_again(logger):
                raise
            write()
    except OSError as error:
        _pause(logger, error)
        return False
    if outage is not None:
        del _outages[logger]
        rank_zero_info(f"{type(logger).__name__} writes again.")
    return True


def write_to_tensorboard(loggers: Iterable[Logger], write: Callable[[TensorBoardLogger], object]) -> bool:
    """Call `write` for every TensorBoardLogger and return whether all have written; see `write_or_warn`."""
    ours = [logger for logger in loggers if isinstance(logger, TensorBoardLogger)]
    # A list: one that cannot write must not keep the others from it.
    return False not in [write_or_warn(logger, partial(write, logger)) for logger in ours]


def _makes_folder_again(logger: Logger) -> bool:
    """Make the deleted folder of a logger again and say so; return whether it has one."""
    if not isinstance(logger, TensorBoardLogger | CSVLogger):
        return False
    Path(logger.log_dir).mkdir(parents=True, exist_ok=True)
    _open_anew(logger)
    rank_zero_warn(
        f"The log folder {logger.log_dir} was deleted while {type(logger).__name__} writes to it. It is made"
        " again, and what comes from here on goes there; what it held is lost."
    )
    return True


def _open_anew(logger: Logger) -> None:
    """Let the next point open a new file: a writer of TensorBoard that has failed only repeats its error."""
    if isinstance(logger, TensorBoardLogger):
        with suppress(OSError):  # If it could not be opened, there is none.
            writer = logger.experiment
            writer.file_writer = writer.all_writers = None


def _pause(logger: Logger, error: OSError) -> None:
    outage = _outages.setdefault(logger, _Outage())
    if not outage.until:
        rank_zero_warn(
            f"{type(logger).__name__} cannot write: {type(error).__name__}: {error}. The training goes on,"
            f" but {_LOST} until it can. Free the disk or restore the connection: the next attempt is in a"
            " minute, later ones are further apart."
        )
    outage.until = time.monotonic() + outage.pause_s
    outage.pause_s *= 2
    _open_anew(logger)
