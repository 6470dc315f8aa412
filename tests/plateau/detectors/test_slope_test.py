import json
import math
import statistics

import numpy as np
import pytest
from benchmarks.plateau import detectors as benchmark
from benchmarks.plateau.curves import FAMILIES
from helpers.timelines import noisy_run, timeline, verdicts
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_lr.plateau import Observation, Patience, SlopeTest
from lightning_lr.plateau.detectors.trend import find_jumps, noise_of, slope_error, slope_of, window_for

NAN, INF = math.nan, math.inf


def falling(count, rate=0.01, start=1.0):
    return [start * math.exp(-rate * step) for step in range(count)]


# Timelines


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (falling(20), "...........iiiiiiiii"),
        ([3.0] * 15, "...........PPPP"),
        (falling(20) + [falling(20)[-1]] * 14, "...........iiiiiiiiiiiiiiiiiPPPPPP"),
        # 0.2 % per validation is just worth waiting for, 0.15 % is not.
        (falling(20, rate=0.00201), "...........iiiiiiiii"),
        (falling(20, rate=0.0015), "...........PPPPPPPPP"),
    ],
)
def test_timelines_without_noise(values, expected):
    assert timeline(SlopeTest(), values) == expected


def test_a_constant_value_is_a_plateau_as_soon_as_under_patience():
    assert timeline(SlopeTest(), [1.0] * 13).index("P") == timeline(Patience(10), [1.0] * 13).index("P")


def test_noise_makes_it_look_longer():
    calm, noisy = (verdicts(SlopeTest(), noisy_run(sd=sd, count=110)) for sd in (0.001, 0.01))

    firsts = [[verdict.state for verdict in found].index("plateau") for found in (calm, noisy)]
    assert 35 < firsts[0] < firsts[1]
    assert calm[firsts[0]].window < noisy[firsts[1]].window
    assert 0.0005 < calm[-1].noise < 0.003 < noisy[-1].noise < 0.03


def test_too_much_noise_leaves_it_undecided_and_says_what_to_do():
    found = verdicts(SlopeTest(), noisy_run(sd=0.5, count=300, rate=0.0))

    assert {verdict.state for verdict in found} == {"undecided"}
    assert "validate on more data, or raise `patience` or `min_improvement`" in found[-1].reason
    assert math.isnan(found[-1].threshold)


def test_a_change_begins_a_fresh_history_that_remembers_the_noise():
    values = noisy_run(count=80, sd=0.004)
    found = verdicts(SlopeTest(), values, act=True)
    first = [verdict.state for verdict in found].index("plateau")

    assert [verdict.state for verdict in found[first + 1 : first + 12]] == ["undecided"] * 11
    state = SlopeTest().begin()
    for value in noisy_run(count=60, sd=0.01):
        state, verdict = SlopeTest().judge(state, Observation(value), mode="min")
    state = SlopeTest().after_change(state)
    assert (state["values"], state["earlier_noise"]) == ([], verdict.noise)
    for value in [1.0] * 12:
        state, verdict = SlopeTest().judge(state, Observation(value), mode="min")
    assert verdict.state == "undecided"
    assert verdict.noise > 0.002
    assert SlopeTest().after_change(SlopeTest().after_change(state))["earlier_noise"] == verdict.noise


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_values_that_are_no_numbers_are_skipped_and_three_in_a_row_diverge(bad):
    whole = falling(14) + [falling(14)[-1]] * 14
    broken = [*whole[:16], bad, bad, *whole[16:], bad, bad, bad, bad]

    clean = timeline(SlopeTest(), whole)

    assert timeline(SlopeTest(), broken) == clean[:16] + ".." + clean[16:] + "..DD"
    assert f"The value is {bad}, 3 in a row" in verdicts(SlopeTest(), broken)[-2].reason
    assert timeline(SlopeTest(), [bad] * 5) == "..DDD"


# Rises


def u_shape(count=60, lowest=25, rise=0.01):
    return [math.exp(-0.01 * min(step, lowest) + rise * max(0, step - lowest)) for step in range(count)]


@pytest.mark.parametrize(
    ("training_losses", "state", "reason"),
    [
        (falling(60), "overfitting", "while the training loss falls"),
        (falling(60)[::-1], "diverging", "the training loss does not fall either"),
        ([1.0] * 60, "diverging", "the training loss does not fall either"),
        ([-1.0 - 0.1 * step for step in range(60)], "overfitting", "while the training loss falls"),
        ([NAN] * 60, "overfitting", "the training loss is not known"),
        ([NAN, NAN, 1.0] * 20, "overfitting", "the training loss is not known"),
    ],
)
def test_a_rise_is_overfitting_or_divergence_by_the_training_loss(training_losses, state, reason):
    found = verdicts(SlopeTest(), u_shape(), training_losses=training_losses)

    assert {verdict.state for verdict in found[:25]} == {"undecided", "improving"}
    assert {verdict.state for verdict in found[40:]} == {state}
    assert reason in found[-1].reason


def test_a_spike_that_recovers_is_neither_plateau_nor_divergence():
    values = noisy_run(count=80, begin=80, rate=0.005, sd=0.002)
    spiked = [value * (1 + (step >= 30) * 2 * math.exp((30 - step) / 6)) for step, value in enumerate(values)]

    assert set(timeline(SlopeTest(), spiked, training_losses=spiked)) == {".", "i"}
    assert "P" in timeline(Patience(10), spiked)
    assert "it got suddenly worse 5 validations ago" in verdicts(SlopeTest(), spiked)[34].reason


def test_one_outlier_does_not_matter():
    values = noisy_run(count=60, begin=60)
    expected = timeline(SlopeTest(), values)
    values[30] *= 5
    values[40] /= 5

    assert timeline(SlopeTest(), values) == expected


@pytest.mark.parametrize(
    "after", [[3.0] * 30, [3.0 * 1.5**step for step in range(30)]], ids=["stays", "explodes"]
)
def test_a_jump_that_does_not_recover_diverges(after):
    values = noisy_run(count=30, begin=30) + after

    said = timeline(SlopeTest(), values, training_losses=values)

    assert "P" not in said
    assert said[-1] == "D"
    assert said.index("D") <= 30 + 14
    assert "has not come back" in verdicts(SlopeTest(), values)[said.index("D")].reason


# Scales


@given(log_scale=st.floats(-250, 250), seed=st.integers(0, 50))
@settings(max_examples=15, deadline=None)
def test_the_scale_of_a_positive_value_does_not_matter(log_scale, seed):
    values = noisy_run(seed, sd=0.005)

    assert timeline(SlopeTest(), [value * 10**log_scale for value in values]) == timeline(SlopeTest(), values)


@given(log_scale=st.floats(-6, 6), shift=st.floats(-20, -1.1), seed=st.integers(0, 50))
@settings(max_examples=15, deadline=None)
def test_neither_scale_nor_shift_of_other_values_matters(log_scale, shift, seed):
    values = noisy_run(seed, count=90, sd=0.002)
    expected = timeline(SlopeTest(), [value - 1.1 for value in values])

    moved = [(value + shift) * 10**log_scale for value in values]

    assert timeline(SlopeTest(), moved) == expected
    assert set(expected) == {".", "i", "P"}


@pytest.mark.parametrize("shift", [0.0, -1.0], ids=["positive", "begins at zero"])
def test_maximising_mirrors_minimising(shift):
    values = [value + shift for value in u_shape(80, lowest=35) + [1.0] * 30]
    mirrored = [-value if shift else 1 / value for value in values]
    losses = falling(len(values))

    assert timeline(SlopeTest(), mirrored, training_losses=losses, mode="max") == timeline(
        SlopeTest(), values, training_losses=losses
    )


def test_a_value_that_changes_sign_is_judged_by_its_improvement_so_far():
    # Negative log-likelihood: from 2 to -3 within 50 validations, then flat.
    values = [2 - 0.1 * min(step, 50) for step in range(90)]
    said = timeline(SlopeTest(), values)

    assert said.index("P") > 55
    assert set(said[65:]) == {"P"}
    assert "of the improvement so far" in verdicts(SlopeTest(), values)[-1].reason


@pytest.mark.parametrize("value", [0.0, -2.0])
def test_without_any_improvement_there_is_no_scale(value):
    found = verdicts(SlopeTest(), [value] * 30)

    assert {verdict.state for verdict in found} == {"undecided"}
    assert found[-1].reason == "It has not improved yet, so there is nothing to compare with."


WEIRD = st.lists(
    st.one_of(st.floats(), st.sampled_from([0.0, -0.0, 5e-324, 1.7e308, -1.7e308, 1.0, 1.0, 2.0, NAN, INF])),
    min_size=12,
    max_size=60,
)


@given(values=WEIRD, losses=WEIRD, mode=st.sampled_from(["min", "max"]), patience=st.integers(1, 12))
@settings(max_examples=200, deadline=None)
def test_any_floats_give_a_verdict(values, losses, mode, patience):
    count = min(len(values), len(losses))
    detector, state = SlopeTest(patience=patience), SlopeTest().begin()
    for value, loss in zip(values[:count], losses[:count], strict=True):
        state, verdict = detector.judge(state, Observation(value, loss), mode=mode)
        detector.check_state(json.loads(json.dumps(state)))
        assert verdict.reason.endswith(".")
        if not math.isfinite(value):
            assert verdict.state in ("undecided", "diverging")


# Small benchmark, fixed seeds


def settings_named(*names):
    return [setting for family in FAMILIES.values() for setting in family if setting.name in names]


ALARMING = {"SlopeTest": SlopeTest(), "torch 10": Patience(10)}


@pytest.mark.parametrize(
    "setting",
    settings_named(
        "slow 0.2%, noise 0.3%",
        "slow 0.2%, noise 1.0%, rho 0.6",
        "slow 0.2%, noise 3.0%",
        "slow 0.5%, t(3) noise 1.0%",
        "slow 0.5%, noise 1.0% shrinking",
        "spikes in 0.3%, noise 0.3%",
        "drops of 0.03 every 10, noise 0.1%",
    ),
    ids=lambda setting: setting.name,
)
def test_no_false_alarms(setting):
    ours = benchmark.measure(setting, 30, {"SlopeTest": SlopeTest()})["SlopeTest"]

    assert (ours.false_alarms, ours.overfitting, ours.diverging) == (0, 0, 0)


@pytest.mark.parametrize(
    "setting",
    settings_named(
        "elbow after 0.2%, noise 0.1%", "elbow after 0.5%, noise 0.1%", "elbow after 0.5%, noise 0.3%"
    ),
    ids=lambda setting: setting.name,
)
def test_where_noise_is_low_a_plateau_is_found_sooner_than_by_patience(setting):
    rows = benchmark.measure(setting, 40, ALARMING)

    assert rows["SlopeTest"].false_alarms == 0
    assert rows["SlopeTest"].delay < rows["torch 10"].delay


def test_a_plateau_under_noise_is_found_without_the_false_alarms_of_patience():
    elbow, slow = settings_named("elbow after 0.2%, noise 3.0%", "slow 0.2%, noise 3.0%")

    assert benchmark.measure(elbow, 15, ALARMING)["SlopeTest"].delay < 70
    assert benchmark.measure(slow, 15, ALARMING)["torch 10"].false_alarms > 0.9


@pytest.mark.parametrize("setting", FAMILIES["U-shapes"][::3], ids=lambda setting: setting.name)
def test_u_shapes_are_called_overfitting(setting):
    row = benchmark.measure(setting, 20, {"SlopeTest": SlopeTest()})["SlopeTest"]

    assert row.overfitting >= 0.95
    assert row.diverging == 0


def test_the_report_holds_every_setting_and_detector():
    setting = settings_named("elbow after 0.5%, noise 0.3%")[0]
    lines = list(benchmark.report({"main": {setting.name: benchmark.measure(setting, 2)}}))

    assert all(name in lines[0] for name in benchmark.DETECTORS)
    assert lines[1].startswith(setting.name)
    assert lines[2].startswith("worst")


# Slopes and noise


def test_the_error_of_a_slope_is_that_of_simulations():
    generator = np.random.default_rng(0)
    slopes = [slope_of(0.3 * np.arange(20) + 0.1 * generator.standard_normal(20)) for _ in range(500)]

    assert statistics.fmean(slopes) == pytest.approx(0.3, abs=0.001)
    assert statistics.stdev(slopes) == pytest.approx(slope_error(0.1, 20), rel=0.15)


@pytest.mark.parametrize("error", [1e-5, 1e-3, 0.1])
def test_a_window_is_long_enough_for_its_error(error):
    window = window_for(0.02, error)

    assert slope_error(0.02, window) <= error
    assert window < 10 or slope_error(0.02, window - 2) > error


@pytest.mark.parametrize(("rho", "inflation"), [(0.0, 1.0), (0.6, 2.0)])
def test_noise_counts_its_autocorrelation_and_no_trend(rho, inflation):
    generator = np.random.default_rng(0)
    found = []
    for _ in range(100):
        points = generator.standard_normal(160)
        for step in range(1, 160):
            points[step] = rho * points[step - 1] + math.sqrt(1 - rho**2) * points[step]
        found.append(noise_of(points + 50 * np.exp(-np.arange(160) / 3) - 0.5 * np.arange(160)))

    assert 0.8 * inflation < statistics.median(found) < 1.7 * inflation


def test_noise_forgets_a_noisier_phase():
    generator = np.random.default_rng(0)
    quiet = generator.standard_normal(32)

    assert noise_of(np.concatenate([20 * generator.standard_normal(64), quiet])) < 2.5


@pytest.mark.parametrize(
    ("series", "last", "unrecovered"),
    [
        ([0.0] * 9, 0, 9),
        ([0, 0, 0, 5, 0, 0, 0], 0, 7),
        ([0, 0, 0, 5, 5, 5, 5], 3, 3),
        ([0, 0, 0, 5, 4, 3, 2, 1], 3, 8),
        ([0, 0, 0, 5, 5, 5, 9, 9, 9], 6, 3),
        ([0, 0, 0, 5, 5, 1, 0, 7, 7, 7], 7, 7),
        ([0, 0, 0, 0, 5], 0, 5),
    ],
)
def test_jumps(series, last, unrecovered):
    assert find_jumps(np.array(series, dtype=float), smallest=0.5) == (last, unrecovered)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"training_losses": []}, "must have as many values as training losses, got 1 and 0"),
        ({"values": [-1.0]}, "cannot have positive=True"),
        ({"noise": NAN}, "`noise` is nan: it must be a finite number"),
    ],
)
def test_a_state_that_contradicts_itself_is_refused(change, message):
    state, _ = SlopeTest().judge(SlopeTest().begin(), Observation(1.0, 1.0), mode="min")

    with pytest.raises(ValueError, match=message):
        SlopeTest().check_state({**state, **change})
