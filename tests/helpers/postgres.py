"""A PostgreSQL server of its own, where Debian's package is installed."""

import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

LIMIT = 60  # seconds


def programs():
    """Return the folder of `initdb` and `pg_ctl`, or None."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    found = [folder for folder in folders if (folder / "initdb").exists()]
    return found[0] if found else None


@contextmanager
def server():
    """Start a server on a socket in a folder, and yield its URL and a function that kills and restarts it."""
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    # It refuses to be run by root.
    user = "postgres" if os.geteuid() == 0 else None
    if user:
        shutil.chown(folder, user, user)

    def call(name, *arguments):
        command = [str(programs() / name), "-D", str(folder / "data"), *arguments]
        subprocess.run(command, user=user, cwd=folder, check=True, timeout=LIMIT, stdout=subprocess.DEVNULL)

    def start():
        options = f"-k {folder} -c listen_addresses='' -c fsync=off -c max_connections=50"
        call("pg_ctl", "-w", "-l", str(folder / "log"), "-o", options, "start")

    def restart():
        call("pg_ctl", "-w", "-m", "immediate", "stop")
        start()

    try:
        call("initdb", "-A", "trust", "-U", "postgres", "--no-sync")
        start()
        try:
            yield f"postgresql+psycopg://postgres@/postgres?host={folder}", restart
        finally:
            call("pg_ctl", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
