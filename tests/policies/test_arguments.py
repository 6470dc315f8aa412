"""Everything that a constructor refuses, and in which words."""

import math
import re

import pytest

from lightning_lr import policies as p

LINE = p.Linear()

# A class, the arguments that it needs, the argument under test, what it must be, values out of it.
RANGES = [
    (p.Constant, {}, "value", "in [0, inf)", [-1, math.inf]),
    (p.Linear, {}, "end", "in [0, 1]", [-0.1, 1.1, math.inf]),
    (p.Linear, {}, "start", "in [0, 1]", [-0.1, 1.1, math.inf]),
    (p.Polynomial, {}, "power", "in (0, inf)", [0, -1, math.inf]),
    (p.Polynomial, {}, "end", "in [0, 1]", [-0.1, 1.1]),
    (p.Exponential, {}, "gamma", "in (0, 1]", [0, -0.1, 1.01, math.inf]),
    (p.InverseTime, {}, "rate", "in [0, inf)", [-1, math.inf]),
    (p.InverseSqrt, {}, "k", "in (0, inf)", [0, -1, math.inf]),
    (p.InverseSqrt, {}, "timescale", "in (0, inf)", [0, -1, math.inf]),
    (p.DelayedExponential, {"start": 3}, "rate", "in [0, inf)", [-1, math.inf]),
    (p.Step, {"size": 3}, "gamma", "in (0, 1]", [0, 1.1]),
    (p.MultiStep, {"milestones": [3]}, "gamma", "in (0, 1]", [0, 1.1]),
    (p.Cosine, {}, "floor", "in [0, 1]", [-0.1, 1.1]),
    (p.CosineRestarts, {"period": 3}, "mult", "in [1, 1e6]", [0.9, 1e7, math.inf]),
    (p.CosineRestarts, {"period": 3}, "floor", "in [0, 1]", [-0.1, 1.1]),
    (p.OneCycle, {}, "pct_start", "in (0, 1)", [0, 1, -1]),
    (p.OneCycle, {"three_phase": True}, "pct_start", "in (0, 0.5)", [0, 0.5, 0.6]),
    (p.OneCycle, {}, "div_factor", "in [1, inf)", [0, 0.9, math.inf]),
    (p.OneCycle, {}, "final_div_factor", "in [1, inf)", [0, 0.9, math.inf]),
    (p.WarmupStableDecay, {}, "floor", "in [0, 1]", [-0.1, 1.1]),
    (p.Cyclic, {"step_size_up": 3}, "low", "in [0, inf)", [-0.1, math.inf]),
    (p.Cyclic, {"step_size_up": 3}, "high", "in [0.1, inf)", [0.05, math.inf]),
    (p.Cyclic, {"step_size_up": 3}, "gamma", "in (0, 1]", [0, 1.1]),
]
COUNTS = [
    (p.DelayedExponential, {}, "start", 0),
    (p.Step, {}, "size", 1),
    (p.CosineRestarts, {}, "period", 1),
    (p.Cyclic, {}, "step_size_up", 1),
    (p.Cyclic, {"step_size_up": 3}, "step_size_down", 1),
]
CHOICES = [
    (p.OneCycle, {}, "anneal_strategy"),
    (p.WarmupStableDecay, {}, "shape"),
    (p.Cyclic, {"step_size_up": 3}, "mode"),
]


def refused(error, message, policy, arguments):
    with pytest.raises(error, match=re.escape(message)):
        policy(**arguments)


@pytest.mark.parametrize(("policy", "others", "name", "wanted", "values"), RANGES)
def test_numbers(policy, others, name, wanted, values):
    for value in [*values, math.nan]:
        message = f"`{policy.__name__}({name}=...)` must be {wanted}, got {value!r}."
        refused(ValueError, message, policy, {**others, name: value})
    for value in (True, "0.5", None, 0.5j):
        message = f"`{policy.__name__}({name}=...)` must be a number {wanted}, got {value!r}."
        refused(TypeError, message, policy, {**others, name: value})


@pytest.mark.parametrize(("policy", "others", "name", "minimum"), COUNTS)
def test_counts(policy, others, name, minimum):
    message = f"`{policy.__name__}({name}=...)` must be at least {minimum}, got {minimum - 1}."
    refused(ValueError, message, policy, {**others, name: minimum - 1})
    for value in (True, 2.0, math.nan, "3"):
        message = f"`{policy.__name__}({name}=...)` must be a whole number, got {value!r}."
        refused(TypeError, message, policy, {**others, name: value})


@pytest.mark.parametrize(("policy", "others", "name"), CHOICES)
def test_choices(policy, others, name):
    for value in ("no such", None):
        message = f"`{policy.__name__}({name}=...)` must be "
        refused((TypeError, ValueError), message, policy, {**others, name: value})


@pytest.mark.parametrize("value", [1, None, "yes"])
def test_flag(value):
    refused(
        TypeError, "`OneCycle(three_phase=...)` must be True or False", p.OneCycle, {"three_phase": value}
    )


@pytest.mark.parametrize("name", ["cooldown", "warmup"])
def test_spans(name):
    message = f"`WarmupStableDecay({name}=...)` must be a count (int >= "
    for value in (-1, -0.1, 1.1, math.nan):
        refused(ValueError, message, p.WarmupStableDecay, {name: value})
    for value in (True, "0.1", None):
        refused(TypeError, message, p.WarmupStableDecay, {name: value})


@pytest.mark.parametrize("value", [0, 0.0])
def test_cooldown_of_no_length(value):
    message = "`WarmupStableDecay(cooldown=...)` must be a count (int >= 1)"
    refused(ValueError, message, p.WarmupStableDecay, {"cooldown": value})


@pytest.mark.parametrize("milestones", [[], [3, 3], [4, 3]])
def test_milestones_out_of_order(milestones):
    message = (
        "`MultiStep(milestones=...)` must be whole numbers, each above the one before, at least one of them"
    )
    refused(ValueError, message, p.MultiStep, {"milestones": milestones})


def test_milestones():
    refused(ValueError, "must be at least 1, got 0", p.MultiStep, {"milestones": [0, 3]})
    refused(TypeError, "must be a whole number, got 1.5", p.MultiStep, {"milestones": [1.5]})
    for value in (3, "34", None, {3, 4}):
        refused(TypeError, "must be a list of whole numbers", p.MultiStep, {"milestones": value})


@pytest.mark.parametrize(("policy", "others"), [(p.Sequence, {"durations": []}), (p.Product, {})])
def test_lists_of_policies(policy, others):
    name = f"`{policy.__name__}(policies=...)` must be "
    refused(ValueError, name + "at least one policy, got an empty list", policy, {"policies": [], **others})
    for value in (LINE, None, "Linear", {LINE}):
        refused(TypeError, name + "a list of policies, got", policy, {"policies": value, **others})
    for value in ([None], [p.Linear], [LINE, abs]):
        message = name + f"a list of policies, got {value[-1]!r} in it. Wrap a function in"
        refused(TypeError, message, policy, {"policies": value, **others})


def test_durations():
    name = "`Sequence(durations=...)` must be "
    for value in (3, None, "34"):
        refused(TypeError, name + "a list of", p.Sequence, {"policies": [LINE], "durations": value})
    for value in (0, 0.0, -1, 1.5, math.nan):
        refused(ValueError, name + "a count", p.Sequence, {"policies": [LINE], "durations": [value]})
    refused(TypeError, name + "a count", p.Sequence, {"policies": [LINE], "durations": [True]})
    for value in ([], [1, 2, 3]):
        message = (
            name + "as many as the 2 policies, or one fewer to give the last one the rest of the run, got"
        )
        refused(ValueError, message, p.Sequence, {"policies": [LINE, LINE], "durations": value})


@pytest.mark.parametrize("policy", [p.Linear, p.Polynomial, p.InverseSqrt, p.OneCycle, p.WarmupStableDecay])
def test_only_the_first_argument_goes_without_its_name(policy):
    with pytest.raises(TypeError, match="positional argument"):
        policy(0.5, 0.5)
