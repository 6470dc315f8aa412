"""Everything that a constructor refuses, and in which words."""

import math
import re

import numpy as np
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
    (p.Polynomial, {}, "start", "in [0, 1]", [-0.1, 1.1]),
    (p.Exponential, {}, "gamma", "in (0, inf)", [0, -0.1, math.inf]),
    (p.InverseTime, {}, "rate", "in [0, inf)", [-1, math.inf]),
    (p.InverseSqrt, {}, "k", "in (0, inf)", [0, -1, math.inf]),
    (p.InverseSqrt, {}, "timescale", "in (0, inf)", [0, -1, math.inf]),
    (p.DelayedExponential, {"start": 3}, "rate", "in [0, inf)", [-1, math.inf]),
    (p.Step, {"size": 3}, "gamma", "in (0, inf)", [0, -1, math.inf]),
    (p.MultiStep, {"milestones": [3]}, "gamma", "in (0, inf)", [0, -1, math.inf]),
    (p.Cosine, {}, "end", "in [0, 1]", [-0.1, 1.1]),
    (p.Cosine, {}, "start", "in [0, 1]", [-0.1, 1.1]),
    (p.Cosine, {}, "exponent", "in (0, inf)", [0, -1, math.inf]),
    (p.Cosine, {}, "num_cycles", "in (0, 1e6]", [0, -1, 1e7, math.inf]),
    (p.CosineRestarts, {"period": 3}, "mult", "in [1, 1e6]", [0.9, 1e7, math.inf]),
    (p.CosineRestarts, {"period": 3}, "end", "in [0, 1]", [-0.1, 1.1]),
    (p.CosineRestarts, {"period": 3}, "height_mult", "in (0, inf)", [0, -1, math.inf]),
    (p.Repeat, {"policy": LINE, "period": 3}, "mult", "in [1, 1e6]", [0.9, 1e7, math.inf]),
    (p.Repeat, {"policy": LINE, "period": 3}, "height_mult", "in (0, inf)", [0, -1, math.inf]),
    (p.OneCycle, {}, "pct_start", "in (0, 1)", [0, 1, -1]),
    (p.OneCycle, {"three_phase": True}, "pct_start", "in (0, 0.5)", [0, 0.5, 0.6]),
    (p.OneCycle, {}, "div_factor", "in [1, inf)", [0, 0.9, math.inf]),
    (p.OneCycle, {}, "final_div_factor", "in [1, inf)", [0, 0.9, math.inf]),
    (p.WarmupStableDecay, {}, "end", "in [0, 1]", [-0.1, 1.1]),
    (p.Cyclic, {"step_size_up": 3}, "low", "in [0, inf)", [-0.1, math.inf]),
    (p.Cyclic, {"step_size_up": 3}, "high", "in [0.1, inf)", [0.05, math.inf]),
    (p.Cyclic, {"step_size_up": 3}, "gamma", "in (0, 1]", [0, 1.1]),
]
COUNTS = [
    (p.DelayedExponential, {}, "start", 0),
    (p.Step, {}, "size", 1),
    (p.Exponential, {"gamma": 0.9}, "every", 1),
    (p.InverseTime, {"rate": 1}, "every", 1),
    (p.Polynomial, {}, "cycle", 1),
    (p.CosineRestarts, {}, "period", 1),
    (p.CosineRestarts, {}, "num_cycles", 1),
    (p.Repeat, {"policy": LINE}, "period", 1),
    (p.Repeat, {"policy": LINE}, "num_cycles", 1),
    (p.Cyclic, {}, "step_size_up", 1),
    (p.Cyclic, {"step_size_up": 3}, "step_size_down", 1),
]
CHOICES = [
    (p.OneCycle, {}, "anneal_strategy"),
    (p.WarmupStableDecay, {}, "shape"),
    (p.Piecewise, {"times": [0], "values": [1]}, "shape"),
    (p.Polynomial, {}, "of"),
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


@pytest.mark.parametrize(
    ("policy", "others", "name"),
    [
        (p.OneCycle, {}, "three_phase"),
        (p.Exponential, {"gamma": 0.9}, "staircase"),
        (p.InverseTime, {"rate": 1}, "staircase"),
    ],
)
@pytest.mark.parametrize("value", [1, None, "yes"])
def test_flag(policy, others, name, value):
    message = f"`{policy.__name__}({name}=...)` must be True or False"
    refused(TypeError, message, policy, {**others, name: value})


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
    for value in ([None], [LINE, abs]):
        message = name + f"a list of policies, got {value[-1]!r} in it. Wrap a function in"
        refused(TypeError, message, policy, {"policies": value, **others})
    for value in ([p.Linear], [LINE, "linear"]):
        message = name + f"a list of policies, got {value[-1]!r} in it. Write `Linear()`."
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


def test_what_is_repeated():
    for value, mend in ((p.Cosine, "Write `Cosine()`."), (abs, "Wrap a function in")):
        message = f"`Repeat(policy=...)` must be a Policy, got {value!r}. {mend}"
        refused(TypeError, message, p.Repeat, {"policy": value, "period": 3})


@pytest.mark.parametrize(("policy", "others"), [(p.CosineRestarts, {}), (p.Repeat, {"policy": LINE})])
def test_cycles(policy, others):
    for both in ({}, {"period": 3, "num_cycles": 3}):
        message = f"`{policy.__name__}` must have one of `period` and `num_cycles`, got "
        refused(TypeError, message, policy, {**others, **both})
    message = (
        f"`{policy.__name__}(num_cycles=...)` must leave the first cycle some time, got 54 cycles, each 2"
    )
    refused(ValueError, message, policy, {**others, "num_cycles": 54, "mult": 2})
    assert policy(**others, num_cycles=53, mult=2).factor(0, 10) == 1


@pytest.mark.parametrize(
    ("gamma", "wanted", "values"),
    [
        (None, "in (0, inf)", [0, -1, math.inf, math.nan]),
        (0.9, "in [0, 1]", [-0.1, 1.1, math.nan]),
        (1.1, "in [1, inf)", [0.9, math.inf, math.nan]),
    ],
)
def test_the_end_of_an_exponential_lies_on_its_way(gamma, wanted, values):
    for value in values:
        message = f"`Exponential(end=...)` must be {wanted}, got {value!r}."
        refused(ValueError, message, p.Exponential, {"gamma": gamma, "end": value})
    refused(TypeError, f"must be a number {wanted}, got '1'", p.Exponential, {"gamma": gamma, "end": "1"})


def test_points_of_a_piecewise_policy():
    name = "`Piecewise(times=...)` must "
    for value in ([3, 3], [4, 3], [0.5, 0.5], [0, 0]):
        message = f"{name}each be after the one before, got {value!r} in a run of 1."
        refused(ValueError, message, p.Piecewise, {"times": value, "values": [1, 1]})
    for value in (3, "34", None):
        refused(TypeError, name + "be a list of", p.Piecewise, {"times": value, "values": [1]})
        message = "`Piecewise(values=...)` must be a list of numbers"
        refused(TypeError, message, p.Piecewise, {"times": [1], "values": value})
    for value in (-1, 1.1, math.nan):
        refused(ValueError, name + "be a count", p.Piecewise, {"times": [value], "values": [1]})
    for value in (-1, math.inf, math.nan):
        message = f"`Piecewise(values=...)` must be in [0, inf), got {value!r}."
        refused(ValueError, message, p.Piecewise, {"times": [1], "values": [value]})
    for times, values in (([], []), ([1, 2], [1]), ([1], [1, 2])):
        message = (
            f"`Piecewise(values=...)` must be one for each time, and at least one, got {len(values)} values"
            f" for {len(times)} times."
        )
        refused(ValueError, message, p.Piecewise, {"times": times, "values": values})


@pytest.mark.parametrize("policy", [p.Linear, p.Polynomial, p.InverseSqrt, p.OneCycle, p.WarmupStableDecay])
def test_only_the_first_argument_goes_without_its_name(policy):
    with pytest.raises(TypeError, match="positional argument"):
        policy(0.5, 0.5)


def test_arguments_in_the_order_of_torch():
    assert p.Step(30, 0.1) == p.Step(30, gamma=0.1)
    assert p.MultiStep([30, 60], 0.1) == p.MultiStep([30, 60], gamma=0.1)
    assert p.CosineRestarts(10, 2) == p.CosineRestarts(10, mult=2)


@pytest.mark.parametrize(
    ("policy", "others"),
    [(p.Cosine, {}), (p.CosineRestarts, {"period": 3}), (p.WarmupStableDecay, {"shape": "linear"})],
)
def test_floor_is_the_old_name_of_end(policy, others):
    name = policy.__name__
    with pytest.warns(
        FutureWarning, match=re.escape(f"`{name}(floor=...)` is called `{name}(end=...)` now")
    ) as told:
        made = policy(**others, floor=0.1)
    assert told[0].filename == __file__
    assert made == policy(**others, end=0.1)
    assert repr(made) == repr(policy(**others, end=0.1))
    assert made.factor(3, 3) == 0.1
    with (
        pytest.warns(FutureWarning, match="old name"),
        pytest.raises(
            ValueError, match=re.escape(f"`{name}(end=...)` and its old name `floor` differ: 0.2 and 0.1")
        ),
    ):
        policy(**others, end=0.2, floor=0.1)
    # numpy compares a list with its number element by element.
    with (
        pytest.warns(FutureWarning, match="old name"),
        pytest.raises(ValueError, match=r"differ: \[\] and 0.1"),
    ):
        policy(**others, end=[], floor=np.float64(0.1))
    with (
        pytest.warns(FutureWarning, match="old name"),
        pytest.raises(ValueError, match=re.escape(f"`{name}(end=...)` must be in [0, 1], got 2.")),
    ):
        policy(**others, floor=2)


@pytest.mark.parametrize("kind", [p.Cosine, p.WarmupStableDecay])
def test_an_old_name_that_is_no_number_is_refused_in_words_beside_a_numpy_number(kind):
    with pytest.raises((TypeError, ValueError), match=rf"`{kind.__name__}\("), pytest.warns(FutureWarning):
        kind(end=np.float64(0.5), floor=(0, 3))
