"""The factor of every step of a run: policy, warm-up and horizon together."""

import math

import pytest

from lightning_lr.decay.plan import Plan
from lightning_lr.fit.horizon import Horizon
from lightning_lr.policies import Constant, Cosine, Exponential, Function, Linear, OneCycle, Polynomial

RUN = Horizon(steps=10, epochs=5)


def factors(plan, steps_per_epoch=2):
    return [plan.factor(step=step, epoch=step // steps_per_epoch) for step in range(10)]


@pytest.mark.parametrize(
    ("policy", "published"),
    [
        (Linear(), [0, 5, 10, 8.75, 7.5, 6.25, 5.0, 3.75, 2.5, 1.25]),
        (Polynomial(power=2), [0, 5, 10, 7.656, 5.625, 3.906, 2.5, 1.406, 0.625, 0.156]),
        (Cosine(), [0, 5, 10, 9.61, 8.53, 6.91, 5, 3.08, 1.46, 0.38]),
    ],
)
def test_steps_follow_the_published_sequences_of_transformers(policy, published):
    plan = Plan(policy, "step", 2, RUN)
    # Two digits, not rounded: transformers publishes 9.61 for 9.6194.
    assert [10 * factor for factor in factors(plan)] == pytest.approx(published, abs=1e-2)


def test_epochs_hold_the_factor_and_the_ramp_multiplies_it():
    plan = Plan(Linear(), "epoch", 4, RUN)
    assert factors(plan) == pytest.approx([0, 0.25, 0.4, 0.6, 0.6, 0.6, 0.4, 0.4, 0.2, 0.2])


def test_a_share_is_a_share_of_the_steps():
    assert factors(Plan(Linear(), "step", 0.2, RUN)) == factors(Plan(Linear(), "step", 2, RUN))
    assert Plan(Linear(), "step", 0.07, Horizon(100, 1)).warmup_steps == 7


def test_the_ramp_leads_to_where_the_policy_starts():
    plan = Plan(OneCycle(div_factor=4), "step", 4, Horizon(steps=20, epochs=2))
    assert [plan.factor(step=step, epoch=0) for step in range(5)] == [0, 0.0625, 0.125, 0.1875, 0.25]


def test_a_warmup_longer_than_the_run_is_still_a_ramp():
    assert factors(Plan(Linear(), "step", 20, RUN)) == pytest.approx([step / 20 for step in range(10)])


def test_a_run_without_end_needs_a_policy_without_end_and_a_counted_warmup():
    endless = Horizon(math.inf, math.inf)
    assert Plan(Exponential(gamma=0.5), "step", 2, endless).factor(step=3, epoch=0) == 0.5
    with pytest.raises(ValueError, match=r"Linear\(.*has to know when the run ends"):
        Plan(Linear(), "epoch", 0, endless)
    with pytest.raises(ValueError, match=r"A warm-up of 0.05 of the run needs the number of steps"):
        Plan(Constant(), "epoch", 0.05, Horizon(math.inf, 3))


@pytest.mark.parametrize(("interval", "total"), [("epoch", 5), ("step", 10)])
def test_the_check_tries_every_time_of_the_run_and_none_beyond(interval, total):
    tried = []

    def schedule(time):
        tried.append(time)
        return 1.0

    Plan(Function(schedule), interval, 0, RUN).check()
    assert sorted(set(tried)) == list(range(total))


def test_the_check_of_a_long_run_is_quick_and_reaches_its_end():
    tried = set()
    Plan(Function(lambda time: tried.add(time) or 1.0), "step", 0, Horizon(10**7, 1)).check()
    assert len(tried) <= 10_001
    assert max(tried) > 0.999 * 10**7


def test_a_bad_value_late_in_the_run_is_found_by_the_check():
    with pytest.raises(ValueError, match="nan"):
        Plan(Function(lambda epoch: math.nan if epoch == 4 else 1.0), "epoch", 0, RUN).check()
