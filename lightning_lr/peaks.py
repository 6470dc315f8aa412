"""Tells the highest LRs that a run will use, and whether its schedulers would follow other ones.

Both are found by running copies of the schedulers ahead over the planned run, whatever their classes.
"""

import math
from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

from torch.optim import Optimizer

from lightning_lr.fit.lightnings import MisconfigurationException, Trainer
from lightning_lr.fit.neighbors import Schedules, callbacks_of, schedulers_of
from lightning_lr.fit.optimizers import groups_of
from lightning_lr.rates import begin_again, nominal_lr, nominal_lrs, rescale
from lightning_lr.schedules.clock import clock_of
from lightning_lr.schedules.evaluation import Planned, run_ahead
from lightning_lr.schedules.rescaling import first_unmoved, is_of_torch, nested_schedulers

__all__ = ["check_schedules_follow", "highest_left", "lrs_left", "peak_lr", "peak_lrs"]

# A cycle whose maximum lies between two steps reaches at least this share of it.
_MISSED = 0.9
_ROUNDING = 1e-6
# How the schedulers of a fit were when they were found to follow, by its first optimizer, which is made
# for it: several callbacks ask at fit start.
_following: WeakKeyDictionary[Optimizer, Any] = WeakKeyDictionary()
_WAY_OUT = (
    "The LR that {owner} tells would not be the one that is used. Return the optimizer alone and add the"
    " callback LRDecay, or use `{owner}(apply=False)` to look only."
)


def peak_lrs(trainer: Trainer) -> list[list[float]]:
    """Return, for each optimizer, the highest LR of every group over the planned run; all ranks call it.

    It is the base LR if no scheduler sets the LR, or none that can be run ahead. The maximum LR of a
    OneCycleLR or CyclicLR counts also if it lies between two steps.
    """
    nominal = nominal_lrs(schedulers_of(trainer))
    plans = _plans(trainer)

    def peak(optimizer: Optimizer, group: dict[str, Any]) -> float:
        found = [lr for plan in plans if (lr := plan.peak(group)) is not None]
        written = nominal_lr(optimizer, group, nominal)
        missed = _MISSED if id(group) in nominal else 1 - _ROUNDING
        if not found or missed * written <= max(found) <= (1 + _ROUNDING) * written:
            return written
        # Of a part of the run it is only known that the peak is no lower.
        return max(found) if all(plan.is_whole for plan in plans) else max(*found, written)

    return [[peak(optimizer, group) for group in optimizer.param_groups] for optimizer in trainer.optimizers]


def peak_lr(trainer: Trainer) -> float:
    """Return the highest of the `peak_lrs` of all groups; all ranks call it."""
    return max((lr for lrs in peak_lrs(trainer) for lr in lrs), default=0.0)


def lrs_left(trainer: Trainer) -> list[list[float]]:
    """Return, for each optimizer, the highest LR of every group from now on; all ranks call it.

    At the start of a fit these are the `peak_lrs`.
    """
    step = trainer.global_step
    if step == 0:
        return peak_lrs(trainer)
    nominal = nominal_lrs(schedulers_of(trainer))
    plan = run_ahead(trainer, clock_of(trainer), begin=step) if trainer.lr_scheduler_configs else None
    share_of = iter(_shares_left(trainer))

    def left(optimizer: Optimizer, group: dict[str, Any]) -> float:
        written = nominal_lr(optimizer, group, nominal) * next(share_of)
        found = None if plan is None else plan.peak(group)
        if plan is None or found is None or math.isclose(found, written, rel_tol=_ROUNDING):
            return written
        # The maximum of a cycle may lie between two steps to come.
        is_missed = id(group) in nominal and not plan.is_first(found, group)
        return written if is_missed and _MISSED * written <= found < written else found

    return [[left(optimizer, group) for group in optimizer.param_groups] for optimizer in trainer.optimizers]


def _shares_left(trainer: Trainer) -> list[float]:
    """Return the highest factor of each group from now on, relative to that of the whole run."""
    for callback in callbacks_of(trainer, Schedules):
        left, whole = (
            callback.factors(trainer, trainer.lightning_module, is_whole=is_whole)
            for is_whole in (False, True)
        )
        # Not above 1, as the spread of the moments might make it.
        return [min(1.0, max(here) / (max(there) or 1.0)) for here, there in zip(left, whole, strict=True)]
    return [1.0] * len(groups_of(trainer.optimizers))


def highest_left(trainer: Trainer) -> float:
    """Return the highest of the `lrs_left` of all groups; all ranks call it."""
    return max((lr for lrs in lrs_left(trainer) for lr in lrs), default=0.0)


def _plans(trainer: Trainer) -> list[Planned]:
    if not trainer.lr_scheduler_configs:
        return []
    clock, step = clock_of(trainer), trainer.global_step
    plans = [run_ahead(trainer, clock, begin=step)]
    if any(getattr(each, "last_epoch", 0) > 0 for each in nested_schedulers(schedulers_of(trainer))):
        # What is told is the peak of the whole schedule, as for LRDecay.
        plans.append(run_ahead(trainer, clock, change=_begin_those_of_torch))
    return plans


def _begin_those_of_torch(optimizers: Sequence[Optimizer], schedulers: Sequence[Any]) -> None:
    """Begin schedules again that are known to follow from their base LR and the time."""
    begin_again(optimizers, list(filter(is_of_torch, schedulers)))


def check_schedules_follow(trainer: Trainer, owner: str, *, way_out: str = _WAY_OUT) -> None:
    """Refuse schedulers whose LRs would not follow if the LRs were rescaled; all ranks call it.

    Copies of them are rescaled and run ahead.

    Args:
        trainer: The Trainer of a fit whose loaders are set up.
        owner: The class of the callback that will rescale.
        way_out: What to do about a scheduler that would not follow; may name the `{owner}`.

    Raises:
        MisconfigurationException: The LR that is told would not be the LR that is used.
    """
    if not trainer.lr_scheduler_configs:
        return
    state = _state_of(trainer)
    if state is not None and _following.get(trainer.optimizers[0]) == state:
        return
    clock, step = clock_of(trainer), trainer.global_step
    before = run_ahead(trainer, clock, begin=step)
    after = run_ahead(trainer, clock, begin=step, change=lambda *copies: rescale(*copies, old=1, new=2))
    for scheduler in schedulers_of(trainer):
        is_known = scheduler not in before.unknown + after.unknown
        for group in scheduler.optimizer.param_groups if is_known else ():
            problem = first_unmoved(before.lrs.get(id(group), {}), after.lrs.get(id(group), {}))
            if problem is not None:
                at, lr = problem
                raise MisconfigurationException(
                    f"{type(scheduler).__name__} of `configure_optimizers` keeps LRs of its own: with all LRs"
                    f" doubled, step {at} would still be made with {lr:.3g}. {way_out.format(owner=owner)}"
                )
        if not is_known and not is_of_torch(scheduler):
            raise MisconfigurationException(
                f"{type(scheduler).__name__} of `configure_optimizers` cannot be copied and run ahead, so it"
                f" is not known which LRs it will set. {way_out.format(owner=owner)}"
            )
    _following[trainer.optimizers[0]] = state


def _state_of(trainer: Trainer) -> tuple[Any, ...] | None:
    """Return what tells whether the schedulers are as they were; None if they do not tell."""
    schedulers = schedulers_of(trainer)
    if not all(hasattr(each, "state_dict") for each in schedulers):
        return None
    states = [(id(each), repr(each.state_dict())) for each in schedulers]
    lrs = [repr((group.get("lr"), group.get("initial_lr"))) for group in groups_of(trainer.optimizers)]
    return trainer.global_step, trainer.max_epochs, trainer.max_steps, states, lrs
