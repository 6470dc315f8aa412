"""Runs the command that trains, for `preview` and `tune`, which stand between `python` and it."""

import runpy
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr
from io import StringIO
from itertools import pairwise
from pathlib import Path

from lightning.fabric.utilities.exceptions import MisconfigurationException

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
    configs = [value for option, value in pairwise(command) if option in {"--config", "-c"}]
    configs += [each.removeprefix("--config=") for each in command if each.startswith("--config=")]
    # LightningCLI also accepts YAML as text, and another parser may accept anything.
    files = [Path(each) for each in configs if each.endswith((".yaml", ".yml"))]
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
    from lightning.pytorch.cli import LightningCLI  # noqa: PLC0415

    sys.argv = [program, "fit", *arguments]
    told = StringIO()
    try:
        with redirect_stderr(told):
            LightningCLI(save_config_callback=None)
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


if __name__ == "__main__":
    # Lightning starts the other ranks with the arguments that are in `sys.argv`, `fit` included.
    given = sys.argv[1:]
    run_config(given[1:] if given[:1] == ["fit"] else given, program="python -m lightning_lr.command")
