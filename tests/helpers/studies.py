"""Studies of faked fits."""

import sys
import threading
from contextlib import suppress
from pathlib import Path

import optuna

from lightning_lr.tune.workers.storage import open_storage
from lightning_lr.tune.workers.study import Settings, create, find
from lightning_lr.tune.workers.trial_run import Job
from lightning_lr.tune.workers.worker import Workers

FAKED = Path(__file__).with_name("faked_fit.py")


def settings(**changes):
    defaults = {
        "low": 2.0**-10, "high": 2.0**2, "own": 2.0**-7, "monitor": "loss/val", "mode": "min", "seed": 0,
        "epochs": None, "heartbeat": 60.0, "sampler": "coarse-to-fine", "command": ["train.py"],
        "folder": "study", "first": {},
    }  # fmt: skip
    return Settings(**(defaults | changes))


def command(*options):
    # Without `site-packages`, which take a tenth of a second, the fit starts at once.
    return [sys.executable, "-S", str(FAKED), *options]


def sqlite(folder):
    return f"sqlite:///{folder / 'tune.db'}"


def workers(folder, *options, url=None, limit=5, number=1, prunes=False, **changes):
    """Return workers on the study in a folder, which is made where it is missing."""
    storage = open_storage(url or sqlite(folder))
    create("study", storage, settings(**changes))
    study, found = find("study", storage)
    job = Job(command(*options), limit, folder / "logs", prunes=prunes, number=number, patience=5.0)
    return Workers(study, found, job)


def run(*all_workers):
    """Let them work at once, each as on a machine of its own, and return the trials."""
    threads = [threading.Thread(target=each.run, args=(lambda trials: None,)) for each in all_workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return all_workers[0].trials()


def trials_in(folder, url=None):
    return optuna.load_study(study_name="study", storage=open_storage(url or sqlite(folder))).trials


def processes_in(folder, script):
    """Return the processes that work in a folder with a script."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (process / "cwd").readlink() == folder and script in (process / "cmdline").read_text():
                found.append(process.name)
    return found
