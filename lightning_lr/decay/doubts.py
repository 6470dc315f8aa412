"""Settings of a plan that can hardly have the effect that they were given for, as sentences."""

import math
from collections.abc import Iterable, Iterator, Sequence

from lightning_lr.decay.plan import Plan
from lightning_lr.decay.schedule import Schedule
from lightning_lr.policies import Constant

__all__ = ["doubts", "warms_up"]

# The policy is looked at at so many moments of the run.
_MOMENTS = 1_000
# A factor below this trains next to nothing.
_TINY = 1e-3
# A policy that begins below this share of its highest factor warms up by itself.
_LOW_START = 0.5


def doubts(schedule: Schedule, names: Iterable[str] = ()) -> list[str]:
    """Return what of the plans of groups their user will hardly expect, with both numbers and what to do.

    Args:
        schedule: The plans.
        names: The names of the groups; without, all plans are looked at.

    Example:
        >>> from lightning_lr.fit.horizon import Horizon
        >>> from lightning_lr.policies import Linear
        >>> [doubt] = doubts(Schedule(Plan(Linear(), "step", 1000, Horizon(steps=48, epochs=2))))
        >>> doubt[:58]
        'The warm-up takes 1,000 steps and the run 48: the LR reach'
    """
    found: list[str] = []
    for key, plan in schedule.plans(names).items():
        factors = _factors(plan)
        for doubt in (*_of_warmup(plan, factors), *_of_policy(plan, factors)):
            if not any(each.endswith(doubt) for each in found):
                found.append(doubt if key is None else f"Of the group `{key}`: {doubt}")
    return found


def warms_up(schedule: Schedule, names: Iterable[str] = ()) -> bool:
    """Tell whether the LRs of all groups begin low and rise: by the ramp, or because their policies do so.

    Example:
        >>> from lightning_lr.fit.horizon import Horizon
        >>> from lightning_lr.policies import Linear, OneCycle
        >>> plans = [Plan(each, "step", 0, Horizon(steps=48, epochs=2)) for each in (Linear(), OneCycle())]
        >>> [warms_up(Schedule(plan)) for plan in plans]
        [False, True]
    """
    return all(plan.ramp_steps > 0 or _rises(_factors(plan)) for plan in schedule.plans(names).values())


def _rises(factors: Sequence[float]) -> bool:
    return bool(factors) and factors[0] < _LOW_START * max(factors) and factors[0] <= factors[1]


def _of_warmup(plan: Plan, factors: Sequence[float]) -> Iterator[str]:
    ramp, steps = plan.ramp_steps, plan.horizon.steps
    if not ramp:
        if (plan.warmup_start, plan.warmup_shape) != (0, "linear"):
            yield (
                "`warmup_start` and `warmup_shape` say how a warm-up rises, and this run has none. Give its"
                " length too, for example `warmup=0.05`."
            )
        return
    if ramp >= steps:
        yield (
            f"The warm-up takes {ramp:,} steps and the run {steps:,.0f}: the LR reaches no more than"
            f" {plan.ramp(int(steps) - 1):.0%} of what it should. Give `warmup` a smaller count, or a"
            " share of the run such as `warmup=0.05`."
        )
    if _rises(factors):
        yield (
            f"{plan.policy!r} begins at {factors[0]:.3g} of the base LR and rises by itself, and `warmup`"
            f" multiplies that by a ramp of {ramp:,} steps. Use one of the two: `warmup=0`, or a policy that"
            " begins at 1."
        )


def _of_policy(plan: Plan, factors: Sequence[float]) -> Iterator[str]:
    if isinstance(plan.policy, Constant):
        return
    if plan.interval == "epoch" and plan.horizon.epochs <= 1:
        yield (
            f"{plan.policy!r} counts epochs, and this run has one: the LR is that of its start throughout."
            " Use `interval='step'`."
        )
        return
    if plan.min_lr:
        return  # It keeps the LR up.
    tiny = [factor < _TINY for factor in factors]
    if sum(tiny) > len(tiny) / 2:
        unit = plan.interval
        first = math.ceil(tiny.index(True) * plan.total / len(factors))
        yield (
            f"{plan.policy!r} per {unit} is below {_TINY} of the base LR for {sum(tiny) / len(tiny):.0%} of"
            f" the run, for the first time after {first:,} of {plan.total:,.0f} {unit}s. Slow it down"
            + (", or count in epochs with `interval='epoch'`." if unit == "step" else ".")
        )


def _factors(plan: Plan) -> list[float]:
    """Return the factors of the policy over the run, without the ramp; none if the run has no end."""
    if math.isinf(plan.total):
        return []
    return [plan.policy.factor(plan.total * moment / _MOMENTS, plan.total) for moment in range(_MOMENTS)]
