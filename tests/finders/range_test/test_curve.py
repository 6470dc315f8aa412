import csv
import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_lr.finders.bounds import model_bounds
from lightning_lr.finders.range_test.curve import LossCurve, has_diverged, has_risen, highest_to_try, smooth
from lightning_lr.finders.range_test.ramp import ramp

NAN, INF = math.nan, math.inf


def basin(lrs, *, optimum=1e-2):
    """Losses that have half fallen a decade before the optimum and rise a decade after it."""
    return [0.1 + 0.9 / (1 + 10 * lr / optimum) + (lr / optimum / 10) ** 2 for lr in lrs]


def noisy(losses, *, sd, seed=0):
    return [
        loss + sd * x
        for loss, x in zip(losses, np.random.default_rng(seed).standard_normal(len(losses)), strict=False)
    ]


# What is recorded


def test_a_curve_holds_plain_floats_whatever_it_is_made_of():
    curve = LossCurve(np.array([0.1, 1.0]), np.array([2, 1], dtype=np.float32), diverged=np.bool_(True))

    assert curve == LossCurve((0.1, 1.0), (2.0, 1.0), diverged=True)
    assert {type(value) for value in curve.lrs + curve.losses} == {float}
    assert type(curve.diverged) is bool


@pytest.mark.parametrize(
    ("lrs", "losses", "message"),
    [
        ((0.1, 1.0), (1.0,), "equally long, got 2 LRs and 1 losses"),
        ((0.0, 1.0), (1.0, 1.0), r"in \(0, inf\), got 0.0"),
        ((NAN, 1.0), (1.0, 1.0), r"in \(0, inf\), got nan"),
        ((0.1, INF), (1.0, 1.0), r"in \(0, inf\), got inf"),
        ((1.0, 1.0), (1.0, 1.0), "must increase, got 1.0 after 1.0"),
        ((1.0, 0.1), (1.0, 1.0), "must increase, got 0.1 after 1.0"),
    ],
)
def test_nonsense_is_no_curve(lrs, losses, message):
    with pytest.raises(ValueError, match=message):
        LossCurve(lrs, losses)


def test_json_keeps_every_bit_and_what_is_not_finite(tmp_path):
    curve = LossCurve((0.1, 0.2, 1 / 3, 0.5), (1 / 3, -INF, NAN, INF), diverged=True)

    curve.to_json(tmp_path / "curve.json")
    read = LossCurve.from_json(tmp_path / "curve.json")

    assert (read.lrs, read.diverged) == (curve.lrs, True)
    assert repr(read.losses) == repr(curve.losses)

    def refuse(constant):
        raise AssertionError(constant)

    json.loads((tmp_path / "curve.json").read_text(), parse_constant=refuse)


def test_csv_has_a_header_and_a_line_per_step(tmp_path):
    LossCurve((0.1, 1 / 3), (2.5, NAN)).to_csv(tmp_path / "curve.csv")

    with (tmp_path / "curve.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [["lr", "loss"], ["0.1", "2.5"], [repr(1 / 3), "nan"]]


# Smoothing


def test_the_smoothed_curve_has_no_lag_at_any_number_of_steps():
    for num_steps in (30, 100, 400, 1000):
        lrs = ramp(1e-5, 1.0, num_steps)
        smoothed = smooth(LossCurve(lrs, [(math.log10(lr) + 2) ** 2 for lr in lrs]))

        assert smoothed.log_lrs[smoothed.lowest] == pytest.approx(-2, abs=0.02)


def test_the_noise_estimate_is_that_of_the_smoothed_loss():
    lrs = ramp(1e-5, 1.0, 200)
    clean = smooth(LossCurve(lrs, basin(lrs)))
    errors, estimates = [], []
    for seed in range(40):
        smoothed = smooth(LossCurve(lrs, noisy(basin(lrs), sd=0.05, seed=seed)))
        errors.append(smoothed.losses[smoothed.log_lrs.size // 2] - clean.losses[clean.log_lrs.size // 2])
        estimates.append(smoothed.noise)

    assert np.median(estimates) == pytest.approx(np.std(errors), rel=0.5)
    assert clean.noise < 0.001


@pytest.mark.parametrize("bad", [NAN, INF, -INF, 1e30])
def test_one_bad_loss_among_good_ones_changes_nothing_to_speak_of(bad):
    lrs = ramp(1e-5, 1.0, 100)
    losses = basin(lrs)
    good = smooth(LossCurve(lrs, losses))
    losses[50] = bad
    with_bad = smooth(LossCurve(lrs, losses))

    assert np.isfinite(with_bad.losses).all()
    assert with_bad.losses == pytest.approx(good.losses, abs=0.03)


def test_a_last_loss_of_nan_is_the_worst_where_the_ramp_ended_there():
    lrs = ramp(1e-5, 1.0, 100)
    losses = [*basin(lrs)[:70], NAN]

    diverged = smooth(LossCurve(lrs[:71], losses, diverged=True))
    cut = smooth(LossCurve(lrs[:71], losses))

    assert diverged.losses[-1] > diverged.losses.min() + 0.3
    assert cut.losses[-1] < diverged.losses[-1]


def test_a_divergence_does_not_reach_back():
    lrs = ramp(1e-5, 1.0, 100)
    losses = basin(lrs)
    huge = smooth(LossCurve(lrs, [loss if lr < 0.1 else 1e12 for lr, loss in zip(lrs, losses, strict=False)]))

    before = huge.log_lrs < -1.4
    assert huge.losses[before] == pytest.approx(smooth(LossCurve(lrs, losses)).losses[before], abs=0.01)


def test_a_linear_ramp_is_smoothed_too():
    lrs = ramp(1e-4, 1.0, 100, mode="linear")
    smoothed = smooth(LossCurve(lrs, [(math.log10(lr) + 0.5) ** 2 for lr in lrs]))

    assert np.isfinite(smoothed.losses).all()
    assert smoothed.log_lrs[smoothed.lowest] == pytest.approx(-0.5, abs=0.03)


@pytest.mark.parametrize(
    ("curve", "message"),
    [
        (LossCurve((), ()), "at least 3 points, got 0"),
        (LossCurve((0.1, 0.2), (1.0, 1.0)), "at least 3 points, got 2"),
        (LossCurve((0.1, 0.2, 0.3), (INF, NAN, INF)), "must have a finite loss, got none"),
    ],
)
def test_what_cannot_be_smoothed_is_refused(curve, message):
    with pytest.raises(ValueError, match=message):
        smooth(curve)


def test_a_second_basin_beyond_a_blow_up_is_not_read():
    log_lrs = np.linspace(-5, 1, 200)
    dip = np.exp(-(((log_lrs + 2) / 0.5) ** 2)) + 2 * np.exp(-(((log_lrs - 0.3) / 0.2) ** 2))
    bump = 4 * np.exp(-(((log_lrs + 0.6) / 0.2) ** 2))
    smoothed = smooth(LossCurve(10**log_lrs, 3 - dip + bump))

    first = smoothed.first_basin()

    assert smoothed.log_lrs[smoothed.lowest] == pytest.approx(0.3, abs=0.1)
    assert first.log_lrs[first.lowest] == pytest.approx(-2, abs=0.1)


def test_landmarks_of_a_known_curve():
    log_lrs = np.linspace(-6, 0, 200)
    smoothed = smooth(LossCurve(10**log_lrs, np.interp(log_lrs, [-4, -3, -2, -1], [1, 0, 0, 2])))

    assert smoothed.drop == pytest.approx(1, abs=0.01)
    assert smoothed.fallen(0.5) == pytest.approx(-3.5, abs=0.03)
    assert smoothed.risen(0.5) == pytest.approx(-1.75, abs=0.05)
    assert smooth(LossCurve(10**log_lrs, -log_lrs)).risen(0.5) is None


# Divergence


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_a_loss_that_is_not_finite_stops_the_ramp_at_once(bad):
    assert has_diverged([bad])
    assert has_diverged([1.0] * 20 + [bad])
    assert not has_diverged([1.0] * 20 + [bad] + [1.0])


def test_an_empty_ramp_goes_on():
    assert not has_diverged([])


@given(
    scale=st.floats(1e-6, 1e6), shift=st.floats(-1e3, 1e3), seed=st.integers(0, 1000), rise=st.floats(0.5, 20)
)
@settings(max_examples=60, deadline=None)
def test_divergence_is_judged_alike_at_any_scale_and_shift(scale, shift, seed, rise):
    lrs = ramp(1e-4, 1.0, 60)
    losses = noisy([*basin(lrs), rise, rise], sd=0.01, seed=seed)
    moved = [scale * (loss + shift) for loss in losses]

    assert has_diverged(moved) == has_diverged(losses)


def test_noise_alone_is_no_divergence():
    generator = np.random.default_rng(0)
    false_alarms = 0
    for _ in range(200):
        losses = (1 + 0.3 * generator.standard_normal(100)).tolist()
        false_alarms += any(has_diverged(losses[:count]) for count in range(1, 101))

    assert false_alarms == 0


def test_one_outlier_is_no_divergence_but_two_of_three_are():
    calm = noisy([2.3] * 20, sd=0.05)

    assert not has_diverged([*calm, 100.0])
    assert has_diverged([*calm, 100.0, 2.3, 100.0])


def test_a_loss_that_fell_to_zero_stops_at_five_times_its_start():
    falling = [1.0] * 8 + [0.5, 0.2, 0.1, 0.0, 0.0, 0.0, 0.0]

    assert not has_diverged([*falling, 4.9, 4.9])
    assert has_diverged([*falling, 5.1, 5.1])


def test_a_ramp_goes_on_until_the_loss_is_back():
    lrs = ramp(1e-5, 1.0, 100)
    losses = basin(lrs)

    assert [has_risen(LossCurve(lrs[:count], losses[:count])) for count in (2, 50, 70, 100)] == [
        False,
        False,
        False,
        True,
    ]
    assert not has_risen(LossCurve(lrs, [1.0] * 100))
    assert not has_risen(LossCurve(lrs, noisy([1.0] * 100, sd=0.1)))
    assert not has_risen(LossCurve(lrs[:3], (INF, INF, INF)))
    assert has_risen(LossCurve(lrs[:2], (1.0, NAN), diverged=True))


# The ramp


def test_the_bounds_follow_from_the_models_scale():
    low, high = model_bounds(2.0, 4.0)

    assert (low, high) == pytest.approx((0.5 * 10**-3.75, 0.5 * 10**0.75))
    assert model_bounds(-2.0, 4.0) == (low, high)
    assert model_bounds(2000.0, 4000.0) == pytest.approx((low, high))


@pytest.mark.parametrize(
    ("mean_loss", "mean_descent"),
    [(NAN, 1.0), (INF, 1.0), (1.0, 0.0), (1.0, -1.0), (1.0, NAN), (1.0, INF), (0.0, 1.0), (1e300, 1e-300)],
)
def test_a_model_without_scale_gives_no_bounds(mean_loss, mean_descent):
    with pytest.raises(ValueError, match=r"must be in|no scale"):
        model_bounds(mean_loss, mean_descent)


@given(low=st.floats(1e-12, 1e3), decades=st.floats(0.01, 10), num_steps=st.integers(2, 500))
@settings(deadline=None)
def test_a_ramp_rises_from_bound_to_bound(low, decades, num_steps):
    for mode in ("exponential", "linear"):
        lrs = ramp(low, low * 10**decades, num_steps, mode=mode)

        assert len(lrs) == num_steps
        assert (lrs[0], lrs[-1]) == pytest.approx((low, low * 10**decades), rel=1e-12)
        assert all(before < after for before, after in itertools.pairwise(lrs))
        assert {type(lr) for lr in lrs} == {float}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"low": 0.0}, r"low=...\)` must be in \(0, inf\), got 0.0"),
        ({"low": NAN}, "got nan"),
        ({"low": -1.0}, "got -1.0"),
        ({"low": 1.0}, r"high=...\)` must be in \(1.0, inf\), got 1.0"),
        ({"low": 2.0}, "high"),
        ({"high": NAN}, "got nan"),
        ({"high": INF}, "got inf"),
        ({"num_steps": 1}, "at least 2, got 1"),
        ({"mode": "log"}, "'exponential' or 'linear', got 'log'"),
    ],
)
def test_a_ramp_of_nonsense_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        ramp(**{"low": 0.1, "high": 1.0, "num_steps": 10} | arguments)


# How high a training from the start may go


@pytest.mark.parametrize("top", [1.0, 100.0])
def test_a_training_keeps_below_the_wall_and_below_the_end_of_the_ramp(top):
    lrs = ramp(1e-6, top, 200)
    highest = highest_to_try(LossCurve(lrs, basin(lrs)))
    # The loss has given back half of its fall at about 0.07.
    assert 0.02 < highest < 0.06
    falling = LossCurve(lrs, [1 / (1 + 1e4 * lr) for lr in lrs])
    assert highest_to_try(falling) == pytest.approx(top / 1.5, rel=0.05)


@pytest.mark.parametrize("losses", [(), (1.0,), (NAN, INF, NAN, NAN)])
def test_a_curve_that_tells_nothing_allows_no_higher_lr(losses):
    assert highest_to_try(LossCurve(ramp(1e-3, 1.0, 4)[: len(losses)], losses)) == 0
