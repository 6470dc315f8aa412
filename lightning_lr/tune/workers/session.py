"""A session of workers at the console: the bar over trials, signals, and what is said at the end."""

import argparse
import os
import shlex
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from tqdm import tqdm

from lightning_lr.tune.apply import apply_to
from lightning_lr.tune.options import join_options
from lightning_lr.tune.report import save_results
from lightning_lr.tune.workers.process import command_line
from lightning_lr.tune.workers.storage import shown
from lightning_lr.tune.workers.study import FINISHED, Settings, results_of
from lightning_lr.tune.workers.trial_run import Job
from lightning_lr.tune.workers.worker import ScriptFailed, Workers

__all__ = ["work"]

_PROGRAM = "python -m lightning_lr.tune"


def work(study: Study, settings: Settings, options: argparse.Namespace) -> int:
    """Make trials until the study has as many as were asked for, say what came out, and return the code."""
    job = Job(
        command=command_line(options.command),
        limit=options.trials,
        logs=options.logs,
        # Optuna's GP sampler learns nothing from a run that was ended early, and proposes its LR once more.
        prunes=settings.sampler != "gp" if options.prune is None else options.prune,
        number=options.workers,
        devices=_devices() if options.workers > 1 else (),
    )
    workers = Workers(study, settings, job)
    try:
        with (
            _signals(workers) as received,
            tqdm(total=options.trials, unit="trial", dynamic_ncols=True) as bar,
        ):
            workers.run(lambda trials: _show(bar, trials, settings))
    except ScriptFailed as failure:
        sys.stderr.write(
            f"{failure}\n{_PROGRAM}: The command has failed twice in this way, so tuning ends.\n"
        )
        return 1
    except ConnectionError as error:
        sys.stderr.write(f"{_PROGRAM}: {error}\n{_how_to_go_on(options)}\n")
        return 1
    finally:
        for note in workers.notes:
            sys.stderr.write(f"{note}\n")
    trials = workers.trials()
    if received:
        finished = sum(trial.state in FINISHED for trial in trials)
        sys.stdout.write(
            f"Stopped: {finished} of {options.trials} trials have finished. {_how_to_go_on(options)}\n"
        )
        return 128 + received[0]
    _conclude(trials, settings, options)
    return 0


def _conclude(trials: Sequence[FrozenTrial], settings: Settings, options: argparse.Namespace) -> None:
    results = results_of(trials, settings)
    lines = ["", results.table(), "", results.summary()]
    curves = {
        each.number: [each.intermediate_values[at] for at in sorted(each.intermediate_values)]
        for each in trials
    }
    picture = save_results(results, curves, options.logs / settings.folder)
    if results.best is not None:
        lines += _how_to_train(results.best.lr, settings, options)
    lines += [
        f"The loss over the LR: {picture}",
        f"Curves: tensorboard --logdir {shlex.quote(str(picture.parent))}",
        f"All trials in a browser: optuna-dashboard {shlex.quote(shown(options.storage))}",
        f"More trials: {_command(options, trials=2 * options.trials)}",
    ]
    sys.stdout.write("\n".join(lines) + "\n")


def _how_to_train(lr: float, settings: Settings, options: argparse.Namespace) -> list[str]:
    epochs = [] if settings.epochs is None else ["--epochs", str(settings.epochs)]
    lines = [f"To train with it: {_PROGRAM} --lr {lr:.6g} {shlex.join([*epochs, *options.command])}"]
    if options.apply is not None:
        copy, keys = apply_to(options.apply, old=settings.own, new=lr)
        lines.append(f"With it in {', '.join(keys)}: {copy}")
        if "LRRangeTest" in (text := copy.read_text(encoding="utf-8")) or "LRSearch" in text:
            lines.append(
                "Take LRRangeTest or LRSearch out of its callbacks, or another LR is found at fit start."
            )
    return lines


def _how_to_go_on(options: argparse.Namespace) -> str:
    return f"To go on: {_command(options, trials=options.trials)}"


def _command(options: argparse.Namespace, *, trials: int) -> str:
    ours = join_options(options, trials=trials, storage=shown(options.storage))
    return f"{_PROGRAM} {shlex.join([*ours, *options.command])}"


def _show(bar: "tqdm[Any]", trials: Sequence[FrozenTrial], settings: Settings) -> None:
    results = results_of(trials, settings)
    running = sum(trial.state == TrialState.RUNNING for trial in trials)
    best = results.best
    told = f"best LR {best.lr:.3g}, {settings.monitor} {best.value:.4g}, " if best else ""
    count, text = min(len(results.trials), int(bar.total)), f"{told}{running} running"
    # Where the output is a file, only what is new.
    if (bar.n, bar.postfix) != (count, text) or sys.stderr.isatty():
        bar.n = count
        bar.set_postfix_str(text)


@contextmanager
def _signals(workers: Workers) -> Iterator[list[int]]:
    """End the trials by Ctrl-C or SIGTERM, in place of this process; yields the signals that came."""
    received: list[int] = []

    def stop(number: int, _: object) -> None:
        received.append(number)
        workers.stopping.set()

    old = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def _devices() -> list[str]:
    """Return the GPUs that this process may use; none is touched."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    return given.split(",") if given else [str(index) for index in range(torch.cuda.device_count())]
