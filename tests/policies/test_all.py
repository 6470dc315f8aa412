"""What holds for every policy: one matrix for all."""

import dataclasses
import functools
import io
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from jsonargparse import ArgumentParser
from torch.optim.lr_scheduler import LambdaLR

import lightning_lr.policies
from lightning_lr.policies import (
    Constant,
    Cosine,
    CosineRestarts,
    Cyclic,
    DelayedExponential,
    Exponential,
    Function,
    InverseSqrt,
    InverseTime,
    Linear,
    MultiStep,
    OneCycle,
    Piecewise,
    Policy,
    Polynomial,
    Product,
    Repeat,
    Rex,
    Sequence,
    Step,
    WarmupStableDecay,
)

PATH = "lightning_lr.policies"
EVERY = [
    (Constant(0.5), {"value": 0.5}),
    (Cosine(1), {"end": 1}),
    (Cosine(end=0.1), {"end": 0.1}),
    (
        Cosine(1, start=0.2, exponent=2, num_cycles=1.5),
        {"end": 1, "start": 0.2, "exponent": 2, "num_cycles": 1.5},
    ),
    (CosineRestarts(3), {"period": 3}),
    (
        CosineRestarts(num_cycles=3, mult=2, end=0.1, height_mult=0.5),
        {"num_cycles": 3, "mult": 2, "end": 0.1, "height_mult": 0.5},
    ),
    (CosineRestarts(3, mult=1.5, end=0.1), {"period": 3, "mult": 1.5, "end": 0.1}),
    (Cyclic(3), {"step_size_up": 3}),
    (
        Cyclic(3, step_size_down=2, low=0, high=2, mode="triangular2"),
        {"step_size_up": 3, "step_size_down": 2, "low": 0, "high": 2, "mode": "triangular2"},
    ),
    (Cyclic(3, mode="exp_range", gamma=0.9), {"step_size_up": 3, "mode": "exp_range", "gamma": 0.9}),
    (DelayedExponential(3, rate=2), {"start": 3, "rate": 2}),
    (Exponential(0.9), {"gamma": 0.9}),
    (Exponential(end=0.01), {"end": 0.01}),
    (
        Exponential(1.5, end=2, every=3, staircase=True),
        {"gamma": 1.5, "end": 2, "every": 3, "staircase": True},
    ),
    (Function("math.cosh"), {"function": "math.cosh"}),
    (InverseSqrt(k=2, timescale=4), {"k": 2, "timescale": 4}),
    (InverseTime(rate=1), {"rate": 1}),
    (InverseTime(1, every=4, staircase=True), {"rate": 1, "every": 4, "staircase": True}),
    (Linear(end=0.5, start=0), {"end": 0.5, "start": 0}),
    (MultiStep([3, 5], gamma=0.5), {"milestones": [3, 5], "gamma": 0.5}),
    (OneCycle(), {}),
    (
        OneCycle(0.4, div_factor=10, final_div_factor=100, anneal_strategy="linear", three_phase=True),
        {
            "pct_start": 0.4,
            "div_factor": 10,
            "final_div_factor": 100,
            "anneal_strategy": "linear",
            "three_phase": True,
        },
    ),
    (Piecewise([0, 3, 8], [0.5, 2, 0]), {"times": [0, 3, 8], "values": [0.5, 2, 0]}),
    (
        Piecewise([1, 1.0], [1, 0.1], shape="cosine"),
        {"times": [1, 1.0], "values": [1, 0.1], "shape": "cosine"},
    ),
    (
        Piecewise([0.25, 0.5], [1, 0.1], shape="constant"),
        {"times": [0.25, 0.5], "values": [1, 0.1], "shape": "constant"},
    ),
    (Polynomial(2, end=0.1), {"power": 2, "end": 0.1}),
    (
        Polynomial(2, end=1, start=0.1, of="elapsed", cycle=5),
        {"power": 2, "end": 1, "start": 0.1, "of": "elapsed", "cycle": 5},
    ),
    (
        Product([Linear(), Step(3)]),
        {
            "policies": [
                {"class_path": f"{PATH}.Linear"},
                {"class_path": f"{PATH}.Step", "init_args": {"size": 3}},
            ]
        },
    ),
    (
        Repeat(Linear(0.1), 3, 1.5, height_mult=0.5),
        {
            "policy": {"class_path": f"{PATH}.Linear", "init_args": {"end": 0.1}},
            "period": 3,
            "mult": 1.5,
            "height_mult": 0.5,
        },
    ),
    (
        Repeat(Cosine(num_cycles=1), num_cycles=3),
        {"policy": {"class_path": f"{PATH}.Cosine", "init_args": {"num_cycles": 1}}, "num_cycles": 3},
    ),
    (Rex(), {}),
    (
        Sequence([Linear(1, start=0), Constant(), Rex()], durations=[1, 0.5]),
        {
            "policies": [
                {"class_path": f"{PATH}.Linear", "init_args": {"end": 1, "start": 0}},
                {"class_path": f"{PATH}.Constant"},
                {"class_path": f"{PATH}.Rex"},
            ],
            "durations": [1, 0.5],
        },
    ),
    (Step(3, gamma=0.5), {"size": 3, "gamma": 0.5}),
    (WarmupStableDecay(1, warmup=1), {"cooldown": 1, "warmup": 1}),
    (WarmupStableDecay(1.0, shape="linear", end=0.1), {"cooldown": 1.0, "shape": "linear", "end": 0.1}),
]
POLICIES = [policy for policy, _ in EVERY]
BOUNDED = [policy for policy in POLICIES if not isinstance(policy, Function)]
each = functools.partial(pytest.mark.parametrize, "policy", ids=repr)


def optimizer(lr=0.5):
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(2))], lr=lr)


def lrs(scheduler, count):
    found = []
    for _ in range(count):
        found.append(scheduler.get_last_lr()[0])
        scheduler.optimizer.step()
        scheduler.step()
    return found


def test_the_matrix_is_complete():
    public = {vars(lightning_lr.policies)[name] for name in lightning_lr.policies.__all__}
    leaves = {kind for kind in public if isinstance(kind, type)} - {Policy}
    assert {type(policy) for policy in POLICIES} == leaves


def of_numpy(value):
    if isinstance(value, tuple):
        return [of_numpy(each) for each in value]
    return {int: np.int64, float: np.float32}.get(type(value), lambda value: value)(value)


@each(POLICIES)
def test_numbers_of_numpy_become_those_of_python(policy):
    names = [field.name for field in dataclasses.fields(policy) if field.init]
    arguments = {name: of_numpy(getattr(policy, name)) for name in names}
    made = type(policy)(**arguments)
    for name, argument in arguments.items():
        kept = getattr(made, name)
        pairs = zip(kept, argument, strict=True) if isinstance(argument, list) else [(kept, argument)]
        assert all(value == number and not isinstance(value, np.generic) for value, number in pairs)


@pytest.mark.parametrize(
    "policy", [DelayedExponential(np.int64(3), rate=1e300), InverseTime(np.float64(1e300))], ids=repr
)
def test_an_overflow_within_a_formula_is_no_warning(policy):
    assert policy.factor(2**53) < 1e-300


@each(POLICIES)
def test_lambda_lr(policy):
    table = [0.5 * policy.factor(t, 12) for t in range(16)]
    assert lrs(LambdaLR(optimizer(), policy.over(12)), 16) == table
    if not policy.needs_end:
        endless = [0.5 * policy.factor(t) for t in range(16)]
        assert lrs(LambdaLR(optimizer(), policy), 16) == endless


@each(POLICIES)
def test_lambda_lr_resumes_from_a_weights_only_checkpoint(policy):
    def make():
        return LambdaLR(optimizer(), policy.over(12))

    whole = lrs(make(), 12)
    first = make()
    lrs(first, 5)
    file = io.BytesIO()
    torch.save({"scheduler": first.state_dict(), "optimizer": first.optimizer.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    second = make()
    second.load_state_dict(saved["scheduler"])
    second.optimizer.load_state_dict(saved["optimizer"])
    assert lrs(second, 7) == whole[5:]


@each([policy for policy in POLICIES if not policy.needs_end])
def test_lambda_lr_keeps_a_policy_through_its_state_dict(policy):
    scheduler = LambdaLR(optimizer(), policy)
    lrs(scheduler, 3)
    twin = LambdaLR(optimizer(), policy)
    twin.load_state_dict(scheduler.state_dict())
    assert lrs(twin, 3) == [0.5 * policy.factor(t) for t in (3, 4, 5)]


@each(POLICIES)
def test_pickle_repr_and_hash(policy):
    for twin in (pickle.loads(pickle.dumps(policy)), eval(repr(policy)), dataclasses.replace(policy)):
        assert twin == policy
        assert hash(twin) == hash(policy)
        assert repr(twin) == repr(policy)
        assert twin.factor(5, 12) == policy.factor(5, 12)
    assert policy != Constant(0.123)


@each(POLICIES)
def test_a_policy_is_frozen(policy):
    with pytest.raises(dataclasses.FrozenInstanceError):
        policy.anything = 1


@pytest.mark.parametrize(("policy", "arguments"), EVERY, ids=repr)
def test_yaml(policy, arguments):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--policy", type=Policy)
    config = parser.parse_object(
        {"policy": {"class_path": f"{PATH}.{type(policy).__name__}", "init_args": arguments}}
    )
    made = parser.instantiate(config).policy
    if not isinstance(policy, Function):
        assert made == policy
    again = parser.parse_string(parser.dump(config))
    for twin in (made, parser.instantiate(again).policy):
        assert [twin.factor(t, 12) for t in range(13)] == [policy.factor(t, 12) for t in range(13)]


@each(POLICIES)
def test_holds_past_the_end(policy):
    end = policy.factor(12, 12)
    assert [policy.factor(t, 12) for t in (12.5, 13, 1e9, 2**53)] == [end] * 4


@each(POLICIES)
def test_needs_end_is_what_decides(policy):
    if policy.needs_end:
        with pytest.raises(ValueError, match="needs the end of the run"):
            policy.factor(0)
    else:
        assert policy.factor(0) == policy.factor(0, 12)


@each(BOUNDED)
@given(t=st.floats(0, 2**53) | st.integers(0, 2**53), total=st.integers(4, 2**60) | st.floats(4, 1e300))
def test_finite_at_every_time(policy, t, total):
    assert 0 <= policy.factor(t, total) <= 2 + 1e-12
    if not policy.needs_end:
        assert 0 <= policy.factor(t) <= 2 + 1e-12


@each(BOUNDED)
def test_a_pure_function_of_time(policy):
    forward = [policy.factor(t, 12) for t in range(13)]
    assert [policy.factor(t, 12) for t in reversed(range(13))] == forward[::-1]
