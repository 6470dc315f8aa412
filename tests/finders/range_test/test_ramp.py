"""The ramp's course: which LR comes next, and when it ends."""

import math

import pytest

from lightning_lr.finders.range_test.ramp import Ramp, ramp, read_ramp
from lightning_lr.finders.range_test.rules import Basin
from lightning_lr.finders.suggestion import Abstention, Suggestion


def drive(recorder, loss_after, initial=1.0):
    """Feed the loss that each LR leads to; return the LRs of the steps."""
    lrs, loss = [], initial
    while (lr := recorder.next_lr()) is not None:
        recorder.add_loss(loss)
        lrs.append(lr)
        loss = loss_after(lr)
    return lrs


def test_every_lr_is_paired_with_the_loss_after_its_update():
    lrs = ramp(1e-3, 1.0, 30)
    recorder = Ramp(lrs, extend=False)
    made = drive(recorder, lambda lr: 1 - lr / 10)
    curve = recorder.curve()
    assert made == [*lrs, lrs[-1]]
    assert curve.lrs == lrs
    assert curve.losses == tuple(1 - lr / 10 for lr in lrs)
    assert not curve.diverged


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_no_number_ends_the_ramp(bad):
    recorder = Ramp(ramp(1e-3, 1.0, 30), extend=True)
    drive(recorder, lambda lr: bad if lr > 0.1 else 1.0)
    curve = recorder.curve()
    assert curve.diverged
    assert curve.lrs[-1] > 0.1
    assert math.isfinite(sum(curve.losses[:-1]))


def test_no_step_follows_a_start_that_is_no_number():
    recorder = Ramp(ramp(1e-3, 1.0, 30), extend=True)
    assert len(drive(recorder, lambda lr: 1.0, initial=math.nan)) == 1
    assert recorder.curve().losses == ()


def test_a_ramp_goes_on_until_the_loss_has_risen():
    recorder = Ramp(ramp(1e-6, 1e-3, 60), extend=True)
    drive(recorder, lambda lr: 1 / (1 + 100 * lr) + lr**2 / 50)
    assert 3 < recorder.curve().lrs[-1] < 300


def test_a_ramp_that_never_rises_ends_six_decades_later():
    recorder = Ramp(ramp(1e-6, 1e-3, 60), extend=True)
    drive(recorder, lambda lr: 1 / (1 + 100 * lr))
    assert recorder.curve().lrs[-1] == pytest.approx(1e3, rel=3)


def test_a_ramp_without_a_wall_gives_no_lr():
    recorder = Ramp(ramp(1e-6, 1e-3, 60), extend=True)
    drive(recorder, lambda lr: 1 / (1 + 100 * lr))
    found = read_ramp(recorder, Basin())
    assert isinstance(found, Abstention)
    assert "has not risen again up to LR" in found.reason


@pytest.mark.parametrize("extend", [True, False])
def test_a_ramp_that_has_risen_or_ends_where_the_user_wants_gives_one(extend):
    recorder = Ramp(ramp(1e-6, 1e-1, 60), extend=extend)
    drive(recorder, lambda lr: 1 / (1 + 1e4 * lr) + (lr**2 / 50 if extend else 0))
    assert isinstance(read_ramp(recorder, Basin()), Suggestion)
