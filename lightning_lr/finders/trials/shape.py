"""The shape of the LR over the rest of a run, for trials that stand for it."""

import math
from bisect import bisect_right
from collections.abc import Mapping

from lightning_lr.fit.lightnings import LightningModule, StochasticWeightAveraging, Trainer
from lightning_lr.fit.neighbors import Reacts, Schedules, callbacks_of
from lightning_lr.fit.optimizers import groups_of
from lightning_lr.fit.run_length import steps_left
from lightning_lr.peaks import lrs_left
from lightning_lr.schedules.clock import clock_of
from lightning_lr.schedules.evaluation import run_ahead

__all__ = ["is_flat", "shape_of_run"]

# Where the LR stays above this share of its highest one, a run ends on a high LR.
_HIGH = 0.5
_MOMENTS = 1_000


def shape_of_run(trainer: Trainer, pl_module: LightningModule) -> list[float]:
    """Return the LRs of the rest of a run, relative to the highest, at moments that are spread evenly.

    They are those of the group with the highest LR. Empty where a trial had better have the usual shape,
    which ends on a low LR: the run does so too, or may do so when a plateau is seen, or its end is not known.
    All ranks call it.
    """
    manual = not pl_module.automatic_optimization
    plateaus = [each for each in trainer.lr_scheduler_configs if each.reduce_on_plateau]
    reacting = [each for each in callbacks_of(trainer, Reacts) if each.acts]
    lowering = [*plateaus, *reacting, *callbacks_of(trainer, StochasticWeightAveraging)]
    if lowering or math.isinf(steps_left(trainer, manual=manual)):
        return []
    lrs = [lr for each in lrs_left(trainer) for lr in each]
    group = lrs.index(max(lrs))
    planned = _planned(trainer, pl_module, group)
    highest = max(planned, default=0.0)
    shape = [factor / highest for factor in planned] if highest else []
    return shape if is_flat(shape) else []


def is_flat(shape: list[float]) -> bool:
    """Tell whether an LR stays high once it has reached its highest.

    Example:
        >>> is_flat([0.1, 1.0, 0.9, 0.8]), is_flat([1.0, 0.6, 0.3]), is_flat([])
        (True, False, False)
    """
    return bool(shape) and min(shape[shape.index(max(shape)) :]) >= _HIGH * max(shape)


def _planned(trainer: Trainer, pl_module: LightningModule, group: int) -> list[float]:
    """Return what is planned for a group over the rest of the run; nothing if that is not known."""
    for callback in callbacks_of(trainer, Schedules):
        return callback.factors(trainer, pl_module, is_whole=False)[group]
    if not trainer.lr_scheduler_configs:
        return [1.0]
    clock, begin = clock_of(trainer), trainer.global_step
    plan = run_ahead(trainer, clock, begin=begin)
    if plan.unknown or not plan.is_whole:
        return []
    lrs = plan.lrs.get(id(groups_of(trainer.optimizers)[group]))
    return [1.0] if lrs is None else _held(lrs, begin, int(clock.steps))


def _held(lrs: Mapping[int, float], begin: int, end: int) -> list[float]:
    """Return the LRs at moments of a run, of those from which each holds.

    Example:
        >>> _held({0: 1.0, 4: 0.5}, 0, 8)
        [1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5]
    """
    times, count = list(lrs), max(1, min(end - begin, _MOMENTS))
    moments = (begin + index * (end - begin) / count for index in range(count))
    return [lrs[times[bisect_right(times, moment) - 1]] for moment in moments]
