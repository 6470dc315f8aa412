"""Show the learning rates of a run without training it.

Put `-m lightning_lr.preview` between `python` and the training command:

    python -m lightning_lr.preview train.py fit --config run.yaml --png plan.png

The script, with or without LightningCLI, runs up to its first `Trainer.fit`; then the plan is shown and the
script ends. No step is made, and no log or checkpoint is written. A config with `class_path` for model and
data needs no script:

    python -m lightning_lr.preview --config run.yaml --trainer.max_epochs=5
"""

import argparse
import logging
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from inspect import signature
from pathlib import Path
from types import ModuleType
from typing import Any

from lightning_lr.command import check_files, run_config, run_script
from lightning_lr.fit.lightnings import (
    MisconfigurationException,
    each_lightning,
    misconfigurations,
)
from lightning_lr.preview.of_fit import preview_of_fit
from lightning_lr.preview.planned import Preview


def main(arguments: Sequence[str] | None = None) -> None:
    """Show the plan of the run that the arguments would start."""
    parser = argparse.ArgumentParser(
        prog="python -m lightning_lr.preview",
        usage="%(prog)s [--png PLAN.PNG] [SCRIPT.py ARGUMENTS... | --config RUN.YAML OVERRIDES...]",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--png", type=Path, metavar="PLAN.PNG", help="also save the plan as a figure")
    options, command = parser.parse_known_args(arguments)
    if not command:
        parser.error("Give the script that trains with its arguments, or `--config RUN.YAML`.")
    try:
        planned = _plan_of(command)
    except misconfigurations() as error:
        parser.exit(1, f"{parser.prog}: {' '.join(str(error).split())}\n")
    sys.stdout.write(f"{planned.preview}\n")
    if planned.checkpoint is not None:
        sys.stdout.write(
            f"\nThe fit resumes from {planned.checkpoint}; this is the plan of a run from the start.\n"
        )
    if options.png is not None:
        try:
            planned.preview.save_png(options.png)
        except OSError as error:
            parser.exit(1, f"{parser.prog}: The figure could not be saved: {error}\n")
        sys.stdout.write(f"\nThe figure is in {options.png}.\n")


class _Planned(BaseException):
    """Ends the script before training; a script's own `except Exception` must not catch it."""

    def __init__(self, preview: Preview, checkpoint: str | Path | None) -> None:
        super().__init__()
        self.preview = preview
        self.checkpoint = checkpoint


def _plan_of(command: list[str]) -> _Planned:
    script = None if command[0].startswith("-") else Path(command[0])
    check_files(script, command)
    try:
        with _shown_instead_of_fit():
            if script is None:
                run_config(command, program="python -m lightning_lr.preview")
            else:
                run_script(script, command[1:])
    except _Planned as planned:
        return planned
    raise MisconfigurationException(
        "The script ended without calling `Trainer.fit`. A script with LightningCLI needs its subcommand:"
        " `train.py fit --config run.yaml`."
    )


@contextmanager
def _shown_instead_of_fit() -> Iterator[None]:
    """Replace the first `Trainer.fit` by one that only reads the plan.

    The patched process is the preview's own, and no public hook runs before the log folder is created.
    """
    fits: dict[Any, Callable[..., None]] = {}

    def restore() -> None:
        for kind, fit in fits.items():
            kind.fit = fit

    def replace(lightning: ModuleType) -> None:
        fit = fits[lightning.Trainer] = lightning.Trainer.fit

        @wraps(fit)
        def show(*args: Any, **kwargs: Any) -> None:
            restore()
            given = signature(fit).bind(*args, **kwargs).arguments
            preview = preview_of_fit(
                given["self"], given["model"], given.get("train_dataloaders"), given.get("datamodule")
            )
            raise _Planned(preview, given.get("ckpt_path"))

        lightning.Trainer.fit = show

    with each_lightning(replace):
        try:
            yield
        finally:
            restore()


def _be_quiet(lightning: ModuleType) -> None:
    """Silence Lightning's messages about hardware and loaders, since nothing is trained."""
    raised = lightning.utilities.exceptions.MisconfigurationException
    fabric = raised.__module__.removesuffix(".utilities.exceptions")
    for package in (lightning.__name__, fabric):
        logging.getLogger(package).setLevel(logging.WARNING)


def _ignore_advice() -> None:
    warnings.filterwarnings("ignore", "The '.*_dataloader' does not have many workers", UserWarning)
    # Lightning 2.6 uses a name that torch 2.13 deprecates.
    warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated", FutureWarning)


if __name__ == "__main__":
    _ignore_advice()
    with each_lightning(_be_quiet):
        main()
