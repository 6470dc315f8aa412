"""Tells what happens to the LRs of LRDecay: the warm-up ends, a group joins, other code changes one."""

import math
from collections.abc import Iterable
from dataclasses import replace

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import BaseFinetuning
from lightning.pytorch.utilities import rank_zero_warn
from torch.optim import Optimizer

from lightning_lr.decay.plan import Plan
from lightning_lr.fit.horizon import Horizon
from lightning_lr.fit.neighbors import callbacks_of
from lightning_lr.output.decisions import Entry, tell
from lightning_lr.rates import adopt_groups, current_lr

__all__ = ["group_count", "take_in_added", "tell_change", "tell_warmup_end", "warn_of_new_horizon"]

_NOTHING = 1e-6


def tell_warmup_end(trainer: Trainer, plan: Plan, step: int) -> bool:
    """Tell the end of the warm-up, if `step` is where it ends or later; all ranks call it.

    Returns:
        Whether it has ended.
    """
    if step < plan.warmup_steps:
        return False
    steps = math.ceil(plan.warmup_steps)
    effect = f"LR {current_lr(trainer):.4g}, from here on by {plan.policy!r}"
    tell(trainer, Entry("LRDecay", "warm-up end", f"The warm-up of {steps} steps is over.", effect))
    return True


def tell_change(trainer: Trainer, step: int, *, expected: float, found: float) -> None:
    """Tell, as a warning too, that other code changed an LR; all ranks call it."""
    rank_zero_warn(
        f"Other code changed a learning rate that LRDecay controls, from {expected:.6g} to"
        f" {found:.6g} before step {step}. The change is kept as a change of the base LR, and"
        " LRDecay goes on multiplying it. If that is not what you want, remove one of the two."
    )
    summary = "Other code changed a learning rate. It is kept as a change of the base LR."
    evidence = {"expected": expected, "found": found}
    tell(trainer, Entry("LRDecay", "LR changed", summary, f"LR {expected:.4g} -> {found:.4g}", evidence))


def warn_of_new_horizon(plan: Plan, old: Horizon, *, step: int, epoch: int) -> None:
    """Warn where a run is longer or shorter than it was to be, with what that does to the LR of now.

    Args:
        plan: The plan of the run of now.
        old: How long the run was to be when its checkpoint was saved.
        step: Optimizer steps made so far.
        epoch: Epochs completed so far.
    """
    new = plan.horizon
    if old == new:
        return
    after = plan.factor(step=step, epoch=epoch)
    try:
        before = f" instead of {replace(plan, horizon=old).factor(step=step, epoch=epoch):.4g}"
    except ValueError:
        before = ""  # The policy or the warm-up is another one too, and needs an end that there was not.
    rank_zero_warn(
        f"The resumed run is to be {new.epochs:g} epochs ({new.steps:g} steps) long; when the checkpoint"
        f" was saved it was to be {old.epochs:g} epochs ({old.steps:g} steps). LRDecay continues on the"
        f" plan of the new length: here its factor of the base LR is {after:.4g}{before}."
    )


def group_count(optimizers: Iterable[Optimizer]) -> int:
    """Return how many parameter groups there are now."""
    return sum(len(optimizer.param_groups) for optimizer in optimizers)


def take_in_added(trainer: Trainer, factor: float) -> None:
    """Give every group that has no base LR yet one, and tell which; all ranks call it.

    What a finetuning callback of Lightning thaws gets an `lr` that follows from the current LR of another
    group, or that is meant for the coming epoch: its base is `lr / factor`. Any other `lr` is a base, as that
    of the groups that an optimizer was made with.

    Args:
        trainer: The Trainer of the running fit.
        factor: The factor of the existing groups.
    """
    thawed = next((type(each).__name__ for each in callbacks_of(trainer, BaseFinetuning)), None)
    for lr, base in adopt_groups(trainer.optimizers, factor=factor, as_base=thawed is None):
        _tell_added(trainer, thawed, lr=lr, base=base, factor=factor)


def _tell_added(trainer: Trainer, thawed: str | None, *, lr: float, base: float, factor: float) -> None:
    meaning = f"as {thawed} means it for now" if thawed else "the `lr` that it was given"
    summary = f"A parameter group was added; its base LR is {base:.6g}, {meaning}."
    effect = f"LR {base * factor:.4g} from here on"
    evidence = {"lr": lr, "base": base, "factor": factor}
    tell(trainer, Entry("LRDecay", "group added", summary, effect, evidence))
    if abs(factor - 1) < _NOTHING:
        return  # Both readings are the same.
    rank_zero_warn(
        f"LRDecay: a parameter group with lr {lr:.6g} was added while the LR is {factor:.6g} times the base"
        f" LR. Its base LR is taken to be {base:.6g} ({meaning}), so it is trained with {base * factor:.6g}"
        " now. If you mean another base, give the group that as `initial_lr`."
    )
