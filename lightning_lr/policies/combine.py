"""Policies made of policies."""

import math
from bisect import bisect_right
from collections import abc
from dataclasses import KW_ONLY, dataclass
from itertools import accumulate
from typing import Annotated

from typing_extensions import override

from lightning_lr.checks import In, as_tuple
from lightning_lr.policies.base import Policy, check_policy
from lightning_lr.policies.cycles import check_cycles, cycle_at
from lightning_lr.policies.spans import check_span, is_share, snap, span

__all__ = ["Product", "Repeat", "Sequence"]


@dataclass(frozen=True)
class Sequence(Policy):
    """Run policies one after the other, each on its own clock.

    factor(t, total) = policy_i(t - start_i, duration_i) for start_i <= t < start_i + duration_i

    As in `torch.optim.lr_scheduler.SequentialLR`, every factor is relative to the base LR, not to the last
    factor of the policy before, and at a join the next policy has begun. If all durations end before the run
    does, the factor keeps its last value.

    Args:
        policies: The policies in order, at least one.
        durations: Their lengths, each a count (int) of at least 1 or a share of the run (float) in (0, 1].
            One fewer than policies gives the last policy the rest of the run.

    Raises:
        TypeError: An argument or one of its elements has the wrong type.
        ValueError: An argument is empty or out of range, or the numbers of policies and durations do not
            match; in `factor` also if the durations do not fit into the run.

    Example:
        >>> from lightning_lr.policies import Constant, Linear
        >>> policy = Sequence([Linear(1.0, start=0.0), Constant(), Linear()], durations=[2, 0.25])
        >>> [policy.factor(step, total=8) for step in range(9)]
        [0.0, 0.5, 1.0, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0]
    """

    policies: abc.Sequence[Policy]
    _: KW_ONLY
    # A plain `float` would make jsonargparse turn the count 1 into the share 1.0.
    durations: abc.Sequence[int | float]

    @override
    def __post_init__(self) -> None:
        object.__setattr__(self, "policies", _checked_policies("Sequence", self.policies))
        durations = as_tuple("Sequence(durations=...)", self.durations, "counts and shares")
        object.__setattr__(self, "durations", durations)
        for duration in self.durations:
            check_span("Sequence(durations=...)", duration, positive=True)
        if len(self.policies) - len(self.durations) not in {0, 1}:
            raise ValueError(
                f"`Sequence(durations=...)` must be as many as the {len(self.policies)} policies, or one"
                f" fewer to give the last one the rest of the run, got {len(self.durations)}."
            )
        if all(map(is_share, self.durations)):
            self._ends(1.0)

    @property
    @override
    def needs_end(self) -> bool:
        if any(map(is_share, self.durations)):
            return True
        return len(self.durations) < len(self.policies) and self.policies[-1].needs_end

    @override
    def formula(self, t: float, total: float) -> float:
        ends = self._ends(total)
        # After its end the last policy keeps its last value.
        current = min(bisect_right(ends, t), len(ends) - 1)
        start = ends[current - 1] if current else 0.0
        return self.policies[current].factor(t - start, ends[current] - start)

    def _ends(self, total: float) -> list[float]:
        """Return when each policy ends, for a run of length `total`."""
        ends = list(accumulate(span(duration, total) for duration in self.durations))
        # Rounding must not put a join after its step, nor the last end after the end of the run.
        ends = [snap(end, total) for end in ends]
        needed = ends[-1] if ends else 0.0
        if len(ends) < len(self.policies):
            ends.append(total)
            fits, wanted = needed < total, "leave a part of the run to the last policy"
        else:
            fits, wanted = needed <= total, "fit into the run"
        if not fits:
            raise ValueError(
                f"`Sequence(durations=...)` must {wanted}, got {list(self.durations)!r}, which take"
                f" {needed:g} of {total:g}. Shorten them."
            )
        return ends


@dataclass(frozen=True)
class Product(Policy):
    """Multiply policies that run at the same time.

    factor(t, total) = policy_1(t, total) policy_2(t, total) ...

    Args:
        policies: The policies, at least one.

    Raises:
        TypeError: `policies` is not a list of policies.
        ValueError: `policies` is empty.

    Example:
        >>> from lightning_lr.policies import Linear, Step
        >>> policy = Product([Linear(), Step(2, 0.5)])
        >>> [policy.factor(epoch, total=4) for epoch in range(5)]
        [1.0, 0.75, 0.25, 0.125, 0.0]
    """

    policies: abc.Sequence[Policy]

    @override
    def __post_init__(self) -> None:
        object.__setattr__(self, "policies", _checked_policies("Product", self.policies))

    @property
    @override
    def needs_end(self) -> bool:
        return any(policy.needs_end for policy in self.policies)

    @override
    def formula(self, t: float, total: float) -> float:
        return math.prod(policy.factor(t, total) for policy in self.policies)


@dataclass(frozen=True, repr=False)
class Repeat(Policy):
    """Start a policy again in every cycle, in cycles that may grow longer and lower.

    factor(t) = height_mult^n policy(s, L), where cycle n = 0, 1, ... has length L = period mult^n and began s
    before t. With `num_cycles` in place of `period`, so many cycles fill the run.

    The cycles of ignite's schedulers, with its `cycle_mult`: `Repeat(Linear(0.1), 10)` is its
    `LinearCyclicalScheduler(monotonic=True)`. For a warm-up in every cycle, as in optax's `sgdr_schedule`,
    repeat a `Sequence`. If the run ends together with a cycle, the last value is the policy's last.

    Args:
        policy: What a cycle consists of; the length of the cycle is the policy's run.
        period: Length of the first cycle, at least 1; None with `num_cycles`.
        mult: Length of a cycle relative to the one before, in [1, 1e6].
        num_cycles: Number of cycles in the run, at least 1; None with `period`.
        height_mult: Factor of a cycle relative to the one before, in (0, inf).

    Raises:
        TypeError: An argument has the wrong type; both or neither of `period` and `num_cycles` are given.
        ValueError: An argument is out of range; in `factor` also if the policy cannot run over a cycle.

    Example:
        >>> from lightning_lr.policies import Linear
        >>> [Repeat(Linear(), 2, height_mult=0.5).factor(step, total=6) for step in range(7)]
        [1.0, 0.5, 0.5, 0.25, 0.25, 0.125, 0.0]
    """

    policy: Policy
    period: int | None = None
    mult: Annotated[float, In("[1, 1e6]")] = 1.0
    _: KW_ONLY
    num_cycles: int | None = None
    height_mult: Annotated[float, In("(0, inf)")] = 1.0

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        check_policy("Repeat(policy=...)", self.policy)
        check_cycles("Repeat", self.period, self.mult, self.num_cycles)

    @property
    @override
    def needs_end(self) -> bool:
        return self.period is None

    @override
    def formula(self, t: float, total: float) -> float:
        cycle = cycle_at(t, total, self.period, self.mult, self.num_cycles)
        return float(self.height_mult) ** cycle.number * self.policy.factor(cycle.since, cycle.length)


def _checked_policies(name: str, policies: object) -> tuple[Policy, ...]:
    checked = as_tuple(f"{name}(policies=...)", policies, "policies")
    for policy in checked:
        check_policy(f"{name}(policies=...)", policy, in_list=True)
    if not checked:
        raise ValueError(f"`{name}(policies=...)` must be at least one policy, got an empty list.")
    return checked
