"""The settings of LRDecay as a value, and the plans that they make for a run of a known length."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from typing_extensions import override

from lightning_lr.checks import check_choice, check_number
from lightning_lr.decay.plan import Cooldown, Interval, Plan
from lightning_lr.decay.ramp import RampShape, check_ramp
from lightning_lr.decay.schedule import Schedule
from lightning_lr.fit.horizon import Horizon
from lightning_lr.policies import (
    Constant,
    Policy,
    WarmupStableDecay,
    check_policies,
    check_policy,
    check_span,
)

__all__ = ["Settings", "check_arguments"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The arguments of `LRDecay`, which says what they mean.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of range.

    Example:
        >>> from lightning_lr.policies import Linear
        >>> settings = Settings(policy=Linear(), interval="epoch", warmup=0)
        >>> settings.schedule(Horizon(steps=40, epochs=4)).plan.factor(step=20, epoch=2)
        0.5
    """

    policy: Policy
    interval: Interval
    warmup: float
    policies: Mapping[str, Policy] | None = None
    warmup_start: float = 0.0
    warmup_shape: RampShape = "linear"
    min_lr: float = 0.0
    momentum: Policy | None = None
    weight_decay: Policy | None = None

    def __post_init__(self) -> None:
        check_arguments("LRDecay", vars(self))

    @override
    def __str__(self) -> str:
        """Return the constructor call, without what later versions added and nobody gave.

        Checkpoints hold this text.
        """
        later = [each for each in fields(self) if each.name not in {"policy", "interval", "warmup"}]
        given = [
            f", {each.name}={getattr(self, each.name)!r}"
            for each in later
            if getattr(self, each.name) != each.default
        ]
        return f"LRDecay({self.policy!r}, interval={self.interval!r}, warmup={self.warmup!r}{''.join(given)})"

    @property
    def text(self) -> str:
        """The arguments as text that is the same in another process."""
        return re.sub(" at 0x[0-9a-f]+", "", str(self))

    @property
    def schedule_name(self) -> str | None:
        """The plan of the LRs as sentences name it; None if it keeps them."""
        kinds = {type(policy).__name__: None for policy in self._all() if not isinstance(policy, Constant)}
        return f"LRDecay({', '.join(kinds)})" if kinds else None

    @property
    def has_cooldown(self) -> bool:
        """Whether a policy of the LRs has a cooldown that can begin early."""
        return any(isinstance(policy, WarmupStableDecay) for policy in self._all())

    @property
    def scheduled_keys(self) -> tuple[str, ...]:
        """The values of parameter groups that have a policy beside the LRs."""
        return tuple(name for name in ("momentum", "weight_decay") if getattr(self, name) is not None)

    def schedule(
        self,
        length: Horizon,
        cooldown: Cooldown | None = None,
        cooldowns: Mapping[str, Cooldown] | None = None,
    ) -> Schedule:
        """Return the plans of a run.

        Args:
            length: The length of the run.
            cooldown: The cooldown of `policy`, if it began early.
            cooldowns: Those of `policies`.

        Raises:
            ValueError: A policy or the warm-up needs an end that the run has not.
        """
        ramp: dict[str, Any] = {"warmup_start": self.warmup_start, "warmup_shape": self.warmup_shape}

        def plan_of(policy: Policy, cooldown: Cooldown | None = None) -> Plan:
            return Plan(policy, self.interval, self.warmup, length, cooldown, min_lr=self.min_lr, **ramp)

        early, others = cooldowns or {}, self.policies or {}
        return Schedule(
            plan_of(self.policy, cooldown),
            {key: plan_of(policy, early.get(key)) for key, policy in others.items()},
            momentum=None if self.momentum is None else plan_of(self.momentum),
            weight_decay=None if self.weight_decay is None else plan_of(self.weight_decay),
        )

    def _all(self) -> list[Policy]:
        return [self.policy, *(self.policies or {}).values()]


def check_arguments(owner: str, given: Mapping[str, Any]) -> None:
    """Raise TypeError or ValueError, in the name of what takes them, if settings are not valid."""
    check_policy(f"{owner}(policy=...)", given["policy"])
    check_policies(f"{owner}(policies=...)", given["policies"])
    check_choice(f"{owner}(interval=...)", given["interval"], ("epoch", "step"))
    check_span(f"{owner}(warmup=...)", given["warmup"])
    check_ramp(owner, given["warmup_start"], given["warmup_shape"])
    check_number(f"{owner}(min_lr=...)", given["min_lr"], "[0, inf)")
    for name in ("momentum", "weight_decay"):
        if given.get(name) is not None:
            check_policy(f"{owner}({name}=...)", given[name])
