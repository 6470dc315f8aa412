"""Tells what happens to the learning rates that LRDecay sets: the warm-up ends, or other code changes one."""

import math

from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_warn

from lightning_lr.decay.plan import Plan
from lightning_lr.output.decisions import Entry, tell
from lightning_lr.plateau.actions.reduce import current_lr

__all__ = ["tell_change", "tell_warmup_end"]


def tell_warmup_end(trainer: Trainer, plan: Plan, step: int) -> bool:
    """Tell the end of the warm-up, if `step` is where it ends or later; to be called on every rank.

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
    """Tell, as a warning too, that other code changed an LR; to be called on every rank."""
    rank_zero_warn(
        f"Other code changed a learning rate that LRDecay controls, from {expected:.6g} to"
        f" {found:.6g} before step {step}. The change is kept as a change of the base LR, and"
        " LRDecay goes on multiplying it. If that is not what you want, remove one of the two."
    )
    summary = "Other code changed a learning rate. It is kept as a change of the base LR."
    evidence = {"expected": expected, "found": found}
    tell(trainer, Entry("LRDecay", "LR changed", summary, f"LR {expected:.4g} -> {found:.4g}", evidence))
