"""Writes the LRs of all parameter groups, and remembers them, so that changes by other code are seen."""

from collections.abc import Iterable, Mapping

from lightning.pytorch import Trainer
from torch import Tensor
from torch.optim import Optimizer

from lightning_lr.decay.report import take_in_added
from lightning_lr.fit.target import Target
from lightning_lr.rates import set_factor

__all__ = ["LRWriter"]


class LRWriter:
    """The factors that the LRs of a fit have now."""

    def __init__(self) -> None:
        self._last: float | Mapping[int, float] | None = None

    def lacks_bases(self, optimizers: Iterable[Optimizer]) -> bool:
        """Tell whether a parameter group has no base LR yet."""
        return any("initial_lr" not in group for each in optimizers for group in each.param_groups)

    def write(self, trainer: Trainer, target: Target) -> list[tuple[float, float]]:
        """Write the LRs of a step, also of groups that have joined, which it tells; all ranks call it.

        Returns:
            For each change by other code since the last step the expected LR and the LR found.
        """
        optimizers = trainer.optimizers
        if self._last is not None and self.lacks_bases(optimizers):
            take_in_added(trainer, target.factor)
        if not target.min_lr:
            changes = set_factor(optimizers, target.factor, previous=self._last)
            self._last = target.factor
            return changes
        groups = [group for optimizer in optimizers for group in optimizer.param_groups]
        changes = set_factor(optimizers, [target] * len(groups), previous=self._last)
        self._last = {id(group): _factor(target, group["initial_lr"]) for group in groups}
        return changes


def _factor(target: Target, base: float | Tensor) -> float:
    # What is on a device is not compared later, and not read.
    on_device = isinstance(base, Tensor) and base.device.type != "cpu"
    return target.factor if on_device else target.factor_of(float(base))
