"""Runs copies of the schedulers ahead over the planned run, and notes the LRs that they set.

The first `EXACT` changes are made one by one. Of later ones a thousand are looked at, and then those around
the highest, if the schedulers can be asked for any time and answer for the first ones what they have set
there. Otherwise only the first ones are known.
"""

import math
import random
import warnings
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeAlias

import numpy as np
import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ChainedScheduler, LRScheduler, ReduceLROnPlateau, SequentialLR

from lightning_lr.fit.internals import inner_schedulers, milestones_of
from lightning_lr.fit.lightnings import Trainer
from lightning_lr.schedules.clock import Clock
from lightning_lr.schedules.copies import Copier, UncopyableError
from lightning_lr.schedules.module_hook import Time, hook_of

__all__ = ["EXACT", "Change", "Planned", "makes_no_difference", "run_ahead"]

EXACT = 10_000
# With many groups fewer, so that no more LRs than these are computed.
_MOST_LRS = 200_000
_SAMPLES = 1_000
_COMPARED = 16
_COMPARED_STEPS = 4
_ROUNDING = 1e-6

Change: TypeAlias = Callable[[Sequence[Optimizer], Sequence[Any]], object]
"""What is done to copies of the optimizers and schedulers before they are run ahead."""


class Planned:
    """The LRs that schedulers set over the planned run: for each group, by its id, the LR by step.

    Attributes:
        unknown: The schedulers that could not be run ahead; their groups are missing.
        is_whole: Whether the run was looked at to its end.
    """

    def __init__(self, fit: "_Copied", lrs: Mapping[int, Sequence[float]], *, is_whole: bool) -> None:
        self.is_whole = is_whole
        failed = [schedule.original for schedule in fit.schedules if schedule.has_failed]
        self.unknown = [*fit.unknown, *failed]
        self.lrs = {
            group: {time: each[number] for time, each in lrs.items()}
            for number, group in enumerate(fit.groups)
        }
        for scheduler in failed:
            for group in scheduler.optimizer.param_groups:
                self.lrs.pop(id(group), None)

    def peak(self, group: dict[str, Any]) -> float | None:
        """Return the highest LR of a group; None if no scheduler sets it, or it is not known."""
        lrs = self.lrs.get(id(group))
        return max(lrs.values()) if lrs else None

    def is_first(self, lr: float, group: dict[str, Any]) -> bool:
        """Tell whether a group begins with this LR."""
        return lr == next(iter(self.lrs.get(id(group), {}).values()), None)


def run_ahead(trainer: Trainer, clock: Clock, *, change: Change | None = None, begin: int = 0) -> Planned:
    """Return the LRs of a fit from the step `begin` on, as its schedulers will set them.

    Nothing of the fit is touched: not its optimizers and schedulers, nor what they call, nor a generator.

    Args:
        trainer: The Trainer of the fit.
        clock: Its clock.
        change: What to do to the copies before.
        begin: The step that the schedulers have reached.
    """
    with _undisturbed():
        fit = _Copied(trainer, change)
        fit.begin(clock, begin)
        times = fit.times(clock, begin)
        exact = max(1, min(EXACT, _MOST_LRS // max(1, len(fit.groups))))
        lrs: dict[int, list[float]] = {}
        for time in times[:exact]:
            fit.advance(clock, time)
            lrs[time] = fit.lrs()
        later = times[exact:]
        is_whole = not later and math.isfinite(clock.steps)
        if later:
            far = _Copied(trainer, change)
            is_whole = far.agrees(clock, lrs)
            if is_whole:
                _sample(far, clock, later, lrs)
    return Planned(fit, dict(sorted(lrs.items())), is_whole=is_whole)


def makes_no_difference(change: Change, optimizers: Sequence[Optimizer], schedulers: Sequence[Any]) -> bool:
    """Tell, on copies, whether schedulers do the same after a change as without it.

    Raises:
        UncopyableError: They cannot be copied.
    """
    with _undisturbed():
        traces = []
        for is_changed in (False, True):
            copier = Copier()
            stand_ins = [copier.copy(each) for each in optimizers]
            twins = [copier.copy(each) for each in schedulers]
            if is_changed:
                try:
                    change(stand_ins, twins)
                except Exception:  # noqa: BLE001 (a constructor's steps need not be repeatable)
                    return False
            traces.append(list(_trace([each.param_groups for each in stand_ins], twins)))
    return traces[0] == traces[1]


def _trace(groups: Sequence[Sequence[dict[str, Any]]], schedulers: Sequence[Any]) -> Iterator[list[float]]:
    for _ in range(_COMPARED_STEPS):
        yield [float(group["lr"]) for each in groups for group in each]
        for scheduler in schedulers:
            if isinstance(scheduler, LRScheduler) and not isinstance(scheduler, ReduceLROnPlateau):
                with suppress(Exception):
                    # It may have no more steps.
                    scheduler.step()


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Put the global generators back in the end, and be silent about how schedulers are called."""
    of_python, of_numpy, of_torch = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        random.setstate(of_python)
        np.random.set_state(of_numpy)  # noqa: NPY002
        torch.set_rng_state(of_torch)


def _sample(far: "_Copied", clock: Clock, later: Sequence[int], planned: dict[int, list[float]]) -> None:
    """Look at some of the later times, and then at those around the highest LR of each group."""
    windows = [(0, len(later) - 1)]
    while windows:
        nearer = []
        for low, high in windows:
            stride = math.ceil((high - low + 1) / _SAMPLES)
            places = [*range(low, high, stride), high]
            for place in places:
                far.jump(clock, later[place])
                planned[later[place]] = far.lrs()
            if stride > 1:
                for group in range(len(far.groups)):
                    best = max(places, key=lambda place: planned[later[place]][group])
                    nearer.append((max(low, best - stride), min(high, best + stride)))
        windows = sorted(set(nearer))


class _Copied:
    """Copies of the optimizers and schedulers of a fit, and what steps them."""

    def __init__(self, trainer: Trainer, change: Change | None) -> None:
        copier = Copier()
        optimizers = [copier.copy(optimizer) for optimizer in trainer.optimizers]
        self.unknown: list[Any] = []
        self.schedules: list[_Schedule] = []
        self.groups: dict[int, dict[str, Any]] = {}
        time = Time()
        hook = hook_of(trainer, copier, time, optimizers)
        for config in trainer.lr_scheduler_configs:
            scheduler: Any = config.scheduler
            try:
                twin = copier.copy(scheduler)
                groups = scheduler.optimizer.param_groups
            except (UncopyableError, AttributeError):
                self.unknown.append(scheduler)
                continue
            self.schedules.append(_Schedule(config, twin, hook, time))
            self.groups |= dict(zip(map(id, groups), twin.optimizer.param_groups, strict=True))
        if change is not None:
            try:
                change(optimizers, [schedule.scheduler for schedule in self.schedules])
            except Exception:  # noqa: BLE001 (attributes that are no LRs may refuse anything)
                self.unknown += [schedule.original for schedule in self.schedules]
                self.schedules, self.groups = [], {}

    def times(self, clock: Clock, begin: int) -> Sequence[int]:
        """Return the steps at which an LR may change, bounded if the run has no end."""
        if clock.by_hand or any(schedule.interval == "step" for schedule in self.schedules):
            end = begin + EXACT if math.isinf(clock.steps) else int(clock.steps)
            # A fit may also begin where an earlier one has ended.
            return range(begin, max(end, begin + 1))
        starts = clock.epoch_starts
        # Where the run ends no epoch begins.
        return [begin, *(start for start in starts[bisect_right(starts, begin) :] if start < clock.steps)]

    def begin(self, clock: Clock, step: int) -> None:
        for schedule in self.schedules:
            schedule.begin(clock, step)

    def advance(self, clock: Clock, step: int) -> None:
        for schedule in self.schedules:
            schedule.advance(clock, step)

    def jump(self, clock: Clock, step: int) -> None:
        for schedule in self.schedules:
            schedule.jump(clock, step)

    def lrs(self) -> list[float]:
        return [float(group["lr"]) for group in self.groups.values()]

    def agrees(self, clock: Clock, planned: dict[int, list[float]]) -> bool:
        """Tell whether the schedulers can be asked for any time, by some times that are known."""
        known = list(planned)
        begin = known[0]
        try:
            for time in {known[min(2**power, len(known)) - 1] for power in range(_COMPARED)} - {begin}:
                self.jump(clock, time)
                pairs = zip(self.lrs(), planned[time], strict=True)
                if not all(
                    math.isclose(lr, wanted, rel_tol=_ROUNDING, abs_tol=1e-12) for lr, wanted in pairs
                ):
                    return False
        except Exception:  # noqa: BLE001 (a scheduler that takes no time may raise anything)
            return False
        return True


class _Schedule:
    """The copy of a scheduler and how it is stepped."""

    def __init__(self, config: Any, scheduler: Any, hook: Callable[[Any], None] | None, time: Time) -> None:
        self.original = config.scheduler
        self.scheduler = scheduler
        self.interval, self._frequency = config.interval, config.frequency
        # Metrics are not known ahead.
        self._is_over = isinstance(scheduler, ReduceLROnPlateau)
        self._asks_for_metric = config.reduce_on_plateau
        self.has_failed = False
        self._hook = hook
        self._time = time
        self._begun = self._done = 0

    def begin(self, clock: Clock, step: int) -> None:
        self._begun = self._done = self._ticks(clock, step)

    def advance(self, clock: Clock, step: int) -> None:
        ticks = self._ticks(clock, step)
        while self._done < ticks and not self._is_over:
            self._done += 1
            try:
                self._tick(clock, step)
            except Exception:  # noqa: BLE001 (what a scheduler raises, it raises in the run too)
                # OneCycleLR does after its last step.
                self._is_over = True
                self.has_failed = self._done == self._begun + 1 and not self._asks_for_metric

    def jump(self, clock: Clock, step: int) -> None:
        ticks = self._ticks(clock, step)
        if self._is_over or not ticks:
            return
        if self._hook is None:
            _jump(self.scheduler, ticks)
        else:
            self._tick(clock, step if self.interval == "step" else clock.epoch_starts[clock.epoch(step)])

    def _ticks(self, clock: Clock, step: int) -> int:
        return clock.ticks(self.interval, self._frequency, step)

    def _tick(self, clock: Clock, step: int) -> None:
        if self._hook is None:
            self.scheduler.step()
        else:
            # At the end of the last batch, with the step counted and the epoch not yet.
            self._time.step, self._time.epoch = step, clock.epoch(step - 1)
            self._hook(self.scheduler)


def _jump(scheduler: Any, ticks: int) -> None:
    if isinstance(scheduler, SequentialLR):
        milestones = milestones_of(scheduler)
        current = bisect_right(milestones, ticks)
        begun = milestones[current - 1] if current else 0
        _jump(inner_schedulers(scheduler)[current], ticks - begun)
    elif isinstance(scheduler, ChainedScheduler):
        groups = scheduler.optimizer.param_groups
        factors = [1.0] * len(groups)
        for inner in inner_schedulers(scheduler):
            _jump(inner, ticks)
            for number, group in enumerate(groups):
                factors[number] *= group["lr"] / (group["initial_lr"] or 1.0)
        for group, factor in zip(groups, factors, strict=True):
            group["lr"] = group["initial_lr"] * factor
    else:
        # Torch's schedulers have a closed form for that, and so have those made after their model.
        scheduler.step(ticks)
