"""The workers of a machine: each asks the study for an LR and trains with it, until there are enough."""

import os
import socket
import threading
import time
from collections.abc import Callable, Sequence

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from lightning_lr.tune.workers.study import (
    FINISHED,
    PARAM,
    Pulse,
    Settings,
    is_double,
    is_surplus,
    repeated_error,
)
from lightning_lr.tune.workers.trial_run import Job, TrialRun, tell_once

__all__ = ["ScriptFailed", "Workers", "make_pruner"]

_POLL = 0.2


def make_pruner() -> optuna.pruners.BasePruner:
    """Return what ends trials early: the worst quarter, compared with at least five that have ended.

    Not all below the median: from coarse to fine, most LRs soon lie close to the best one.
    """
    return optuna.pruners.PercentilePruner(75, n_startup_trials=5)


class ScriptFailed(Exception):  # noqa: N818 (it is the script's error)
    """The command has failed twice in the same way."""


class Workers:
    """The workers of this machine, a thread each.

    Args:
        study: The study.
        settings: What it is of.
        job: What trials are made with here.

    Attributes:
        stopping: Set it to end the trials of this machine and give them back.
        notes: What happened to trials, in sentences.
    """

    def __init__(self, study: Study, settings: Settings, job: Job) -> None:
        study.pruner = make_pruner()
        self.study = study
        self.settings = settings
        self.job = job
        self.stopping = threading.Event()
        self.notes: list[str] = []
        self._error: BaseException | None = None
        # Failures before were of a script that may have been mended.
        self._since = len(self.trials())
        self._pulse = Pulse(settings.heartbeat)
        self._lock = threading.Lock()
        self._mine: set[int] = set()

    def trials(self) -> list[FrozenTrial]:
        """Return the trials of the study."""
        return self.job.patiently(lambda: self.study.get_trials(deepcopy=False))

    def run(self, show: Callable[[Sequence[FrozenTrial]], None]) -> None:
        """Make trials until the study has finished as many as were asked for.

        Args:
            show: Called again and again with the trials.

        Raises:
            ScriptFailed: The command has failed twice in the same way.
            ConnectionError: The storage has been away for too long.
        """
        threads = [
            threading.Thread(target=self._guard, args=(self._work, slot)) for slot in range(self.job.number)
        ]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            # In short waits, so that signals are handled in between.
            for thread in threads:
                thread.join(_POLL)
            if not self.stopping.is_set():
                self._guard(lambda: show(self.trials()))
        if self._error is not None:
            raise self._error

    def _guard(self, call: Callable[..., None], *arguments: int) -> None:
        try:
            call(*arguments)
        except BaseException as error:  # noqa: BLE001 (it is raised where all threads have ended)
            self._error = self._error or error
            self.stopping.set()

    def _work(self, slot: int) -> None:
        while not self.stopping.is_set():
            self._take_over_dead()
            trials = self.trials()
            failed = repeated_error(trials, since=self._since)
            if failed is not None:
                raise ScriptFailed(failed.user_attrs["output"])
            finished = sum(trial.state in FINISHED for trial in trials)
            running = sum(trial.state == TrialState.RUNNING for trial in trials)
            if finished >= self.job.limit:
                return
            if finished + running < self.job.limit:
                self._make_trial(slot)
            else:
                # Wait for the others: one may die, and its trial is then for this one to make again.
                self.stopping.wait(1.0)

    def _make_trial(self, slot: int) -> None:
        trial = self.job.patiently(self.study.ask)
        with self._lock:
            self._mine.add(trial.number)
        try:
            if not is_surplus(trial.number, self.trials(), self.job.limit):
                low, high = self.settings.low, self.settings.high
                lr = self.job.patiently(lambda: trial.suggest_float(PARAM, low, high, log=True))
                if not is_double(trial.number, lr, self.trials()):
                    who = f"{socket.gethostname()}:{os.getpid()}:{slot}"
                    self.job.patiently(lambda: trial.set_user_attr("worker", who))
                    TrialRun(self.study, trial, self.settings, self.job, slot).accompany(self.stopping)
                    return
            self.job.patiently(lambda: tell_once(self.study, trial.number, None, TrialState.FAIL))
        except UpdateFinishedTrialError:
            self.notes.append(
                f"Trial {trial.number} was given to another worker, because nothing was heard of this one for"
                f" {2 * self.settings.heartbeat:g} s. If the machine was busy, give a longer --heartbeat."
            )
        finally:
            with self._lock:
                self._mine.discard(trial.number)

    def _take_over_dead(self) -> None:
        """Give up trials whose worker has died; the study then proposes their LRs again."""
        with self._lock:
            # In the lock: a trial that is told here must not be one that another thread has just ended.
            others = [trial for trial in self.trials() if trial.number not in self._mine]
            for trial in self._pulse.dead(others, time.monotonic()):
                try:
                    tell_once(self.study, trial.number, None, TrialState.FAIL)
                except UpdateFinishedTrialError:
                    continue  # Another worker was first.
                self.notes.append(f"The worker of trial {trial.number} has died, so its LR is tried again.")
