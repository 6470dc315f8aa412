"""Writes what a study came to into TensorBoard and as a picture; every machine writes its own copy."""

import math
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from lightning_lr.tune.figure import results_figure
from lightning_lr.tune.results import Result, Results

__all__ = ["save_results"]


def save_results(results: Results, curves: Mapping[int, Sequence[float]], folder: Path) -> Path:
    """Write each trial as a run of TensorBoard with its HParams, and the loss over the LR.

    Args:
        results: What the study came to.
        curves: The values of the validations, by the number of the trial.
        folder: Of the study; a trial that is there already is not written again.

    Returns:
        The picture.
    """
    for trial in results.trials:
        with suppress(FileExistsError):
            # Of two workers that are here at once, one makes it.
            run = folder / f"trial_{trial.number:04}"
            run.mkdir(parents=True)
            _write_trial(run, trial, results.monitor, curves.get(trial.number, ()))
    picture = folder / "loss_over_lr.png"
    # Another worker may write it at this moment.
    draft = folder / f".{os.getpid()}.png"
    results_figure(results).savefig(draft)
    draft.replace(picture)
    _write_figure(folder, results)
    return picture


def _write_trial(run: Path, trial: Result, monitor: str, curve: Sequence[float]) -> None:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(run)) as writer:
        for step, value in enumerate(curve):
            writer.add_scalar(f"tune/{monitor}", value, step)
        settings = {"lr": trial.lr, "log10_lr": math.log10(trial.lr), "state": trial.state}
        metrics = {"tune/final": trial.value, "tune/seconds": trial.seconds}
        finite = {name: value for name, value in metrics.items() if math.isfinite(value)}
        writer.add_hparams(settings, finite, run_name=".")


def _write_figure(folder: Path, results: Results) -> None:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder)) as writer:
        writer.add_figure("tune", results_figure(results), global_step=len(results.trials))
        writer.add_text("tune", f"```\n{results.table()}\n```\n\n{results.summary()}", len(results.trials))
