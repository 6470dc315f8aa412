"""The plan of a run's learning rates: policy, warm-up and horizon put together.

It exists apart from the callback so that a plan can be computed, checked and drawn without a Trainer.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from lightning_lr.fit.horizon import Horizon
from lightning_lr.policies import Policy, WarmupStableDecay, span

__all__ = ["Cooldown", "Interval", "Plan"]

Interval = Literal["epoch", "step"]

# A policy may be any user function: so many points are tried before training, evenly spread.
_CHECKED_POINTS = 10_000


@dataclass(frozen=True)
class Cooldown:
    """A cooldown that began before its time, and with which the run ends.

    Args:
        start: When it began, on the policy's clock.
        length: How long it takes, in the same units.
    """

    start: float
    length: float


@dataclass(frozen=True)
class Plan:
    """The factor of every step of a run.

    With W warm-up steps, step s counted from 0, the ramp is r(s) = min(1, s / W) and the factor is
    r(s) policy(epoch) per epoch, or r(s) policy(max(0, s - W)) per step: there the policy's clock starts
    when the ramp ends. From the start of an early cooldown on, the policy is that of its cooldown.

    Args:
        policy: The decay.
        interval: The unit of the policy's time.
        warmup: The ramp's length, a count of steps (int) or a share of the run (float).
        horizon: The length of the run.
        cooldown: The cooldown that a `WarmupStableDecay` began early, if it did.

    Raises:
        ValueError: A share of a run without end as `warmup`, or a `policy` that needs an end there is not.

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
        """The length of the ramp in optimizer steps."""
        return span(self.warmup, self.horizon.steps)

    def factor(self, *, step: int, epoch: int) -> float:
        """Return the factor of the base LR.

        Args:
            step: Optimizer steps made before this one.
            epoch: Epochs completed before this one.
        """
        warmup_steps = self.warmup_steps
        time = self._time(step=step, epoch=epoch)
        if (
            self.cooldown is not None
            and isinstance(self.policy, WarmupStableDecay)
            and time >= self.cooldown.start
        ):
            # Exact at both ends.
            gone = (time - self.cooldown.start) / self.cooldown.length
            factor = self.policy.cooldown_factor(max(0.0, 1 - gone))
        else:
            factor = self.policy.factor(time, self.total)
        return factor if step >= warmup_steps else factor * step / warmup_steps

    def cooled_from(self, *, step: int, epoch: int) -> "Plan":
        """Return the plan whose cooldown begins now instead of at the end of the run.

        Args:
            step: Optimizer steps made.
            epoch: Epochs completed.

        Raises:
            ValueError: The policy has no cooldown, or it is not in its stable phase.

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
        return replace(self, cooldown=Cooldown(time, cooldown))

    def is_over(self, *, step: int, epoch: int) -> bool:
        """Tell whether a cooldown that began early has come to its end."""
        if self.cooldown is None:
            return False
        return self._time(step=step, epoch=epoch) - self.cooldown.start >= self.cooldown.length

    def _time(self, *, step: int, epoch: int) -> float:
        return epoch if self.interval == "epoch" else max(0, step - self.warmup_steps)

    def check(self) -> None:
        """Try the policy along the whole run, so that a bad value shows before a step is made.

        Raises:
            Exception: Whatever the policy raises.

        Example:
            >>> from lightning_lr.policies import Constant
            >>> Plan(Constant(), "epoch", 0, Horizon(steps=math.inf, epochs=math.inf)).check()
        """
        for time in self._times():
            self.policy.factor(time, self.total)

    def _times(self) -> Iterator[int]:
        count = self.total if math.isfinite(self.total) else _CHECKED_POINTS
        points = min(math.ceil(count), _CHECKED_POINTS)
        return (math.ceil(count * index / points) for index in range(points))
