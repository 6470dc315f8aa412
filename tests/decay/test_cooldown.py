"""A cooldown that begins early: still a closed form, of time and of its start."""

import math
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_lr.decay.plan import Cooldown, Plan
from lightning_lr.fit.horizon import Horizon
from lightning_lr.policies import Cosine, WarmupStableDecay

EPOCHS, STEPS = 20, 200


def plan(policy, interval="epoch", warmup=0):
    return Plan(policy, interval, warmup, Horizon(steps=STEPS, epochs=EPOCHS))


def factors(planned, times):
    if planned.interval == "epoch":
        return [planned.factor(step=10 * time, epoch=time) for time in times]
    return [planned.factor(step=time, epoch=time // 10) for time in times]


@pytest.mark.parametrize(
    ("policy", "wanted"),
    [
        (WarmupStableDecay(4, shape="linear"), [1, 1, 1, 1, 0.75, 0.5, 0.25, 0, 0]),
        (WarmupStableDecay(0.2, shape="linear", end=0.2), [1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2, 0.2]),
        (WarmupStableDecay(4), [1, 1, 1, 1, 0.5, 1 - math.sqrt(0.5), 1 - math.sqrt(0.75), 0, 0]),
        (WarmupStableDecay(4, warmup=2, shape="cosine"), [0, 0.5, 1, 1, 0.853553, 0.5, 0.146447, 0, 0]),
    ],
)
def test_it_is_the_planned_one_moved_to_its_start(policy, wanted):
    cooled = plan(policy).cooled_from(step=30, epoch=3)
    assert factors(cooled, range(9)) == pytest.approx(wanted, abs=1e-6)
    assert [cooled.is_over(step=10 * epoch, epoch=epoch) for epoch in range(9)] == [False] * 7 + [True] * 2


@given(
    start=st.integers(12, 150),
    cooldown=st.one_of(st.integers(1, 40), st.floats(0.01, 0.2)),
    shape=st.sampled_from(["1-sqrt", "linear", "cosine"]),
    floor=st.floats(0, 1),
)
def test_before_its_start_nothing_changes_and_after_it_nothing_but_the_time(start, cooldown, shape, floor):
    whole = plan(WarmupStableDecay(cooldown, shape=shape, end=floor, warmup=2), "step", warmup=10)
    cooled = whole.cooled_from(step=start, epoch=start // 10)
    before, after = range(start + 1), range(start, STEPS)
    assert factors(cooled, before) == factors(whole, before)
    found = factors(cooled, after)
    assert found == pytest.approx(sorted(found, reverse=True), abs=sys.float_info.epsilon)
    assert found[-1] == pytest.approx(floor)
    first, length = cooled.cooldown.start, cooled.cooldown.length
    assert factors(Plan(whole.policy, "step", 10, whole.horizon, Cooldown(first, length)), after) == found
    moved = STEPS - math.ceil(length) - start
    if float(length).is_integer():
        there = [time + moved for time in after if time + moved <= STEPS]
        assert found[: len(there)] == pytest.approx(factors(whole, there), abs=1e-9)


@pytest.mark.parametrize(
    ("policy", "epoch", "message"),
    [
        (Cosine(), 3, r"Cosine\(end=0.0\) has no cooldown"),
        (WarmupStableDecay(4, warmup=5), 4, "warm-up is not over"),
        (WarmupStableDecay(4), 16, "begun already"),
    ],
)
def test_there_is_none_to_begin(policy, epoch, message):
    with pytest.raises(ValueError, match=message):
        plan(policy).cooled_from(step=10 * epoch, epoch=epoch)


def test_it_begins_once():
    cooled = plan(WarmupStableDecay(4)).cooled_from(step=30, epoch=3)
    with pytest.raises(ValueError, match="begun already"):
        cooled.cooled_from(step=40, epoch=4)
