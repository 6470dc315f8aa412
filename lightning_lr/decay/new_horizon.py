"""Tells of a resumed run whose end is another one now: the LR does not go on as it was planned."""

from dataclasses import replace

from lightning.pytorch.utilities import rank_zero_warn

from lightning_lr.decay.plan import Plan
from lightning_lr.fit.horizon import Horizon

__all__ = ["warn_of_new_horizon"]


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
