"""Writes the LRs of all parameter groups, and remembers them, so that changes by other code are seen."""

from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor
from torch.optim import Optimizer

from lightning_lr.decay.report import take_in_added, tell_change
from lightning_lr.decay.schedule import Schedule, is_pattern
from lightning_lr.fit.lightnings import BaseFinetuning, MisconfigurationException, Trainer
from lightning_lr.fit.names import plain_name
from lightning_lr.fit.neighbors import callbacks_of
from lightning_lr.fit.optimizers import group_names, groups_of
from lightning_lr.fit.target import Target
from lightning_lr.rates import set_factor

__all__ = ["LRWriter", "check_names", "names_of"]


class LRWriter:
    """The factors that the LRs of a fit have now.

    Attributes:
        keys: The names of `LRDecay(policies=...)` that groups have had so far.
    """

    def __init__(self) -> None:
        self.keys: set[str] = set()
        self._has_told = False
        self._last: float | Mapping[int, float] | None = None
        self._keys: list[str | None] = []
        self._keys_are_of: list[tuple[int, int]] = []

    def lacks_bases(self, optimizers: Iterable[Optimizer]) -> bool:
        """Tell whether a parameter group has no base LR yet."""
        for optimizer in optimizers:  # At every step, so without a generator.
            for group in optimizer.param_groups:
                if "initial_lr" not in group:
                    return True
        return False

    def write(self, trainer: Trainer, schedule: Schedule, *, step: int, epoch: int) -> None:
        """Write the LRs of a step, also of groups that have joined; all ranks call it.

        It tells of these, and of the first change by other code.
        """
        optimizers = trainer.optimizers
        if not schedule.others and not schedule.plan.min_lr:
            # The usual case, and the fastest.
            changes = self._write_all(trainer, optimizers, schedule.plan.factor(step=step, epoch=epoch))
        else:
            changes = self._write_each(trainer, self._targets(optimizers, schedule, step=step, epoch=epoch))
        if changes and not self._has_told:
            self._has_told = True
            expected, found = changes[0]
            tell_change(trainer, step, expected=expected, found=found)

    def _write_all(
        self, trainer: Trainer, optimizers: Sequence[Optimizer], factor: float
    ) -> list[tuple[float, float]]:
        """Write the LRs of groups that all have one factor; return each expected and found that differ."""
        if self._last is not None and self.lacks_bases(optimizers):
            take_in_added(trainer, [factor] * len(groups_of(optimizers)))
        changes = set_factor(optimizers, factor, previous=self._last)
        self._last = factor
        return changes

    def _write_each(self, trainer: Trainer, targets: Sequence[Target]) -> list[tuple[float, float]]:
        """Do the same for groups that each have a factor, or a floor, of their own."""
        optimizers = trainer.optimizers
        if self._last is not None and self.lacks_bases(optimizers):
            take_in_added(trainer, [target.factor for target in targets])
        changes = set_factor(optimizers, targets, previous=self._last)
        pairs = zip(groups_of(optimizers), targets, strict=True)
        self._last = {id(group): _factor(target, group["initial_lr"]) for group, target in pairs}
        return changes

    def _targets(
        self, optimizers: Sequence[Optimizer], schedule: Schedule, *, step: int, epoch: int
    ) -> list[Target]:
        """Return what each group makes of its base LR."""
        first = schedule.plan.target(step=step, epoch=epoch)
        if not schedule.others:
            return [first] * sum(len(optimizer.param_groups) for optimizer in optimizers)
        now = [(id(optimizer), len(optimizer.param_groups)) for optimizer in optimizers]
        if now != self._keys_are_of:
            self._keys_are_of = now
            self._keys = [schedule.key_of(name) for name in names_of(optimizers)]
            self.keys.update(key for key in self._keys if key is not None)
        others = {key: schedule.others[key].target(step=step, epoch=epoch) for key in self.keys}
        return [first if key is None else others[key] for key in self._keys]


def names_of(optimizers: Sequence[Optimizer]) -> list[str]:
    """Return the names of all groups in order, as LRLogger names them, without `lr/`.

    Raises:
        MisconfigurationException: Two groups of one optimizer have the same name.
    """
    try:
        named = group_names(optimizers)
    except ValueError as error:
        raise MisconfigurationException(f"LRDecay(policies=...): {error}") from error
    return [plain_name(name) for names in named for name in names]


def check_names(trainer: Trainer, schedule: Schedule) -> None:
    """Refuse policies for groups that do not exist, or that share the tensor of their LR with others.

    A pattern may fit groups that join later, and so may a name if a callback of Lightning thaws groups.

    Raises:
        MisconfigurationException: With the names that there are.
    """
    if not schedule.others:
        return
    names = names_of(trainer.optimizers)
    unknown = [key for key in schedule.unmatched(names) if not is_pattern(key)]
    if unknown and not callbacks_of(trainer, BaseFinetuning):
        raise MisconfigurationException(
            f"`LRDecay(policies=...)` names {' and '.join(map(repr, unknown))}, and no parameter group is"
            f" called that. The groups are {', '.join(names)}. For groups that join during the run, write a"
            f" pattern, for example '{unknown[0]}*'; to name a group, give it a `name` beside its `params`."
        )
    by_tensor: dict[int, set[str | None]] = {}
    for name, group in zip(names, groups_of(trainer.optimizers), strict=True):
        if isinstance(group.get("lr"), Tensor):
            by_tensor.setdefault(id(group["lr"]), set()).add(schedule.key_of(name))
    if any(len(keys) > 1 for keys in by_tensor.values()):
        raise MisconfigurationException(
            "`LRDecay(policies=...)` gives different policies to groups whose `lr` is one and the same"
            " tensor. Give each group an `lr` of its own: `{'params': ..., 'lr': lr.clone()}`."
        )


def _factor(target: Target, base: float | Tensor) -> float:
    if type(base) is float and base * target.factor >= target.min_lr:
        return target.factor  # Mostly so.
    # What is on a device is not compared later, and not read.
    on_device = isinstance(base, Tensor) and base.device.type != "cpu"
    return target.factor if on_device else target.factor_of(float(base))
