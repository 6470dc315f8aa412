"""One trial: a process that trains with an LR, and what its values mean for the study."""

import math
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from optuna.exceptions import UpdateFinishedTrialError
from optuna.study import Study
from optuna.trial import Trial, TrialState

from lightning_lr.tune.trial.spec import Spec
from lightning_lr.tune.workers.process import TrialProcess
from lightning_lr.tune.workers.storage import patiently
from lightning_lr.tune.workers.study import PARAM, Settings

__all__ = ["Job", "TrialRun", "devices_of", "is_judged", "tell_once"]

Returned = TypeVar("Returned")

# Seconds: after SIGTERM until SIGKILL, and from the end of a fit to that of its processes.
_GRACE, _FAREWELL = 10.0, 300.0
# Before this share of the run no trial is compared: high LRs look bad until they have decayed.
_UNJUDGED = 1 / 3
_POLL = 0.2


@dataclass(frozen=True)
class Job:
    """What the trials of a machine are made with.

    Args:
        command: The command line.
        limit: How many trials the study is to finish.
        logs: Where the output of the trials goes.
        prunes: Whether trials end early if others were better at the same time.
        number: How many trials are made at once.
        devices: The GPUs of the machine, as CUDA_VISIBLE_DEVICES names them.
        patience: Seconds that the storage may be away.
    """

    command: Sequence[str]
    limit: int
    logs: Path
    prunes: bool = True
    number: int = 1
    devices: Sequence[str] = ()
    patience: float = 600.0

    def patiently(self, call: Callable[[], Returned]) -> Returned:
        """Return what a call to the storage returns, also if that is away for a while."""
        return patiently(call, seconds=self.patience)


class TrialRun:
    """A trial under way.

    Args:
        study: The study.
        trial: The trial.
        settings: What the study is of.
        job: What trials are made with here.
        slot: Which of the workers of this machine makes it, from 0.
    """

    def __init__(self, study: Study, trial: Trial, settings: Settings, job: Job, slot: int) -> None:
        self.study = study
        self.trial = trial
        self.settings = settings
        self.job = job
        self._is_cut = False
        folder = f"{settings.folder}/trial_{trial.number:04}"
        spec = Spec(
            task="trial",
            lr=trial.params[PARAM],
            seed=settings.seed,
            epochs=settings.epochs,
            monitor=settings.monitor,
            folder=folder,
        )
        self._begin = time.monotonic()
        self.process = TrialProcess(
            job.command,
            spec,
            job.logs / f"{folder}.log",
            self._goes_on,
            devices_of(slot, job.number, job.devices),
        )

    def accompany(self, stopping: threading.Event) -> None:
        """Wait for the end, show the other workers that this one lives, and tell the study what came out.

        Raises:
            UpdateFinishedTrialError: The trial was given to another worker.
        """
        beats, beaten, said = 0, -math.inf, math.inf
        try:
            while not self.process.wait(_POLL):
                now = time.monotonic()
                if now - beaten >= self.settings.heartbeat:
                    beats, beaten = beats + 1, now
                    self._note("heartbeat", beats)
                if self.process.has_said_its_last:
                    said = min(said, now)
                patience = _GRACE if "failed" in self.process.told else _FAREWELL
                if stopping.is_set() or now - said > patience:
                    self.process.end(_GRACE)
        finally:
            self.process.close()
        if stopping.is_set() and "finished" not in self.process.told:
            self._tell(None, TrialState.FAIL)
        else:
            self._note("seconds", time.monotonic() - self._begin)
            self._judge()

    def _goes_on(self, value: float, share: float) -> bool:
        """Take the value of a validation, and return whether the fit goes on."""
        if not math.isfinite(value):
            return False
        step = len(self.process.values) - 1
        try:
            self.job.patiently(lambda: self.trial.report(value, step=step))
            if self.job.prunes and is_judged(share):
                self._is_cut = self.job.patiently(self.trial.should_prune)
        except UpdateFinishedTrialError:
            return False
        return not self._is_cut

    def _judge(self) -> None:
        told, values = self.process.told, self.process.values
        worst = math.inf if self.settings.mode == "min" else -math.inf
        if told.get("failed", {}).get("diverged") or (values and not math.isfinite(values[-1])):
            self._tell(worst, TrialState.COMPLETE)
        elif "finished" in told and values:
            if self._is_cut:
                self._tell(None, TrialState.PRUNED)
            else:
                self._tell(values[-1], TrialState.COMPLETE)
        else:
            said = told.get("failed", {}).get("traceback") or self.process.tail or self.process.error
            place = f"The whole output is in {self.process.log} on {socket.gethostname()}."
            self._note("output", f"{said.rstrip()}\n{place}")
            self._note("error", self.process.error)
            self._tell(None, TrialState.FAIL)

    def _note(self, name: str, value: object) -> None:
        self.job.patiently(lambda: self.trial.set_user_attr(name, value))

    def _tell(self, value: float | None, state: TrialState) -> None:
        self.job.patiently(lambda: tell_once(self.study, self.trial.number, value, state))


def is_judged(share: float) -> bool:
    """Tell whether a trial may end early after this share of its run."""
    return _UNJUDGED <= share < 1


def tell_once(study: Study, number: int, value: float | None, state: TrialState) -> None:
    """Tell how a trial has ended.

    Raises:
        UpdateFinishedTrialError: Another worker has told it already.
    """
    if study.get_trials(deepcopy=False)[number].state.is_finished():
        raise UpdateFinishedTrialError
    # The value of a pruned trial is the last one that was reported.
    study.tell(number, value, state=state)


def devices_of(slot: int, slots: int, devices: Sequence[str]) -> Mapping[str, str]:
    """Return the environment that gives a worker its share of the GPUs, if there is one for each.

    Example:
        >>> devices_of(1, 2, ["0", "1", "2", "3"])
        {'CUDA_VISIBLE_DEVICES': '2,3'}
        >>> devices_of(0, 1, ["0"]), devices_of(0, 2, ["0"])
        ({}, {})
    """
    share = len(devices) // slots
    if slots == 1 or share == 0:
        return {}
    return {"CUDA_VISIBLE_DEVICES": ",".join(devices[slot * share : (slot + 1) * share])}
