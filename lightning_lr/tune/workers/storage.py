"""Opens the storage of a study: a database or a journal file."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from optuna.exceptions import OptunaError, StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, IntegrityError, SQLAlchemyError

from lightning_lr.fit.lightnings import MisconfigurationException

__all__ = ["open_storage", "patiently", "shown"]

Returned = TypeVar("Returned")

# They take `connect_timeout`, in seconds.
_DRIVERS = {"psycopg", "psycopg2", "pymysql", "mysqldb", "mariadbconnector"}
_HELP = (
    "--storage takes an SQLAlchemy URL: sqlite:///FOLDER/FILE.db (the folder must exist),"
    " mysql+pymysql://USER:PASSWORD@HOST/DATABASE or postgresql+psycopg://USER:PASSWORD@HOST/DATABASE; for"
    " these the server must be up, the database exist and the driver be installed (pip install pymysql, pip"
    " install 'psycopg[binary]'). For a network drive it takes a journal file, FOLDER/FILE.journal."
)


def open_storage(url: str) -> BaseStorage:
    """Open a storage, and make its tables if it has none.

    Raises:
        MisconfigurationException: It cannot be opened, and what to do.
    """
    try:
        if "://" not in url and url.endswith(".journal"):
            if not Path(url).absolute().parent.is_dir():
                raise FileNotFoundError(f"there is no folder `{Path(url).parent}`")
            return JournalStorage(JournalFileBackend(url))
        return _database(url)
    except (SQLAlchemyError, OptunaError, ImportError, RuntimeError, ValueError, OSError) as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        raise MisconfigurationException(
            f"The storage {shown(url)} cannot be opened: {reason}\n{_HELP}"
        ) from error


def _database(url: str, *, attempts: int = 5) -> RDBStorage:
    try:
        storage = RDBStorage(url, engine_kwargs=_engine_arguments(url))
    except SQLAlchemyError as error:
        made_by_another = isinstance(error, IntegrityError) or "already exists" in str(error)
        if attempts == 1 or not made_by_another:
            raise
    else:
        with storage.engine.begin() as connection:
            # Of no row: only to see before the first trial whether it may be written to.
            connection.execute(text("UPDATE studies SET study_name = study_name WHERE 1 = 0"))
        return storage
    time.sleep(1)  # Another worker is making the tables at this very moment.
    return _database(url, attempts=attempts - 1)


def _engine_arguments(url: str) -> dict[str, Any]:
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        # It has one writer at a time: let the others wait for longer than the default of 5 seconds.
        return {"connect_args": {"timeout": 60}}
    # Some wait for minutes by default, for a host that does not answer.
    waits = parsed.get_driver_name() in _DRIVERS and "connect_timeout" not in parsed.query
    return {"pool_pre_ping": True, "connect_args": {"connect_timeout": 10} if waits else {}}


def shown(url: str) -> str:
    """Return the URL without its password.

    Example:
        >>> shown("postgresql+psycopg://me:secret@host/database")
        'postgresql+psycopg://me:***@host/database'
    """
    try:
        return make_url(url).render_as_string(hide_password=True)
    except (ArgumentError, ValueError):
        return url if "@" not in url else f"{url.partition('://')[0]}://***"


def patiently(call: Callable[[], Returned], *, seconds: float) -> Returned:
    """Return what a call to the storage returns; while the storage is away, try again for so many seconds.

    Raises:
        ConnectionError: It has been away for too long.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            return call()
        except (SQLAlchemyError, StorageInternalError, OSError) as error:
            if time.monotonic() > deadline:
                reason = str(error.__cause__ or error).splitlines()[0]
                raise ConnectionError(f"The storage has been away for {seconds:g} s: {reason}") from error
        time.sleep(min(1.0, seconds / 10))
