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
import runpy
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, suppress
from functools import wraps
from importlib import import_module
from inspect import signature
from io import StringIO
from itertools import pairwise
from pathlib import Path
from pkgutil import resolve_name
from types import ModuleType
from typing import Any

import yaml

from lightning_lr.fit.lightnings import (
    MisconfigurationException,
    each_lightning,
    installed,
    lightning_of,
    misconfigurations,
)
from lightning_lr.preview.of_fit import preview_of_fit
from lightning_lr.preview.planned import Preview

_NO_SCRIPT = (
    "Without a script, `model` and `data` need a `class_path`; if a script fixes the classes, as"
    " `LightningCLI(MyModel, ...)` does, put it first: `python -m lightning_lr.preview train.py fit --config"
    " run.yaml`."
)


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
    _check_files(script, command)
    try:
        with _shown_instead_of_fit():
            if script is None:
                _run_cli(command)
            else:
                _run_script(script, command[1:])
    except _Planned as planned:
        return planned
    raise MisconfigurationException(
        "The script ended without calling `Trainer.fit`. A script with LightningCLI needs its subcommand:"
        " `train.py fit --config run.yaml`."
    )


def _check_files(script: Path | None, command: Sequence[str]) -> None:
    """Report a missing file in one line; the parsers would print all their options."""
    # LightningCLI also accepts YAML as text, and another parser may accept anything.
    files = [Path(each) for each in _given(command, "--config", "-c") if each.endswith((".yaml", ".yml"))]
    for path in [*([script] if script else []), *files]:
        if not path.is_file():
            raise MisconfigurationException(f"There is no file `{path}`.")


def _given(command: Sequence[str], *options: str) -> list[str]:
    """Return the values of options, as `--config FILE` and `--config=FILE`."""
    values = [value for option, value in pairwise(command) if option in options]
    return values + [
        each.partition("=")[2] for each in command if each.partition("=")[0] in options and "=" in each
    ]


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


def _run_script(script: Path, arguments: list[str]) -> None:
    sys.argv = [str(script), *arguments]
    sys.path.insert(0, str(script.parent))
    runpy.run_path(str(script), run_name="__main__")


def _run_cli(arguments: list[str]) -> None:
    # Imported here because LightningCLI needs jsonargparse, and a script may not.
    cli = import_module(f"{_lightning_of_model(arguments)}.cli")

    sys.argv = ["python -m lightning_lr.preview", "fit", *arguments]
    told = StringIO()
    try:
        with redirect_stderr(told):
            cli.LightningCLI(save_config_callback=None)
    except SystemExit as refusal:
        if not refusal.code:
            raise
        problem = told.getvalue().rpartition("error:")[2]
        told = StringIO()
        no_class = any(f'key "{section}"' in problem for section in ("model", "data"))
        raise MisconfigurationException(f"{_NO_SCRIPT if no_class else ''} {problem}") from refusal
    finally:
        sys.stderr.write(told.getvalue())


def _lightning_of_model(arguments: Sequence[str]) -> str:
    """Return the name of the Lightning that the model in the config is made for."""
    paths = _given(arguments, "--model", "--model.class_path")
    for config in _given(arguments, "--config", "-c"):
        # What is not there or not of that form is for LightningCLI to tell.
        with suppress(OSError, yaml.YAMLError, KeyError, TypeError):
            paths.append(yaml.safe_load(Path(config).read_text(encoding="utf-8"))["model"]["class_path"])
    for path in paths:
        with suppress(ImportError, AttributeError, ValueError):
            return lightning_of(resolve_name(path)).__name__
    return installed()[0]


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
