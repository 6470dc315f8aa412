"""Runs the command that trains, for `preview` and `tune`, which stand between `python` and it."""

import runpy
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, suppress
from importlib import import_module
from io import StringIO
from itertools import pairwise
from pathlib import Path
from pkgutil import resolve_name

import yaml

from lightning_lr.fit.lightnings import MisconfigurationException, installed, lightning_of

__all__ = ["check_files", "run_config", "run_script"]

_NO_SCRIPT = (
    "Without a script, `model` and `data` need a `class_path`; if a script fixes the classes, as"
    " `LightningCLI(MyModel, ...)` does, put it first: `{program} train.py fit --config run.yaml`."
)


def check_files(script: Path | None, command: Sequence[str]) -> None:
    """Report a missing file in one line; the parsers would print all their options.

    Raises:
        MisconfigurationException: The script or a config is not there.
    """
    # LightningCLI also accepts YAML as text, and another parser may accept anything.
    files = [Path(each) for each in _given(command, "--config", "-c") if each.endswith((".yaml", ".yml"))]
    for path in [*([script] if script else []), *files]:
        if not path.is_file():
            raise MisconfigurationException(f"There is no file `{path}`.")


def run_script(script: Path, arguments: Sequence[str]) -> None:
    """Run a script as `python script arguments` does."""
    sys.argv = [str(script), *arguments]
    sys.path.insert(0, str(script.parent))
    runpy.run_path(str(script), run_name="__main__")


def run_config(arguments: Sequence[str], *, program: str) -> None:
    """Fit what a config names by `class_path`, with LightningCLI.

    Raises:
        MisconfigurationException: The config is not one.
    """
    # Imported here because LightningCLI needs jsonargparse, and a script may not.
    cli = import_module(f"{_lightning_of_model(arguments)}.cli")

    sys.argv = [program, "fit", *arguments]
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
        hint = _NO_SCRIPT.format(program=program) if no_class else ""
        raise MisconfigurationException(f"{hint} {problem}") from refusal
    finally:
        sys.stderr.write(told.getvalue())


def _given(command: Sequence[str], *options: str) -> list[str]:
    """Return the values of options, as `--config FILE` and `--config=FILE`."""
    values = [value for option, value in pairwise(command) if option in options]
    return values + [
        each.partition("=")[2] for each in command if each.partition("=")[0] in options and "=" in each
    ]


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


if __name__ == "__main__":
    # Lightning starts the other ranks with the arguments that are in `sys.argv`, `fit` included.
    given = sys.argv[1:]
    run_config(given[1:] if given[:1] == ["fit"] else given, program="python -m lightning_lr.command")
