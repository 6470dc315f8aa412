"""The processes of one trial, and what they have told."""

import os
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from lightning_lr.command import check_files
from lightning_lr.tune.trial import start
from lightning_lr.tune.trial.line import Desk, Message
from lightning_lr.tune.trial.spec import Spec

__all__ = ["TrialProcess", "command_line", "environment"]

_START = str(Path(str(start.__file__)).parent)
# Lines of a log that are shown.
_TAIL = 20


def command_line(command: Sequence[str]) -> list[str]:
    """Return how to start what was written after the options: a script, a module, a program or a config.

    Raises:
        MisconfigurationException: It is none of these, or a file is missing.

    Example:
        >>> command_line(["-m", "package.train", "fit"])[1:]
        ['-m', 'package.train', 'fit']
    """
    first = command[0]
    if first == "-m":
        return [sys.executable, *command]
    if not first.startswith("-") and not first.endswith(".py"):
        # The torchrun of this interpreter before any other.
        folders = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
        program = shutil.which(first, path=folders)
        if program is not None:
            return [program, *command[1:]]
    script = None if first.startswith("-") else Path(first)
    check_files(script, command)
    return [sys.executable, *([] if script else ["-m", "lightning_lr.command"]), *command]


def environment(spec: Spec, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment in which the processes of a fit find out what to do."""
    paths = [_START, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, **(extra or {}), **spec.to_env(), "PYTHONPATH": os.pathsep.join(paths)}


class TrialProcess:
    """A command that runs as a group of processes of its own, so that all of them can be ended.

    Args:
        command: As `command_line` gives it.
        spec: What it is told.
        log: Where its output goes.
        judge: Returns whether a fit goes on after a validation, from its value and the share of the run.
        extra: More environment variables.
    """

    def __init__(
        self,
        command: Sequence[str],
        spec: Spec,
        log: Path,
        judge: Callable[[float, float], bool],
        extra: Mapping[str, str] | None = None,
    ) -> None:
        self.log = log
        self.told: dict[str, Message] = {}
        self.values: list[float] = []
        self._judge = judge
        self._groups: set[int] = set()
        token = secrets.token_hex()
        self._desk = Desk(token, self._answer)
        spec = replace(spec, port=self._desk.port, token=token)
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                env=environment(spec, extra),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._groups.add(self._process.pid)

    def wait(self, seconds: float) -> bool:
        """Wait for the end; return whether it has come."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    @property
    def has_said_its_last(self) -> bool:
        """Whether a rank has finished the fit, or failed: all others are about to end."""
        return bool(self.told.keys() & {"finished", "failed", "seen"})

    def end(self, grace: float) -> None:
        """End all processes: those that do not end by SIGTERM in time, by SIGKILL."""
        self._send(signal.SIGTERM)
        self.wait(grace)
        self.close()

    def close(self) -> None:
        """Leave no process behind."""
        self._send(signal.SIGKILL)
        self._process.wait()
        self._desk.close()

    @property
    def error(self) -> str:
        """How the command failed, in one line that is the same if it fails in the same way again."""
        if "failed" in self.told:
            return str(self.told["failed"]["error"])
        if "finished" in self.told:
            return "The fit ended without a validation: let the Trainer validate, and train for long enough."
        code = self._process.returncode
        if code == 0 and "began" in self.told:
            return "The script ended in the midst of its fit, with exit code 0."
        if code is not None and code < 0:
            return f"It was ended by {signal.Signals(-code).name}."
        if code == 0:
            return (
                "The script ended without calling `Trainer.fit`. A script with LightningCLI needs its"
                " subcommand: `train.py fit --config run.yaml`."
            )
        lines = self.tail.splitlines()
        return lines[-1].strip() if lines else f"It ended with exit code {code}."

    @property
    def tail(self) -> str:
        """The last lines of the output."""
        lines = self.log.read_text(errors="replace").rstrip().splitlines()
        return "\n".join(lines[-_TAIL:])

    def _answer(self, message: Message) -> Any:
        kind = message["kind"]
        if kind == "began":
            self._groups.add(message["group"])
            self.told.setdefault(kind, message)
        elif kind == "report":
            self.values.append(message["value"])
            return self._judge(message["value"], message["share"])
        else:
            # The first rank that fails knows why; the others fail because of it.
            self.told.setdefault(kind, message)
        return True

    def _send(self, number: signal.Signals) -> None:
        for group in self._groups:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(group, number)
