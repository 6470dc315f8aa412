"""Runs scripts in processes of their own, forked from one that has imported everything.

An interpreter takes about five seconds to import torch, Lightning and TensorBoard; most of what runs apart
takes less. A fork has them at once. What may go wrong with the start itself is tested in real interpreters.
"""

import atexit
import faulthandler
import multiprocessing
import os
import random
import runpy
import signal
import sys
import tempfile
import threading
import traceback
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import forkserver
from pathlib import Path

import numpy as np

TESTS = Path(__file__).parents[1]
PRELOADED = [
    "helpers.interrupted",
    "lightning.pytorch.cli",
    "lightning.pytorch.strategies",
    "lightning_lr.preview.of_fit",
    "matplotlib.backends.backend_agg",
    "optuna.storages",
    "rich.progress",
    "sklearn.datasets",
    "sklearn.model_selection",
    "torch.distributed.fsdp",
    "torch.utils.tensorboard",
]


@dataclass(frozen=True)
class Done:
    """How a process has ended, minus the signal where one killed it, and what it said."""

    returncode: int
    stdout: str
    stderr: str


class Apart:
    """A script that runs in a process of its own."""

    def __init__(self, script, arguments, *, cwd, env, limit):
        self.limit, self.folder = limit, tempfile.TemporaryDirectory()
        self.said = [Path(self.folder.name) / name for name in ("stdout", "stderr")]
        for path in self.said:
            path.touch()
        self.process = begin(
            _be,
            (script, *map(str, arguments)),
            {"files": list(map(str, self.said)), "cwd": str(cwd), "env": env, "limit": limit},
        )

    @property
    def is_running(self):
        return self.process.is_alive()

    def send_signal(self, number):
        os.kill(self.process.pid, number)

    def finish(self):
        """Wait for the end."""
        # At its limit it has told where it is, and ended.
        self.process.join(self.limit + 30)
        self.kill()
        return Done(self.process.exitcode, *(path.read_text() for path in self.said))

    def kill(self):
        if self.is_running:
            self.process.kill()
        self.process.join()


@contextmanager
def started(script, *arguments, cwd=".", env=(), limit=120):
    """Start a script, a path, or a module, a name, as Python does; it ends with the block if not before.

    After `limit` seconds it prints where it is, and ends.
    """
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | dict(env)
    apart = Apart(script, arguments, cwd=Path(cwd).absolute(), env=environment, limit=limit)
    try:
        yield apart
    finally:
        apart.kill()
        apart.folder.cleanup()


def run(script, *arguments, **options):
    """Run a script, a path, or a module, a name, to its end."""
    with started(script, *arguments, **options) as apart:
        return apart.finish()


def begin(function, *arguments):
    """Start a process that calls a function."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    before = dict(os.environ)
    # Python 3.11 does not tell the server where to find them, and the server says nothing where it does not.
    paths = [str(TESTS), *filter(None, [before.get("PYTHONPATH")])]
    os.environ |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)}
    try:
        forkserver.ensure_running()
    finally:
        os.environ.clear()
        os.environ.update(before)
    process = context.Process(target=_call, args=(function, arguments))
    process.start()
    return process


def _call(function, arguments):
    if missing := [name for name in PRELOADED if name not in sys.modules]:
        raise ImportError(f"The server of forks could not import {missing}.")
    # Of a parent in the background it would be inherited as ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # Two interpreters would differ in these, and two forks do not.
    random.seed()
    np.random.seed()  # noqa: NPY002
    function(*arguments)


def _be(command, settings):
    for number, path in enumerate(settings["files"], start=1):
        with open(path, "w") as file:  # noqa: PTH123
            os.dup2(file.fileno(), number)
    os.environ.clear()
    os.environ.update(settings["env"])
    os.chdir(settings["cwd"])
    faulthandler.dump_traceback_later(settings["limit"], exit=True)
    # Also where the interpreter has ended already, and a thread of a library has not.
    signal.alarm(settings["limit"] + 10)
    code = _run(*command)
    # The end of an interpreter.
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    # Lightning leaves a group of gloo behind, whose threads race with the end of the interpreter.
    os._exit(code)


def _run(script, *arguments):
    """Run a script or a module as the main one, and return its exit code."""
    sys.argv[:] = [str(script), *arguments]
    try:
        if isinstance(script, Path):
            sys.path.insert(0, str(script.absolute().parent))
            runpy.run_path(str(script), run_name="__main__")
        else:
            sys.path.insert(0, str(Path.cwd()))
            runpy.run_module(script, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        sys.stderr.write(f"{end.code}\n")
        return 1
    except BaseException:  # noqa: BLE001 (told as the interpreter does)
        traceback.print_exc()
        return 1
    return 0
