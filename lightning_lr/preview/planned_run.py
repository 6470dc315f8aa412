"""The plan of a Trainer's run: the LR of every step as LRDecay is going to write it."""

import math

from lightning.pytorch import Trainer

from lightning_lr.decay.plan import Plan
from lightning_lr.fit.group_names import group_names
from lightning_lr.fit.run_length import accumulation
from lightning_lr.preview.planned import Preview, Unit
from lightning_lr.preview.timeline import lay_out

__all__ = ["planned_run"]


def planned_run(trainer: Trainer, plan: Plan, *, found_by: str = "") -> Preview:
    """Return the LRs of the running fit, from the base LRs of now.

    Args:
        trainer: Its Trainer, with the loaders set up.
        plan: What LRDecay follows.
        found_by: The callback that is going to find other base LRs, if any.

    Raises:
        ValueError: The run has no end.
    """
    manual = not trainer.lightning_module.automatic_optimization
    # How many steps a batch makes is then the module's affair.
    steps_unknown = manual and trainer.max_steps != -1
    batches = math.inf if steps_unknown else trainer.num_training_batches
    timeline = lay_out(plan.horizon, batches_per_epoch=batches, accumulation=accumulation(trainer))
    unit: Unit = "batch" if manual and not steps_unknown else "optimizer step"
    return Preview(plan, timeline, _base_lrs(trainer), found_by, unit)


def _base_lrs(trainer: Trainer) -> dict[str, float]:
    """Return the base LRs by the names that LRLogger gives the groups."""
    optimizers = trainer.optimizers
    return {
        f"lr/{name.removeprefix('lr-')}": float(group["initial_lr"])
        for names, optimizer in zip(group_names(optimizers), optimizers, strict=True)
        for name, group in zip(names, optimizer.param_groups, strict=True)
    }
