"""Joins the study, or looks at the fit and creates it: whatever is wrong is said before the first trial."""

import argparse
import math
import os
import sys
from pathlib import Path

from optuna.study import Study

from lightning_lr.fit.lightnings import MisconfigurationException
from lightning_lr.tune.trial.spec import Spec
from lightning_lr.tune.workers.process import TrialProcess, command_line
from lightning_lr.tune.workers.storage import open_storage
from lightning_lr.tune.workers.study import Settings, create, find

__all__ = ["join_or_create"]

# How far around an LR that a test found to look: further than it has ever been off in the finders' benchmark.
_REACH = 64.0
_POLL = 0.2


def join_or_create(options: argparse.Namespace) -> tuple[Study, Settings]:
    """Return the study that the options name, and what it is of.

    Raises:
        MisconfigurationException: The command, the storage or the study is not one to tune with, and why.
    """
    command_line(options.command)
    try:
        options.logs.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MisconfigurationException(f"The folder of --logs cannot be made: {error}") from error
    storage = open_storage(options.storage)
    found = find(options.study, storage)
    if found is None:
        create(options.study, storage, _look(options))
        found = find(options.study, storage)
    if found is None:
        raise MisconfigurationException(f"The study {options.study} was deleted as it was created.")
    names = ("low", "high", "monitor", "mode", "seed", "epochs", "heartbeat", "sampler", "command")
    found[1].check({name: getattr(options, name) for name in names}, options.study)
    return found


def _look(options: argparse.Namespace) -> Settings:
    """Run the command up to its first step, and return the settings of a study of it."""
    seed = options.seed or 0
    spec = Spec(task="look", seed=seed, epochs=options.epochs, monitor=options.monitor or "")
    sys.stderr.write("Looking at the fit: its LR, what LRRangeTest finds, what it validates ...\n")
    log = options.logs / f"{options.study}.look.{os.getpid()}.log"
    process = TrialProcess(command_line(options.command), spec, log, lambda *_: True)
    try:
        while not process.wait(_POLL):
            if process.has_said_its_last:
                process.wait(10.0)
                break
    finally:
        process.close()
    if "seen" not in process.told:
        said = process.told.get("failed", {}).get("traceback") or process.error
        raise MisconfigurationException(f"{said.rstrip()}\nThe whole output is in {log}.")
    log.unlink()
    seen = process.told["seen"]
    low, high = _range(options, seen["found"], seen["own"])
    first = _first(low, high, seen["found"], seen["own"])
    _tell(seen["found"], seen["reason"], seen["own"], low, high)
    if options.monitor is None and seen["monitor"] == "loss/train":
        sys.stdout.write(
            "This fit validates nothing, so LRs are judged by the training loss: its mean over the last tenth"
            " of the run.\n"
        )
    return Settings(
        low=low,
        high=high,
        own=seen["own"],
        monitor=seen["monitor"],
        mode=options.mode or "min",
        seed=seed,
        epochs=options.epochs,
        heartbeat=options.heartbeat or 60.0,
        sampler=options.sampler or "coarse-to-fine",
        command=options.command,
        folder=_free_folder(options.logs, options.study),
        first=first,
    )


def _range(options: argparse.Namespace, found: float | None, own: float) -> tuple[float, float]:
    """Return between which LRs to look: around what LRRangeTest has found, the user's own included."""
    center = own if found is None else found
    low = options.low or min(center / _REACH, own)
    high = options.high or max(center * _REACH, own)
    if not low < high:
        missing = "--high" if options.high is None else "--low"
        raise MisconfigurationException(
            f"The range would be {low:.3g} to {high:.3g}, around the LR {center:.3g}: give {missing} too."
        )
    return low, high


def _first(low: float, high: float, found: float | None, own: float) -> dict[str, float]:
    first = {} if found is None else {"LRRangeTest": found}
    # Half an octave apart they would hardly differ.
    if found is None or abs(math.log2(own / found)) > 0.5:
        first["the optimizer's own"] = own
    return {role: lr for role, lr in first.items() if low <= lr <= high}


def _tell(found: float | None, reason: str, own: float, low: float, high: float) -> None:
    told = f"LRRangeTest finds {found:.3g}" if found else f"LRRangeTest finds no LR ({reason})"
    sys.stdout.write(f"{told}; the optimizer's own is {own:.3g}. Tuning between {low:.2g} and {high:.2g}.\n")


def _free_folder(logs: Path, study: str) -> str:
    """Return a folder for the trials that no other study of that name has had."""
    name, number = study, 1
    while (logs / name).exists():
        number += 1
        name = f"{study}-{number}"
    return name
