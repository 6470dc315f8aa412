import json
import math

import jsonargparse
import numpy as np
import pytest
from benchmarks.finders.suggestions import Judgement, judge, suggestions, table
from benchmarks.finders.tasks import TUNING
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_lr.finders import (
    Abstention,
    Basin,
    GiveBack,
    MidDescent,
    MinimumOver,
    Rule,
    Steepest,
    Suggestion,
    Valley,
    combine,
    decision_from_dict,
    read_all,
)
from lightning_lr.finders.range_test.curve import LossCurve
from lightning_lr.finders.range_test.ramp import ramp

NAN, INF = math.nan, math.inf
RULES = [Basin(), GiveBack(), MidDescent(), Steepest(), Valley(), MinimumOver()]


def loss_at(lr):
    """A loss of 2 that has fallen by half of 1.5 at 1e-4, and is back to half of that at 1e-2."""
    return 2 - 1.5 / (1 + (1e-4 / lr) ** 2) + 0.75 * (lr / 1e-2) ** 2


def curve(num_steps=100, *, sd=0.0, seed=0, low=1e-7, high=0.1, scale=1.0, shift=0.0, mode="exponential"):
    lrs = ramp(low, high, num_steps, mode=mode)
    noise = sd * np.random.default_rng(seed).standard_normal(num_steps)
    return LossCurve(
        lrs, [scale * (loss_at(lr) + error) + shift for lr, error in zip(lrs, noise, strict=True)]
    )


def constant(*, sd, seed=0, num_steps=100):
    return LossCurve(
        ramp(1e-5, 1, num_steps), 1 + sd * np.random.default_rng(seed).standard_normal(num_steps)
    )


def decades(decision, lr):
    return math.log10(decision.lr / lr)


# Known answers


@pytest.mark.parametrize(
    ("rule", "lr"),
    [
        (Basin(), 1e-3),  # the log-mean of 1e-4, 1e-3 and 1e-2
        (Basin(margin=30), 1e-2 / 30),
        (GiveBack(), 1e-2 / 5.6),
        (GiveBack(divisor=1), 1e-2),
        (MidDescent(), 1e-4),
        (Steepest(), 1e-4),
        (MinimumOver(), 1e-3 / 10),
        (MinimumOver(divisor=2), 1e-3 / 2),
    ],
    ids=str,
)
def test_rules_on_a_curve_of_known_answer(rule, lr):
    assert decades(rule.suggest(curve()), lr) == pytest.approx(0, abs=0.1)


def test_the_valley_is_the_longest_descent():
    log_lrs = np.linspace(-6, 0, 200)
    losses = np.interp(log_lrs, [-6, -5, -4, -2, -1, 0], [1, 1.2, 1.2, 0, 1, 0.9])

    assert decades(Valley().suggest(LossCurve(10**log_lrs, losses)), 1e-3) == pytest.approx(0, abs=0.15)


def test_a_linear_ramp_is_read_like_an_exponential_one():
    linear = Basin().suggest(curve(400, low=1e-5, high=0.02, mode="linear"))

    assert decades(linear, Basin().suggest(curve(400, low=1e-5, high=0.02)).lr) == pytest.approx(0, abs=0.1)


# What must not matter


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_the_number_of_steps_does_not_matter(rule):
    lrs = [rule.suggest(curve(num_steps)).lr for num_steps in (50, 100, 400)]

    assert math.log10(max(lrs) / min(lrs)) < 0.1


@pytest.mark.parametrize("rule", RULES, ids=str)
@given(
    log_scale=st.floats(-6, 6),
    shift=st.floats(-100, 100),
    seed=st.integers(0, 100),
    sd=st.sampled_from([0, 0.05]),
)
@settings(max_examples=8, deadline=None)
def test_neither_scale_nor_shift_of_the_loss_matters(rule, log_scale, shift, seed, sd):
    scale = 10**log_scale
    expected = rule.suggest(curve(sd=sd, seed=seed))
    moved = rule.suggest(curve(sd=sd, seed=seed, scale=scale, shift=scale * shift))

    # A last bit may move a landmark by one point of the grid, a hundredth of a decade.
    assert decades(moved, expected.lr) == pytest.approx(0, abs=0.02)
    assert (moved.low, moved.high) == pytest.approx((expected.low, expected.high), rel=0.05)


@given(shift=st.floats(-6, 6))
@settings(max_examples=10, deadline=None)
def test_where_the_ramp_lies_does_not_matter(shift):
    here = curve()
    there = LossCurve([lr * 10**shift for lr in here.lrs], here.losses)

    assert decades(Basin().suggest(there), Basin().suggest(here).lr) == pytest.approx(shift, abs=0.02)


def test_noise_that_throws_lightnings_finder_off_does_not_matter():
    errors = [decades(Basin().suggest(curve(sd=0.05, seed=seed)), 1e-3) for seed in range(30)]

    assert abs(np.median(errors)) < 0.05
    assert max(map(abs, errors)) < 0.3


@pytest.mark.parametrize("bad", [NAN, INF, -INF, 1e30])
def test_one_bad_loss_does_not_matter(bad):
    good = curve(sd=0.02)
    losses = list(good.losses)
    losses[60] = bad

    assert decades(Basin().suggest(LossCurve(good.lrs, losses)), Basin().suggest(good).lr) == pytest.approx(
        0, abs=0.1
    )


@pytest.mark.parametrize("worst", [NAN, INF, 1e30])
def test_how_it_blew_up_does_not_matter(worst):
    lrs = [lr for lr in curve().lrs if lr < 0.01]
    blown_up = LossCurve([*lrs, 0.0101], [*map(loss_at, lrs), worst], diverged=True)

    assert decades(Basin().suggest(blown_up), 1e-3) == pytest.approx(0, abs=0.1)


# Abstention


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        (LossCurve((), ()), "Only 0 finite losses"),
        (LossCurve((0.1, 0.2), (1.0, 0.5)), "Only 2 finite losses"),
        (LossCurve(ramp(0.1, 1, 20), [INF] * 20), "Only 0 finite losses"),
        (LossCurve(ramp(0.1, 1, 20), [1.0] * 5 + [NAN] * 15, diverged=True), "Only 5 finite losses"),
        (constant(sd=0), "The loss stayed at 1: its largest dip of"),
        (constant(sd=0.1), "is within its noise"),
        (
            LossCurve(ramp(0.1, 100, 50), ramp(1, 3, 50)),
            "take more steps or larger batches, or a `min_lr` below 0.1",
        ),
    ],
)
@pytest.mark.parametrize("rule", RULES, ids=str)
def test_a_curve_that_says_nothing_gives_a_reason_and_no_lr(rule, told, reason):
    decision = rule.suggest(told)

    assert isinstance(decision, Abstention)
    assert decision.rule == type(rule).__name__
    assert reason in decision.reason
    assert decision.reason.startswith(decision.seen)
    assert decision.seen
    assert "larger batches" not in decision.seen


@pytest.mark.parametrize("rule", [Basin(), GiveBack(), MinimumOver()], ids=str)
def test_a_loss_that_still_falls_at_the_end_wants_a_longer_ramp(rule):
    decision = rule.suggest(curve(high=3e-4))

    assert isinstance(decision, Abstention)
    assert decision.reason == f"{decision.seen}: raise `max_lr`."


def test_a_rule_on_top_of_another_keeps_its_reason():
    class Half(Basin):
        def read(self, curve):
            reading = super().read(curve)
            return reading if isinstance(reading, str) else (reading[0] / 2, reading[1])

    assert Half().suggest(curve(high=3e-4)).reason == Basin().suggest(curve(high=3e-4)).reason
    assert Half().suggest(curve()).lr == Basin().suggest(curve()).lr / 2


def test_a_loss_that_stays_low_is_read_up_to_the_end_of_the_ramp():
    decision = Basin().suggest(curve(high=5e-3))

    assert decades(decision, (1e-4 * 10**-2.9 * 5e-3) ** (1 / 3)) == pytest.approx(0, abs=0.1)
    assert "had not given half back by 0.005" in decision.reason


@pytest.mark.parametrize("num_steps", [50, 100, 400])
def test_noise_alone_is_seldom_taken_for_a_descent(num_steps):
    decisions = [
        MidDescent().suggest(constant(sd=0.2, seed=seed, num_steps=num_steps)) for seed in range(150)
    ]

    assert sum(isinstance(decision, Suggestion) for decision in decisions) <= 4


# Uncertainty


def test_the_interval_holds_the_lr_and_grows_with_the_noise():
    widths = []
    for sd in (0.0, 0.02, 0.2):
        basin = Basin().suggest(curve(sd=sd))
        assert 0 < basin.low < basin.lr / 7 < 7 * basin.lr < basin.high
        decision = MidDescent().suggest(curve(sd=sd))
        assert 0 < decision.low <= decision.lr <= decision.high
        widths.append(math.log10(decision.high / decision.low))

    assert widths == sorted(widths)
    assert widths[0] < 0.05 < widths[2]


def test_a_loss_that_is_near_zero_over_decades_gives_an_lr_near_its_fall():
    def near_zero(floor):
        lrs = ramp(1e-6, 10.0, 140)
        return LossCurve(lrs, [2.3 / (1 + (lr / 1e-4) ** 2) + floor + (lr / 5) ** 4 for lr in lrs])

    saturated, plain = Basin().suggest(near_zero(1e-3)), Basin().suggest(near_zero(0.5))
    assert 1e-4 < saturated.lr < 2e-3
    assert plain.lr > 5 * saturated.lr


def test_the_same_curve_gives_the_same_decision():
    assert Basin().suggest(curve(sd=0.1)) == Basin().suggest(curve(sd=0.1))


def test_repeats_are_averaged_on_the_log_axis():
    repeats = [Basin().suggest(curve(sd=0.1, seed=seed)) for seed in range(5)]
    together = combine(repeats)

    assert math.log10(together.lr) == pytest.approx(np.mean([math.log10(one.lr) for one in repeats]))
    spread = np.std([math.log10(one.lr) for one in repeats], ddof=1)
    assert math.log10(together.high / together.lr) >= spread - 1e-9
    assert together.rule == "Basin"
    assert "in 5 of 5 repeats" in together.reason


def suggestion(lr):
    return Suggestion(lr=lr, low=lr, high=lr, rule="Basin", reason="Seen.")


def test_one_repeat_is_itself():
    assert combine([suggestion(0.1)]) == suggestion(0.1)


def test_a_lone_suggestion_among_abstentions_is_not_enough():
    nothing = Abstention("Basin", "The loss stayed at 1.")

    assert combine([suggestion(0.1), nothing]) == Abstention(
        "Basin", "1 of 2 repeats gave no LR: The loss stayed at 1."
    )
    assert combine([suggestion(0.1), suggestion(0.1), nothing]).lr == pytest.approx(0.1)


def test_repeats_that_contradict_each_other_give_no_lr():
    assert "contradict each other" in combine([suggestion(1e-4), suggestion(1e-2)]).reason


@pytest.mark.parametrize("decisions", [[], [suggestion(0.1), Abstention("Valley", "None.")]])
def test_decisions_of_several_rules_or_none_are_not_combined(decisions):
    with pytest.raises(ValueError, match="decisions of one rule, got"):
        combine(decisions)


# Values


def test_decisions_survive_json():
    for decision in (Basin().suggest(curve(sd=0.05)), Basin().suggest(constant(sd=0.1))):
        assert decision_from_dict(json.loads(json.dumps(decision.to_dict()))) == decision


def test_a_suggestion_is_made_of_plain_numbers():
    for decision in read_all(curve(sd=0.05)).values():
        assert {type(number) for number in (decision.lr, decision.low, decision.high)} == {float}


def test_every_rule_is_read():
    assert list(read_all(curve())) == [type(rule).__name__ for rule in RULES]


@pytest.mark.parametrize(
    ("rule", "arguments", "interval"),
    [
        (Basin, {"margin": 0.9}, r"\[1, inf\)"),
        (Basin, {"margin": NAN}, r"\[1, inf\)"),
        (GiveBack, {"divisor": 0}, r"\(0, inf\)"),
        (GiveBack, {"divisor": INF}, r"\(0, inf\)"),
        (MinimumOver, {"divisor": -1}, r"\(0, inf\)"),
        (MinimumOver, {"divisor": NAN}, r"\(0, inf\)"),
    ],
)
def test_nonsense_arguments_are_refused(rule, arguments, interval):
    (name, value), *_ = arguments.items()
    with pytest.raises(
        ValueError, match=rf"{rule.__name__}\({name}=\.\.\.\)` must be in {interval}, got {value}"
    ):
        rule(**arguments)


def test_a_rule_is_chosen_in_yaml():
    default = Basin()

    class Owner:
        def __init__(self, rule: Rule = default):
            self.rule = rule

    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Owner, "owner")

    def chosen(rule):
        return parser.instantiate(parser.parse_object({"owner": {"rule": rule} if rule else {}})).owner.rule

    assert chosen(None) == Basin()
    assert chosen({"class_path": "lightning_lr.finders.GiveBack", "init_args": {"divisor": 4}}) == GiveBack(4)
    for rule in RULES:
        assert chosen({"class_path": f"lightning_lr.finders.{type(rule).__name__}"}) == rule


def test_a_rule_of_ones_own_needs_one_method():
    class Lowest(Rule):
        def read(self, curve):
            return 10 ** float(curve.log_lrs[curve.lowest]), "The lowest."

    assert Lowest().suggest(curve()).rule == "Lowest"
    assert decades(Lowest().suggest(curve()), 1e-3) == pytest.approx(0, abs=0.1)


# The benchmark


def test_the_benchmark_runs():
    (task,) = [task for task in TUNING if task.name == "tumors, logistic, Nesterov"]
    found = suggestions(task, seed=0)

    assert set(found) >= {"Lightning lr_find", "fastai valley", "torch-lr-finder", "Basin", "GiveBack"}
    truth = {"0.01": [1.0, 2.0, 3.0], "0.04": [1.0, 1.0, 9.0], "0.16": [4.0, 4.0, INF]}
    assert judge(truth, 0.04) == Judgement(octaves=0.0, excess=0.0)
    assert judge(truth, 0.08) == Judgement(octaves=pytest.approx(1.0), excess=pytest.approx(1.0))
    lines = list(table({"ours": [judge(truth, 0.04), judge(truth, 0.16), None]}))
    assert lines[1].split() == ["ours", "1.0", "/", "2.0", "150%", "33%", "33%", "33%"]
