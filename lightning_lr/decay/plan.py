"""The plan of a run's learning rates: a policy, a warm-up and a horizon.

It is separate from the callback so that a plan can be computed, checked and drawn without a Trainer.
"""

import math
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from lightning_lr.decay.ramp import RampShape, ramped
from lightning_lr.fit.horizon import Horizon
from lightning_lr.fit.target import Target
from lightning_lr.policies import Policy, WarmupStableDecay, span

__all__ = ["Cooldown", "Interval", "Plan"]

Interval = Literal["epoch", "step"]

# A policy may be any user function, so it is tried at this many evenly spaced points before training.
_CHECKED_POINTS = 10_000


@dataclass(frozen=True)
class Cooldown:
    """A cooldown that began early and ends the run.

    Args:
        start: When it began, on the policy's clock.
        length: How long it takes, in the same unit.
    """

    start: float
    length: float


@dataclass(frozen=True)
class Plan:
    """The factor of every step of a run.

    With W warm-up steps and step s counted from 0, the ramp r(s) goes from `warmup_start` at s = 0 to 1 at
    s = W; by default it is min(1, s / W). The factor is r(s) policy(epoch) per epoch, and
    r(s) policy(max(0, s - W)) per step, where the policy's clock starts when the ramp ends. Once an early
    cooldown has begun, its cooldown curve replaces the policy.

    Args:
        policy: The decay.
        interval: The unit of the policy's time.
        warmup: The length of the ramp, a count of steps (int) or a share of the run (float).
        horizon: The length of the run.
        cooldown: The cooldown of a `WarmupStableDecay`, if it began early.
        warmup_start: Where the ramp starts, in [0, 1].
        warmup_shape: Its curve.
        min_lr: The LR below which the policy does not go; the ramp may.

    Raises:
        ValueError: `policy` needs an end, or `warmup` is a share of the run, and the run has no end.

    Example:
        >>> from lightning_lr.policies import Linear
        >>> plan = Plan(Linear(), "step", 2, Horizon(steps=10, epochs=1))
        >>> [10 * plan.factor(step=step, epoch=0) for step in range(10)]
        [0.0, 5.0, 10.0, 8.75, 7.5, 6.25, 5.0, 3.75, 2.5, 1.25]
    """

    policy: Policy
    interval: Interval
    warmup: float
    horizon: Horizon
    cooldown: Cooldown | None = None
    warmup_start: float = 0.0
    warmup_shape: RampShape = "linear"
    min_lr: float = 0.0

    def __post_init__(self) -> None:
        if self.policy.needs_end and math.isinf(self.total):
            raise ValueError(f"{self.policy!r} has to know when the run ends, and this run has no end.")
        if math.isinf(self.warmup_steps):
            raise ValueError(
                f"A warm-up of {self.warmup:.3g} of the run needs the number of steps, which is unknown here."
                " Give it as a count of steps."
            )

    @cached_property
    def total(self) -> float:
        """The end of the run on the policy's clock."""
        if self.interval == "epoch":
            return self.horizon.epochs
        return max(1, self.horizon.steps - self.warmup_steps)

    @cached_property
    def warmup_steps(self) -> float:
        """The length of the ramp in optimizer steps; of a share of the run, no whole number."""
        return span(self.warmup, self.horizon.steps)

    @property
    def ramp_steps(self) -> int:
        """The number of steps that the ramp makes smaller."""
        return math.ceil(self.warmup_steps)

    def factor(self, *, step: int, epoch: int) -> float:
        """Return the factor of the base LR.

        Args:
            step: Optimizer steps made before this one.
            epoch: Epochs completed before this one.
        """
        factor = self.without_ramp(step=step, epoch=epoch)
        return factor if step >= self.warmup_steps else self._ramped(factor, step)

    def without_ramp(self, *, step: int, epoch: int) -> float:
        """Return the value of the policy alone; during a ramp per step, that of its start."""
        policy, early, time = self.policy, self.cooldown, self._time(step=step, epoch=epoch)
        if early is not None and isinstance(policy, WarmupStableDecay) and time >= early.start:
            # Exact at both ends.
            return policy.cooldown_factor(max(0.0, 1 - (time - early.start) / early.length))
        return policy.factor(time, self.total)

    def target(self, *, step: int, epoch: int) -> Target:
        """Return what a step makes of the base LR: the factor and the floor.

        Example:
            >>> from lightning_lr.policies import Linear
            >>> plan = Plan(Linear(), "epoch", 0, Horizon(steps=40, epochs=4), min_lr=0.04)
            >>> [plan.target(step=10 * epoch, epoch=epoch).lr(0.1) for epoch in range(4)]
            [0.1, 0.07500000000000001, 0.05, 0.04]
        """
        factor = self.factor(step=step, epoch=epoch)
        return Target(factor, self.min_lr, self.ramp(step)) if self.min_lr else Target(factor)

    def ramp(self, step: int) -> float:
        """Return the factor of the ramp alone, 1 after the warm-up."""
        return self._ramped(1.0, step)

    def _ramped(self, factor: float, step: int) -> float:
        start, shape = self.warmup_start, self.warmup_shape
        return ramped(factor, step=step, length=self.warmup_steps, start=start, shape=shape)

    def cooled_from(self, *, step: int, epoch: int, keeps_length: bool = True) -> "Plan":
        """Return the plan whose cooldown begins now, after `step` steps and `epoch` epochs.

        It is as long as planned, or with `keeps_length=False` as the rest of the run, if that is known.

        Raises:
            ValueError: The policy has no cooldown, or is not in its stable phase.

        Example:
            >>> from lightning_lr.policies import WarmupStableDecay
            >>> plan = Plan(WarmupStableDecay(2, shape="linear"), "epoch", 0, Horizon(steps=90, epochs=9))
            >>> plan = plan.cooled_from(step=30, epoch=3)
            >>> [plan.factor(step=10 * epoch, epoch=epoch) for epoch in range(6)]
            [1.0, 1.0, 1.0, 1.0, 0.5, 0.0]
        """
        if not isinstance(self.policy, WarmupStableDecay):
            raise ValueError(f"{self.policy!r} has no cooldown.")  # noqa: TRY004 (what it is, not its type)
        time = self._time(step=step, epoch=epoch)
        warmup, cooldown = self.policy.lengths(self.total)
        if self.cooldown is not None or time >= self.total - cooldown:
            raise ValueError("The cooldown has begun already.")
        if time < warmup or step < self.warmup_steps:
            raise ValueError("The warm-up is not over yet.")
        rest = self.total - time
        stretched = not keeps_length and math.isfinite(rest)
        return replace(self, cooldown=Cooldown(time, rest if stretched else cooldown))

    def can_cool_from(self, *, step: int, epoch: int) -> bool:
        """Tell whether `cooled_from` would return a plan."""
        with suppress(ValueError):
            return self.cooled_from(step=step, epoch=epoch) is not None
        return False

    def is_over(self, *, step: int, epoch: int) -> bool:
        """Tell whether a cooldown that began early has ended."""
        early = self.cooldown
        return early is not None and self._time(step=step, epoch=epoch) - early.start >= early.length

    def _time(self, *, step: int, epoch: int) -> float:
        return epoch if self.interval == "epoch" else max(0, step - self.warmup_steps)

    def check(self, *, name: str = "", below: float = math.inf) -> None:
        """Try the policy along the whole run, so that it fails before the first step and not in the middle.

        Args:
            name: What the policy is of.
            below: What its values must be below.

        Raises:
            Exception: Whatever the policy raises; ValueError if a value is too high.

        Example:
            >>> from lightning_lr.policies import Constant
            >>> Plan(Constant(), "epoch", 0, Horizon(steps=math.inf, epochs=math.inf)).check()
        """
        length = self.total if math.isfinite(self.total) else _CHECKED_POINTS
        points = min(math.ceil(length), _CHECKED_POINTS)
        for index in range(points):
            time = math.ceil(length * index / points)
            value = self.policy.factor(time, self.total)
            if value >= below:
                raise ValueError(
                    f"`{name}` must stay in [0, {below:g}), and {self.policy!r} is {value:.4g} at {time} of"
                    f" {self.total:g} {self.interval}s."
                )
