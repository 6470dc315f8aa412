"""The study that all workers share: what it is of, which trials it has, and which of them are dead.

Only what every storage of Optuna has is used, so that databases and journal files behave alike: signs of life
are an attribute of a trial, and the order of trials, on which all workers agree, is that of their numbers.
"""

import contextlib
import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import optuna
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from lightning_lr.fit.lightnings import MisconfigurationException
from lightning_lr.tune.results import Mode, Result, Results, State
from lightning_lr.tune.sampler import CoarseToFine, FirstThen

__all__ = [
    "FINISHED",
    "PARAM",
    "Pulse",
    "Settings",
    "create",
    "find",
    "is_double",
    "is_surplus",
    "repeated_error",
    "results_of",
]

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
_KEY = "lightning_lr.tune"
PARAM = "lr"


@dataclass(frozen=True)
class Settings:
    """What all workers of a study have in common, so that its trials can be compared.

    Args:
        low: Lowest LR.
        high: Highest LR.
        first: LRs that are tried first, by what they are.
        own: The highest LR of the run as the user has written it.
        monitor: What is read at every validation.
        mode: Whether less or more of it is better.
        seed: Of scripts that do not seed themselves.
        epochs: Instead of the Trainer's `max_epochs`; None to keep that.
        heartbeat: Seconds between two signs of life of a worker.
        sampler: Which sampler proposes LRs.
        command: What was written after the options.
        folder: Where the curves of the trials are, below the folder of a logger.
    """

    low: float
    high: float
    own: float
    monitor: str
    mode: Mode
    seed: int
    epochs: int | None
    heartbeat: float
    sampler: str
    command: Sequence[str]
    folder: str
    first: Mapping[str, float] = field(default_factory=dict)

    def make_sampler(self) -> BaseSampler:
        """Return the sampler. Each worker's is seeded by the system, so that no two propose the same LRs."""
        first = list(self.first.values())
        if self.sampler == "coarse-to-fine":
            return CoarseToFine(PARAM, first=first)
        if self.sampler == "gp":
            return FirstThen(PARAM, first, optuna.samplers.GPSampler(n_startup_trials=3))
        # It keeps clear of the LRs that other workers are at, and learns from pruned trials.
        return FirstThen(PARAM, first, optuna.samplers.TPESampler(n_startup_trials=5, constant_liar=True))

    def check(self, options: Mapping[str, Any], study: str) -> None:
        """Refuse a worker whose trials could not be compared with those of the study.

        Args:
            options: What the worker was told; None for what it leaves to the study.
            study: The name of the study.

        Raises:
            MisconfigurationException: A value differs, and which.
        """
        ours = asdict(self)
        differing = {name: ours[name] for name, value in options.items() if value not in (None, ours[name])}
        if "command" in differing:
            raise MisconfigurationException(
                f"The study {study} was created for another command: `{' '.join(self.command)}`. Its trials"
                " could not be compared with this worker's. Give the same command, or another --study."
            )
        if differing:
            theirs = " ".join(f"--{name} {value}" for name, value in differing.items())
            raise MisconfigurationException(
                f"The study {study} was created with {theirs}: its trials could not be compared with this"
                " worker's. Give the same options, or another --study."
            )


def find(name: str, storage: BaseStorage, *, wait: float = 10) -> tuple[Study, Settings] | None:
    """Return the study of this name and what it is of, or None if there is none.

    Args:
        name: Its name.
        storage: Where to look.
        wait: Seconds that the worker which creates it may take to write its settings down.

    Raises:
        MisconfigurationException: The study is somebody else's.
    """
    if name not in optuna.get_all_study_names(storage):
        return None
    study = optuna.load_study(study_name=name, storage=storage)
    deadline = time.monotonic() + wait
    while _KEY not in study.user_attrs:
        if time.monotonic() > deadline:
            raise MisconfigurationException(
                f"The study {name} is not one of lightning_lr.tune, or was interrupted when it was created:"
                " choose another --study."
            )
        time.sleep(0.1)
    settings = Settings(**study.user_attrs[_KEY])
    return optuna.load_study(study_name=name, storage=storage, sampler=settings.make_sampler()), settings


def create(name: str, storage: BaseStorage, settings: Settings) -> None:
    """Create the study; of several workers that come this far at once, the storage lets one do it."""
    direction = StudyDirection.MINIMIZE if settings.mode == "min" else StudyDirection.MAXIMIZE
    with contextlib.suppress(optuna.exceptions.DuplicatedStudyError):
        study = optuna.create_study(study_name=name, storage=storage, direction=direction)
        study.set_user_attr(_KEY, {**asdict(settings), "command": list(settings.command)})


def is_surplus(number: int, trials: Sequence[FrozenTrial], limit: int) -> bool:
    """Tell whether a trial is one too many, which all workers decide alike without talking.

    A trial counts until it fails, and the storage numbers trials in the order in which they were made, so a
    trial's place can only get better: no more than `limit` ever finish.
    """
    earlier = [each for each in trials if each.number < number and each.state != TrialState.FAIL]
    return len(earlier) >= limit


def is_double(number: int, lr: float, trials: Sequence[FrozenTrial]) -> bool:
    """Tell whether an earlier trial that counts has the same LR: two workers have asked at one moment."""
    return any(
        each.number < number and each.state != TrialState.FAIL and math.isclose(each.params[PARAM], lr)
        for each in trials
        if PARAM in each.params
    )


def repeated_error(trials: Sequence[FrozenTrial], *, since: int) -> FrozenTrial | None:
    """Return a trial that has failed as another one had failed before, from a trial on; None if none has."""
    failed = [each for each in trials if each.number >= since and "error" in each.user_attrs]
    counts = Counter(each.user_attrs["error"] for each in failed)
    return next((each for each in failed if counts[each.user_attrs["error"]] > 1), None)


class Pulse:
    """Finds trials whose worker is dead: nothing was heard of it for two heartbeats.

    It is measured by the clock of who listens, so clocks of machines may differ.

    Args:
        heartbeat: Seconds between two signs of life.
    """

    def __init__(self, heartbeat: float) -> None:
        self.heartbeat = heartbeat
        self._heard: dict[int, tuple[Any, float]] = {}

    def dead(self, trials: Sequence[FrozenTrial], now: float) -> list[FrozenTrial]:
        """Return the dead ones among the trials.

        Args:
            trials: Those of the study.
            now: Seconds of a clock that never goes back.
        """
        running = [each for each in trials if each.state == TrialState.RUNNING]
        found = []
        for trial in running:
            sign = trial.user_attrs.get("heartbeat")
            last, heard = self._heard.get(trial.number, (None, now))
            if trial.number not in self._heard or last != sign:
                self._heard[trial.number] = sign, now
            elif now - heard > 2 * self.heartbeat:
                found.append(trial)
        return found


def results_of(trials: Sequence[FrozenTrial], settings: Settings) -> Results:
    """Return what the trials that have finished came to."""
    roles = {round(math.log(lr), 6): role for role, lr in settings.first.items()}
    found = []
    for trial in trials:
        if trial.state not in FINISHED or trial.value is None:
            continue
        state: State = "pruned" if trial.state == TrialState.PRUNED else "complete"
        if not math.isfinite(trial.value):
            state = "diverged"
        lr = trial.params[PARAM]
        seconds = trial.user_attrs.get("seconds", math.nan)
        role = roles.get(round(math.log(lr), 6), "")
        found.append(Result(trial.number, lr, trial.value, state, seconds, role))
    return Results(settings.monitor, settings.mode, found)
