"""Writes what is scheduled beside the LRs: momentum and weight decay."""

from collections.abc import Mapping, Sequence

from torch.optim import Optimizer

from lightning_lr.decay.report import tell_other_change
from lightning_lr.decay.schedule import Schedule
from lightning_lr.fit.lightnings import MisconfigurationException, Trainer
from lightning_lr.fit.neighbors import Charts
from lightning_lr.fit.optimizers import groups_of
from lightning_lr.momentum import momenta, set_momenta, set_weight_decay

__all__ = ["OtherValues", "charts_of", "check_others"]


class OtherValues:
    """The momentum and the factor of the weight decay that a fit has now."""

    def __init__(self) -> None:
        self._momenta: Mapping[int, float] | None = None
        self._decay: float | None = None
        self._told: set[str] = set()

    def write(self, trainer: Trainer, schedule: Schedule, *, step: int, epoch: int) -> None:
        """Write the values of a step, and tell if other code changed the last ones; all ranks call it."""
        if schedule.momentum is None and schedule.weight_decay is None:
            return
        optimizers = trainer.optimizers
        if schedule.momentum is not None:
            value = schedule.momentum.without_ramp(step=step, epoch=epoch)
            groups = groups_of(optimizers)
            changes = set_momenta(optimizers, [value] * len(groups), previous=self._momenta)
            self._momenta = {id(group): value for group in groups}
            self._tell(trainer, "momentum", step, changes)
        if schedule.weight_decay is not None:
            factor = schedule.weight_decay.without_ramp(step=step, epoch=epoch)
            changes = set_weight_decay(optimizers, factor, previous=self._decay)
            self._decay = factor
            self._tell(trainer, "weight decay", step, changes)

    def _tell(self, trainer: Trainer, name: str, step: int, changes: list[tuple[float, float]]) -> None:
        if changes and name not in self._told:
            self._told.add(name)
            expected, found = changes[0]
            tell_other_change(trainer, name, step, expected=expected, found=found)


def charts_of(keys: Sequence[str]) -> Charts:
    """Return the charts of these values of parameter groups."""
    charts = {f"{key.replace('_', ' ').capitalize()}, every group": [f"{key}/"] for key in keys}
    return {"Momentum and weight decay": charts} if charts else {}


def check_others(optimizers: Sequence[Optimizer], schedule: Schedule) -> None:
    """Refuse policies of values that no group has.

    Raises:
        MisconfigurationException: With what to change.
    """
    groups = groups_of(optimizers)
    kinds = ", ".join(type(optimizer).__name__ for optimizer in optimizers)
    if schedule.momentum is not None and all(momentum is None for momentum in momenta(optimizers)):
        raise MisconfigurationException(
            f"`LRDecay(momentum=...)` finds no momentum and no betas in {kinds}. Leave it out, or use an"
            " optimizer that has one."
        )
    decays = [group.get("initial_weight_decay", group.get("weight_decay")) for group in groups]
    if schedule.weight_decay is not None and not any(decays):
        raise MisconfigurationException(
            f"`LRDecay(weight_decay=...)` multiplies the weight decay of each group, and {kinds} has none."
            " Give the optimizer a `weight_decay`."
        )
