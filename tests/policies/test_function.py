import copy
import functools
import math
import pickle

import numpy as np
import pytest
from jsonargparse import ArgumentParser

from lightning_lr.policies import Function, Policy


def halve_after_two(epoch, current):
    """The example of Keras' documentation, with a half instead of e^-0.1."""
    return current if epoch < 2 else current / 2


def over_epoch(epoch):
    return 1 / (epoch + 1)


HERE = __name__


def test_epochs_are_whole_and_from_0():
    seen = []
    policy = Function(lambda epoch: seen.append(epoch) or 1.0)
    seen.clear()
    for t in (0, 0.9, 1, 3.5):
        policy.factor(t)
    assert seen == [0, 0, 1, 3]
    assert all(type(epoch) is int for epoch in seen)


def test_one_parameter():
    assert [Function(over_epoch).factor(t) for t in range(4)] == [1, 1 / 2, 1 / 3, 1 / 4]


def test_current_starts_at_1_and_is_what_was_returned():
    calls = []

    def schedule(epoch, current):
        calls.append((epoch, current))
        return current / 2

    policy = Function(schedule)
    assert [policy.factor(t) for t in range(4)] == [1 / 2, 1 / 4, 1 / 8, 1 / 16]
    assert calls == [(0, 1.0), (1, 1 / 2), (2, 1 / 4), (3, 1 / 8)]


@pytest.mark.parametrize("order", [[5, 0, 3, 3, 4, 1, 6], [6, 6, 5, 0], [0, 1, 2, 3]])
def test_a_replay_is_a_pure_function_of_time(order):
    policy = Function(halve_after_two)
    table = [1, 1, 1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32]
    assert [policy.factor(t) for t in order] == [table[t] for t in order]


def test_a_forward_sweep_calls_once_per_epoch():
    calls = []
    policy = Function(lambda epoch, current: calls.append(epoch) or current)
    for t in range(50):
        policy.factor(t)
        policy.factor(t + 0.5)
    assert calls == list(range(50))


@pytest.mark.parametrize(
    "function",
    [
        lambda epoch: 0.5,
        lambda epoch, scale=0.5: scale,
        lambda *epochs: 0.5,
        lambda epoch, *rest, **options: 0.5,
        lambda epoch=7, other=3: 0.5,
        lambda epoch, current: 0.5,
        lambda epoch, current, *, scale=0.5: scale,
        lambda epoch, current, scale=0.5: scale,
        functools.partial(lambda scale, epoch: scale, 0.5),
        functools.partial(lambda epoch, current, scale: scale, scale=0.5),
        lambda epoch: np.float32(0.5),
    ],
)
def test_signatures(function):
    assert Function(function).factor(3) == 0.5


def test_optional_second_parameter_keeps_its_default():
    assert Function(lambda epoch, power=2: 0.5**power).factor(1) == 0.25


@pytest.mark.parametrize(
    "function",
    [lambda: 1.0, lambda epoch, current, more: 1.0, lambda epoch, *, scale: 1.0, lambda *, epoch: 1.0],
)
def test_impossible_signatures(function):
    with pytest.raises(
        TypeError, match=r"`Function\(function=...\)` has the signature .*which cannot be called"
    ):
        Function(function)


def test_function_without_a_signature(monkeypatch):
    def refuse(_):
        raise ValueError("no signature found")

    monkeypatch.setattr("inspect.signature", refuse)
    assert Function(over_epoch).factor(1) == 0.5


@pytest.mark.parametrize("value", [math.nan, math.inf, -0.1])
def test_value_out_of_range(value):
    message = r"`Function\(function=.*\)` must return a number in \[0, inf\), got .* for epoch "
    with pytest.raises(ValueError, match=message + "0"):
        Function(lambda epoch: value)
    policy = Function(lambda epoch: 1.0 if epoch < 4 else value)
    with pytest.raises(ValueError, match=message + "4"):
        policy.factor(4)
    replayed = Function(lambda epoch, current: current if epoch < 4 else value)
    for _ in range(2):
        with pytest.raises(ValueError, match=message + "4"):
            replayed.factor(6)
    assert replayed.factor(3) == 1


@pytest.mark.parametrize("value", [None, "1", True, 1j, [1.0]])
def test_value_of_the_wrong_type(value):
    with pytest.raises(TypeError, match=r"must return a number in \[0, inf\), got .* for epoch 0"):
        Function(lambda epoch: value)


@pytest.mark.parametrize("function", [None, 3, [over_epoch]])
def test_not_callable(function):
    with pytest.raises(TypeError, match=r"`Function\(function=...\)` must be a function or its import path"):
        Function(function)


def test_import_path():
    assert Function("math.exp").factor(0) == 1
    assert Function(f"{HERE}.halve_after_two").factor(3) == 0.25
    # An attribute of an attribute.
    assert Function("numpy.random.mtrand.np.cosh").factor(0) == 1


def test_import_path_to_something_else():
    with pytest.raises(TypeError, match=r"must be a function or its import path, got 'math.pi'"):
        Function("math.pi")


@pytest.mark.parametrize("path", ["", "exp", ".exp", "math.", "math..exp", "no_such_package.f", "a b.c"])
def test_no_import_path(path):
    with pytest.raises(ValueError, match=r"must be an import path such as 'package.module.name', got"):
        Function(path)


@pytest.mark.parametrize("path", ["math.expo", "os.path.joins.more"])
def test_path_without_such_a_name(path):
    with pytest.raises(ValueError, match=r"must name a function, got .*has no attribute"):
        Function(path)


@pytest.mark.parametrize("line", ["import no_such_dependency", "from math import no_such_name"])
def test_path_to_a_broken_module(line, tmp_path, monkeypatch):
    (tmp_path / "broken_schedule.py").write_text(line)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=r"names 'broken_schedule.f', whose import fails: .*no_such"):
        Function("broken_schedule.f")


def test_the_cache_is_no_part_of_the_value():
    fresh, used = Function(halve_after_two), Function(halve_after_two)
    used.factor(9)
    assert fresh == used
    assert hash(fresh) == hash(used)
    assert repr(fresh) == repr(used)
    assert pickle.dumps(fresh) == pickle.dumps(used)


@pytest.mark.parametrize("function", [halve_after_two, f"{HERE}.halve_after_two", over_epoch])
def test_copies(function):
    policy = Function(function)
    for twin in (pickle.loads(pickle.dumps(policy)), copy.deepcopy(policy), copy.copy(policy)):
        assert twin == policy
        assert [twin.factor(t) for t in range(5)] == [policy.factor(t) for t in range(5)]


def test_repr_is_the_import_path_where_there_is_one():
    assert repr(Function("math.exp")) == "Function(function='math.exp')"
    assert repr(Function(math.exp)) == "Function(function='math.exp')"
    assert "<lambda>" in repr(Function(lambda epoch: 1.0))
    assert "functools.partial" in repr(Function(functools.partial(over_epoch)))
    # A name that by now leads to another function is not its path.
    twin = functools.wraps(over_epoch)(lambda epoch: 1.0)
    assert repr(twin) in repr(Function(twin))


def test_yaml_with_a_wrong_path():
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--policy", type=Policy)
    function = {"class_path": "lightning_lr.policies.Function", "init_args": {"function": "math.expo"}}
    config = parser.parse_object({"policy": function})
    with pytest.raises(ValueError, match=r"must name a function, got 'math.expo'"):
        parser.instantiate(config)


def test_yaml_with_a_function_of_two_parameters():
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--policy", type=Policy)
    function = {
        "class_path": "lightning_lr.policies.Function",
        "init_args": {"function": f"{HERE}.halve_after_two"},
    }
    policy = parser.instantiate(parser.parse_object({"policy": function})).policy
    assert [policy.factor(t) for t in range(4)] == [1, 1, 1 / 2, 1 / 4]
