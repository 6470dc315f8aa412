"""Copies of schedules: they do the same, and nothing of the original moves."""

import functools
import itertools
import threading
from collections import Counter, deque
from enum import Enum

import numpy as np
import pytest
import torch
from helpers.schedules import sgd
from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import CyclicLR, LambdaLR, OneCycleLR, ReduceLROnPlateau, SequentialLR, StepLR

from lightning_lr.schedules.copies import Copier, StandIn, UncopyableError

# Of schedulers that are stepped with no step of an optimizer between.
pytestmark = pytest.mark.filterwarnings("ignore:Seems like:UserWarning", "ignore:Detected call:UserWarning")

CALLS = {"n": 0}
COUNT = 0


class Phase(Enum):
    WARM = 1


def counted_in_a_cell():
    calls = 0

    def factor(_):
        nonlocal calls
        calls += 1
        return calls / 10

    return factor


def counted_in_a_dict():
    calls = {"n": 0}
    return lambda step: calls.update(n=calls["n"] + 1) or calls["n"] / 10


def counted_in_a_global_dict():
    CALLS["n"] = 0
    return lambda step: CALLS.update(n=CALLS["n"] + 1) or CALLS["n"] / 10


def counted_in_a_global():
    def factor(_):
        global COUNT  # noqa: PLW0603 (as some do)
        COUNT += 1
        return COUNT / 10

    globals()["COUNT"] = 0
    return factor


def counted_in_a_default():
    return lambda step, calls=[0]: calls.append(0) or (len(calls) - 1) / 10


def counted_in_an_attribute():
    def factor(_):
        factor.calls += 1
        return factor.calls / 10

    factor.calls = 0
    return factor


def counted_in_a_list_of_a_module():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.calls = []

        def factor(self, step):
            self.calls.append(step)
            return len(self.calls) / 10

    return Model().factor


def counted_in_an_object():
    class Factor:
        def __init__(self):
            self.calls = 0

        def __call__(self, step):
            self.calls += 1
            return self.calls / 10

    return Factor()


def counted_by_a_method():
    return counted_in_an_object().__call__


def counted_by_a_partial():
    return functools.partial(lambda calls, step: calls.append(0) or len(calls) / 10, [])


def counted_by_a_helper():
    inner = counted_in_a_cell()
    return lambda step: inner(step) + 0 * step


def counted_by_an_iterator():
    counts = itertools.count(1)
    return lambda step: next(counts) / 10


def counted_in_a_module():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.calls = 0
            self.large = nn.Parameter(torch.zeros(1000))

        def factor(self, step):
            self.calls += 1
            return self.calls / 10

    return Model().factor


COUNTED = {name: made for name, made in globals().items() if name.startswith("counted_")}


@pytest.mark.parametrize("name", COUNTED)
def test_what_a_schedule_counts_is_its_own(name):
    optimizer = sgd(1.0)
    scheduler = LambdaLR(optimizer, COUNTED[name]())
    twin = Copier().copy(scheduler)
    for _ in range(3):
        twin.step()
    assert twin.get_last_lr() == [pytest.approx(0.4)]
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1)
    scheduler.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.2)


@pytest.mark.parametrize("make", [np.random.default_rng, torch.Generator, Counter, lambda: deque([1, 2])])
def test_generators_and_collections_are_copied(make):
    held = make()
    twin = Copier().copy({"held": held})["held"]
    assert twin is not held
    assert type(twin) is type(held)


@pytest.mark.parametrize("value", [None, 3, "text", 2.5, Phase.WARM, AdamW, len, torch.float32, torch])
def test_what_cannot_change_is_kept(value):
    assert Copier().copy(value) is value


def test_the_weights_are_not_copied():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 3)
            self.notes = {"seen": 0}

    model = Model()
    twin = Copier().copy(model)
    assert twin is not model
    assert twin.layer is model.layer
    assert twin.notes is not model.notes
    optimizer = AdamW(model.parameters(), lr=0.1)
    stand_in = Copier().copy(optimizer)
    assert isinstance(stand_in, StandIn)
    assert stand_in.param_groups[0]["params"] == []
    assert stand_in.param_groups[0]["betas"] == (0.9, 0.999)


def test_schedulers_of_one_optimizer_share_one_stand_in():
    optimizer = sgd(0.1)
    parts = [StepLR(optimizer, 2), StepLR(optimizer, 3)]
    sequential = SequentialLR(optimizer, parts, [4])
    copier = Copier()
    twin, other = copier.copy(sequential), copier.copy(parts[0])
    assert twin.optimizer is other.optimizer
    assert twin.optimizer is not optimizer
    # As an optimizer that wraps another one shows the groups of that.
    assert copier.copy(optimizer).param_groups[0] is twin.optimizer.param_groups[0]


@pytest.mark.parametrize(
    "make",
    [
        lambda o: CyclicLR(o, 0.01, 0.1, 3, mode="exp_range", gamma=0.9, cycle_momentum=False),
        lambda o: OneCycleLR(o, 0.1, 10, cycle_momentum=False),
        ReduceLROnPlateau,
    ],
)
def test_schedulers_of_torch_can_be_copied(make):
    optimizer = sgd(0.1)
    scheduler = make(optimizer)
    twin = Copier().copy(scheduler)
    arguments = (1.0,) if isinstance(scheduler, ReduceLROnPlateau) else ()
    for _ in range(4):
        optimizer.step()
        twin.step(*arguments), scheduler.step(*arguments)
        assert twin.optimizer.param_groups[0]["lr"] == optimizer.param_groups[0]["lr"]


def test_what_ends_with_its_object_is_not_copied():
    ended = []

    class Connection:
        def __del__(self):
            ended.append(self)

    held = Connection()
    assert Copier().copy([held]) == [held]
    assert not ended


def test_what_has_no_copy_is_said():
    stream = (factor for factor in [0.1, 0.2])
    with pytest.raises(UncopyableError):
        Copier().copy(LambdaLR(sgd(1.0), lambda step: next(stream)))
    with pytest.raises(UncopyableError):
        Copier().copy(threading.Lock())
    with pytest.raises(UncopyableError):
        Copier().copy([{} for _ in range(20_000)])


class Slotted:
    """Keeps its numbers in slots, one of them private."""

    __slots__ = ("__count", "shown")

    def __init__(self):
        self.__count, self.shown = [1], 2

    def rise(self):
        self.__count[0] += 1
        return self.__count[0]


class WithMore(Slotted):
    """Has attributes beside the slots that it inherits."""


@pytest.mark.parametrize("kind", [Slotted, WithMore])
def test_slots_are_copied_the_private_ones_too(kind):
    original = kind()
    copied = Copier().copy(original)
    assert (copied.rise(), copied.shown) == (2, 2)
    assert original.rise() == 2
