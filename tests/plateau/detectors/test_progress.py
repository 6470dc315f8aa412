import json
import math

import numpy as np
import pytest
from benchmarks.plateau import families
from helpers.timelines import noisy_run, timeline, verdicts
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_lr.plateau import Observation, Patience, Progress

NAN, INF = math.nan, math.inf


def falling(count, rate=0.03, start=1.0):
    return [start * math.exp(-rate * step) for step in range(count)]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (falling(20), "....iiiiiiiiiiiiiiii"),
        ([3.0] * 15, "...........PPPP"),
        (falling(20) + [falling(20)[-1]] * 14, "....iiiiiiiiiiiiiiiiiiiiiiiPPPPPPP"),
    ],
)
def test_timelines_without_noise(values, expected):
    assert timeline(Progress(), values) == expected


@pytest.mark.parametrize("sd", [0.01, 0.03, 0.1])
def test_noise_that_hides_all_progress_is_a_plateau_by_the_deadline(sd):
    for seed in range(10):
        said = timeline(Progress(), noisy_run(seed, count=40, begin=0, sd=sd))

        assert 8 <= min(said.find(letter) for letter in "PO" if letter in said) <= 30, said


def test_short_runs_have_less_patience():
    def first(total):
        state = Progress().begin()
        for step in range(40):
            state, verdict = Progress().judge(state, Observation(1.0, NAN, total), mode="min")
            if verdict.state == "plateau":
                return step + 1
        return None

    assert [first(total) for total in (20, 60, 200, INF)] == [7, 12, 17, 12]


def test_overfitting_is_called_within_ten_validations():
    """The digits example: the validation loss rises by 40 %, the training loss goes on to 0."""
    found = 0
    for seed in range(20):
        noise = 0.05 * np.random.default_rng(seed).standard_normal(15)
        rise = np.clip(np.arange(15) - 4, 0, 6) / 6 * math.log(1.4)
        values = 0.036 * np.exp(rise + noise + 0.3 * np.clip(4 - np.arange(15), 0, None))

        said = timeline(Progress(), values.tolist(), training_losses=falling(15, rate=0.4))

        assert set(said) <= set(".iO"), said
        found += "O" in said
    assert found >= 19


@pytest.mark.parametrize(
    ("training_losses", "letter"),
    [(falling(70), "O"), (falling(70)[::-1], "D"), ([1.0] * 70, "D"), ([NAN] * 70, "O")],
)
def test_a_rise_is_overfitting_or_divergence_by_the_training_loss(training_losses, letter):
    values = [math.exp(-0.02 * min(step, 25) + 0.03 * max(0, step - 25)) for step in range(70)]

    said = timeline(Progress(), values, training_losses=training_losses)

    assert set(said[:25]) == {".", "i"}
    assert letter in said
    assert said[-1] == letter


def test_a_level_above_the_best_of_the_run_is_overfitting_also_after_a_change():
    detector, state = Progress(), Progress().begin()
    for step in range(20):
        state, _ = detector.judge(state, Observation(1 - 0.02 * step, 1 - 0.03 * step), mode="min")
    state = detector.after_change(state)
    for _ in range(5):
        state, verdict = detector.judge(state, Observation(0.8, 0.2), mode="min")

    assert verdict.state == "overfitting"
    assert "above the best, while the training loss is 0.2 and was" in verdict.reason


def test_a_spike_that_recovers_is_no_verdict():
    values = noisy_run(count=60, begin=60, rate=0.02, sd=0.002)
    spiked = [value * (1 + (step >= 30) * 2 * math.exp((30 - step) / 6)) for step, value in enumerate(values)]

    assert set(timeline(Progress(), spiked, training_losses=spiked)) == {".", "i"}


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_three_values_in_a_row_that_are_no_numbers_diverge(bad):
    assert timeline(Progress(), [*falling(8), bad, bad, *falling(1), bad, bad, bad])[-6:] == "..i..D"


@given(log_scale=st.floats(-250, 250), seed=st.integers(0, 50))
@settings(max_examples=15, deadline=None)
def test_the_scale_of_a_positive_value_does_not_matter(log_scale, seed):
    values = noisy_run(seed, sd=0.005)

    assert timeline(Progress(), [value * 10**log_scale for value in values]) == timeline(Progress(), values)


@given(log_scale=st.floats(-6, 6), shift=st.floats(-20, -1.1), seed=st.integers(0, 50))
@settings(max_examples=15, deadline=None)
def test_neither_scale_nor_shift_of_other_values_matters(log_scale, shift, seed):
    values = noisy_run(seed, count=60, sd=0.002)

    moved = [(value + shift) * 10**log_scale for value in values]

    assert timeline(Progress(), moved) == timeline(Progress(), [value - 1.1 for value in values])


WEIRD = st.lists(
    st.one_of(st.floats(), st.sampled_from([0.0, -0.0, 5e-324, 1.7e308, -1.7e308, 1.0, 1.0, 2.0, NAN, INF])),
    min_size=8,
    max_size=50,
)


@given(values=WEIRD, losses=WEIRD, mode=st.sampled_from(["min", "max"]), total=st.sampled_from([9, 60, INF]))
@settings(max_examples=200, deadline=None)
def test_any_floats_give_a_verdict(values, losses, mode, total):
    detector, state = Progress(), Progress().begin()
    for value, loss in zip(values, losses, strict=False):
        state, verdict = detector.judge(state, Observation(value, loss, total), mode=mode)
        detector.check_state(json.loads(json.dumps(state)))
        assert verdict.reason.endswith(".")


@pytest.mark.parametrize(
    "name", ["elbow", "power law", "slow start", "accuracy to 0.95", "log likelihood below 0"]
)
def test_false_alarms_are_rare_and_the_delay_is_short(name):
    share, delay = families.measure(name, Progress(), 40)

    assert share <= 0.03
    assert delay <= 26 or name == "power law"


def test_the_report_of_the_families_compares_detectors(monkeypatch):
    monkeypatch.setattr(families, "FAMILIES", {"elbow": families.FAMILIES["elbow"]})

    title, line = families.report(2, {"Progress": Progress(), "torch 5": Patience(5)})

    assert "torch 5" in title
    assert line.startswith("elbow")


def test_what_was_said_holds_noise_and_slope_in_one_unit():
    found = verdicts(Progress(), noisy_run(count=40, begin=10, sd=0.03))

    plateau = next(verdict for verdict in found if verdict.state == "plateau")
    assert plateau.reason.count("%") == 2 + ("ruled out" in plateau.reason)
