"""The plans of all parameter groups: one for each policy, and which of them a group follows."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from types import MappingProxyType

from lightning_lr.decay.plan import Plan
from lightning_lr.fit.names import plain_name, short_names

__all__ = ["Schedule", "is_pattern"]


def is_pattern(key: str) -> bool:
    """Tell whether a key of `policies` is a pattern, which need not be the name of a group yet.

    Example:
        >>> is_pattern("layer_*"), is_pattern("head")
        (True, False)
    """
    return any(sign in key for sign in "*?[")


@dataclass(frozen=True)
class Schedule:
    """The plan of all groups but those that are named.

    A group `lr/AdamW/head` is named by `head`, `AdamW/head` or `AdamW`, in this order, or by the first
    pattern that one of these fits; the group of an optimizer that has but one is `pg1` too.

    Args:
        plan: The plan of the other groups.
        others: The plans of named groups, by name or pattern.
        momentum: The plan of the momentum, or of the first beta, of all groups.
        weight_decay: The plan of the factor of the weight decay of all groups.

    Example:
        >>> from lightning_lr.fit.horizon import Horizon
        >>> from lightning_lr.policies import Constant, Linear
        >>> plans = [Plan(policy, "epoch", 0, Horizon(40, 4)) for policy in (Linear(), Constant(0.0))]
        >>> schedule = Schedule(plans[0], {"back*": plans[1]})
        >>> [schedule.plan_of(name).factor(step=0, epoch=2) for name in ("lr/SGD/backbone", "lr/SGD/head")]
        [0.0, 0.5]
    """

    plan: Plan
    others: Mapping[str, Plan] = field(default_factory=lambda: MappingProxyType({}))
    momentum: Plan | None = None
    weight_decay: Plan | None = None

    def key_of(self, name: str) -> str | None:
        """Return the key of `others` that names a group of this name, or None."""
        keys = {plain_name(key): key for key in self.others}
        candidates = short_names(name)
        exact = (keys[each] for each in candidates if each in keys)
        fitting = (given for key, given in keys.items() if any(fnmatchcase(each, key) for each in candidates))
        return next(exact, next(fitting, None))

    def plan_of(self, name: str) -> Plan:
        """Return the plan that a group of this name follows."""
        key = self.key_of(name)
        return self.plan if key is None else self.others[key]

    def factors(self, names: Iterable[str], moments: Iterable[tuple[int, int]]) -> list[list[float]]:
        """Return, for each of the named groups, its factor at each moment: steps made, epochs completed.

        Example:
            >>> from lightning_lr.fit.horizon import Horizon
            >>> from lightning_lr.policies import Linear
            >>> schedule = Schedule(Plan(Linear(), "step", 0, Horizon(steps=4, epochs=1)))
            >>> schedule.factors(["head"], [(0, 0), (1, 0), (2, 0)])
            [[1.0, 0.75, 0.5]]
        """
        at, plans = list(moments), [self.plan_of(name) for name in names]
        found = {id(plan): [plan.factor(step=step, epoch=epoch) for step, epoch in at] for plan in plans}
        return [found[id(plan)] for plan in plans]

    def plans(self, names: Iterable[str] = ()) -> dict[str | None, Plan]:
        """Return the plans that groups of these names follow, by key, None for `plan`; all without names."""
        keys = {self.key_of(name) for name in names} or {None, *self.others}
        return {key: plan for key, plan in self._all().items() if key in keys}

    def unmatched(self, names: Iterable[str]) -> list[str]:
        """Return the keys that name none of these groups."""
        found = {self.key_of(name) for name in names}
        return [key for key in self.others if key not in found]

    @property
    def text(self) -> str:
        """The policies in one line."""
        others = [f"`{key}` by {plan.policy!r}" for key, plan in self.others.items()]
        return ", ".join([repr(self.plan.policy), *others])

    @property
    def short_text(self) -> str:
        """The classes of the policies in one line."""
        others = [f"`{key}` by {type(plan.policy).__name__}(...)" for key, plan in self.others.items()]
        return ", ".join([f"{type(self.plan.policy).__name__}(...)", *others])

    def check(self) -> None:
        """Try all policies along the whole run."""
        for plan in self._all().values():
            plan.check()
        if self.momentum is not None:
            self.momentum.check(name="LRDecay(momentum=...)", below=1.0)
        if self.weight_decay is not None:
            self.weight_decay.check()

    def cooled_from(self, *, step: int, epoch: int, keeps_length: bool = True) -> "Schedule":
        """Return the schedule whose cooldowns begin now, where they can.

        Raises:
            ValueError: None can.
        """
        can = {key: plan for key, plan in self._all().items() if plan.can_cool_from(step=step, epoch=epoch)}
        if not can:
            raise ValueError("No policy can begin its cooldown now.")
        return self._replaced(
            {
                key: plan.cooled_from(step=step, epoch=epoch, keeps_length=keeps_length)
                for key, plan in can.items()
            }
        )

    def without_cooldowns(self) -> "Schedule":
        """Return the schedule as it was before cooldowns began early."""
        return self._replaced({key: replace(plan, cooldown=None) for key, plan in self._all().items()})

    def is_over(self, *, step: int, epoch: int) -> bool:
        """Tell whether the cooldowns that began early have ended."""
        if self.plan.cooldown is None and not self.others:
            return False  # At every step, and mostly so.
        early = [plan for plan in self._all().values() if plan.cooldown is not None]
        return bool(early) and all(plan.is_over(step=step, epoch=epoch) for plan in early)

    def cooldown_lengths(self) -> Iterator[float]:
        """Yield how long the cooldowns that began early take."""
        return (plan.cooldown.length for plan in self._all().values() if plan.cooldown is not None)

    def _all(self) -> dict[str | None, Plan]:
        plans: dict[str | None, Plan] = {None: self.plan}
        plans.update(self.others)
        return plans

    def _replaced(self, plans: Mapping[str | None, Plan]) -> "Schedule":
        others = {key: plans.get(key, plan) for key, plan in self.others.items()}
        return replace(self, plan=plans.get(None, self.plan), others=others)
