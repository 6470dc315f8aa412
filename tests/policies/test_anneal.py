import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch.optim import lr_scheduler as torch_lr

from lightning_lr.policies import Cosine, OneCycle, Piecewise, Rex, WarmupStableDecay

HALF_COSINE_OF_8 = [
    1.0,
    0.9619397662556434,
    0.8535533905932738,
    0.6913417161825449,
    0.5,
    0.30865828381745515,
    0.14644660940672627,
    0.03806023374435663,
    0.0,
]


@pytest.mark.parametrize(
    ("policy", "total", "table"),
    [
        # transformers, get_cosine_schedule_with_warmup(2, 10), lr 10, after its warm-up
        (Cosine(), 8, [*HALF_COSINE_OF_8, 0.0]),
        (Cosine(end=0.5), 4, [1.0, 0.9267766952966369, 0.75, 0.5732233047033631, 0.5, 0.5]),
        (Rex(), 5, [1.0, 8 / 9, 3 / 4, 4 / 7, 1 / 3, 0.0, 0.0]),
        # transformers, get_wsd_schedule with 2 warm-up, 4 stable and 4 decay steps
        (
            WarmupStableDecay(4, warmup=2),
            10,
            [0, 0.5, 1, 1, 1, 1, 1, 0.5, 0.29289321881345245, 0.1339745962155614, 0],
        ),
        (
            WarmupStableDecay(0.4, warmup=0.2, shape="cosine"),
            10,
            [0, 0.5, 1, 1, 1, 1, 1, 0.8535533905932738, 0.5, 0.14644660940672627, 0],
        ),
        (WarmupStableDecay(4, shape="linear", end=0.1), 6, [1, 1, 1, 0.775, 0.55, 0.325, 0.1]),
        (WarmupStableDecay(shape="linear"), 10, [1, 1, 1, 1, 1, 1, 1, 1, 1, 0.5, 0, 0]),
        (WarmupStableDecay(1), 3, [1, 1, 1, 0]),
        (WarmupStableDecay(1.0, shape="linear"), 4, [1, 0.75, 0.5, 0.25, 0]),
        (WarmupStableDecay(0.5, shape="linear", warmup=2), 4, [0, 0.5, 1, 0.5, 0]),
        (
            OneCycle(0.5, div_factor=2, final_div_factor=5, anneal_strategy="linear"),
            4,
            [0.5, 0.75, 1, 0.55, 0.1, 0.1],
        ),
        (
            OneCycle(0.25, div_factor=2, final_div_factor=5, anneal_strategy="linear", three_phase=True),
            8,
            [0.5, 0.75, 1, 0.75, 0.5, 0.4, 0.3, 0.2, 0.1],
        ),
    ],
    ids=repr,
)
def test_table(policy, total, table, exactly):
    assert [policy.factor(t, total) for t in range(len(table))] == exactly(table)


@pytest.mark.parametrize("end", [0.0, 0.3])
def test_cosine_is_torch_up_to_its_end(end, torch_factors, exactly):
    def make(optimizer):
        return torch_lr.CosineAnnealingLR(optimizer, T_max=25, eta_min=0.5 * end)

    assert [Cosine(end).factor(t, 25) for t in range(26)] == exactly(torch_factors(make, 26))


@pytest.mark.parametrize("strategy", ["cos", "linear"])
@pytest.mark.parametrize(("three_phase", "peak"), [(False, 0.3), (False, 0.85), (True, 0.3), (True, 0.2)])
def test_one_cycle_is_torch(strategy, three_phase, peak, torch_factors, exactly):
    count = 40

    def make(optimizer):
        return torch_lr.OneCycleLR(
            optimizer,
            max_lr=0.5,
            total_steps=count + 1,
            pct_start=peak,
            anneal_strategy=strategy,
            three_phase=three_phase,
            cycle_momentum=False,
            div_factor=10,
            final_div_factor=100,
        )

    # Torch's peak is at pct_start N - 1 and its end at N - 1, where N = total_steps.
    policy = OneCycle(
        (peak * (count + 1) - 1) / count,
        div_factor=10,
        final_div_factor=100,
        anneal_strategy=strategy,
        three_phase=three_phase,
    )
    found = [policy.factor(t, count) for t in range(count + 1)]
    assert found == exactly(torch_factors(make, count + 1))


def test_one_cycle_is_fastai(exactly):
    """lr/25 -> lr over 25 % and then lr -> lr/1e5, both on a cosine (fastai `fit_one_cycle`)."""
    policy = OneCycle(0.25, final_div_factor=4000)
    table = [0.04, 0.52, 1.0, 0.750002500000000, 0.25000749999999987, 1e-5]
    assert [policy.factor(t, 8) for t in (0, 1, 2, 4, 6, 8)] == exactly(table)


shares = st.floats(0, 1)
totals = st.floats(1e-3, 1e9)
shapes = st.sampled_from(["1-sqrt", "linear", "cosine"])


@given(end=shares, total=totals)
def test_cosine_ends_are_exact(end, total):
    assert Cosine(end).factor(0, total) == 1
    assert Cosine(end).factor(total, total) == Cosine(end).factor(2 * total, total) == end


@given(total=totals)
def test_rex_ends_are_exact(total):
    assert Rex().factor(0, total) == 1
    assert Rex().factor(total, total) == Rex().factor(2 * total, total) == 0


@given(end=shares, cooldown=st.floats(0.01, 1), shape=shapes, total=totals)
def test_cooldown_ends_are_exact(end, cooldown, shape, total):
    policy = WarmupStableDecay(cooldown, end=end, shape=shape)
    assert policy.factor(0, total) == 1
    assert policy.factor(total, total) == policy.factor(2 * total, total) == end


@given(
    policy=st.builds(
        OneCycle,
        st.floats(0.01, 0.49),
        div_factor=st.floats(1, 1e6),
        final_div_factor=st.floats(1, 1e6),
        anneal_strategy=st.sampled_from(["cos", "linear"]),
        three_phase=st.booleans(),
    ),
    total=totals,
    z=shares,
)
def test_one_cycle_is_bounded_and_exact_at_its_ends(policy, total, z):
    assert policy.factor(0, total) == 1 / policy.div_factor
    end = 1 / (policy.div_factor * policy.final_div_factor)
    assert policy.factor(total, total) == policy.factor(2 * total, total) == end
    assert policy.factor(z * total, total) <= 1 + 1e-12


@pytest.mark.parametrize(
    "policy", [Cosine(0.1), Rex(), WarmupStableDecay(0.3), WarmupStableDecay(30)], ids=repr
)
@given(t=st.floats(0, 100), later=st.floats(0, 100))
def test_annealing_never_rises(policy, t, later):
    early, late = (policy.factor(moment, 100) for moment in sorted((t, later)))
    assert 0 <= late <= early + 1e-12 <= 1 + 2e-12


@pytest.mark.parametrize(
    ("policy", "joins"),
    [
        (WarmupStableDecay(0.3, warmup=10, shape="linear"), [10, 70]),
        (WarmupStableDecay(0.3, warmup=10, shape="cosine"), [10, 70]),
        (OneCycle(0.25), [25]),
        (OneCycle(0.25, three_phase=True, anneal_strategy="linear"), [25, 50]),
    ],
    ids=repr,
)
def test_joins_are_continuous(policy, joins):
    for join in joins:
        before, at, after = (policy.factor(join + shift, 100) for shift in (-1e-6, 0, 1e-6))
        assert before == pytest.approx(at, abs=1e-6)
        assert after == pytest.approx(at, abs=1e-6)


@pytest.mark.parametrize("three_phase", [False, True])
def test_one_cycle_peaks_at_the_base_lr(three_phase):
    assert OneCycle(three_phase=three_phase).factor(30, 100) == 1


def test_warmup_and_cooldown_longer_than_the_run():
    with pytest.raises(
        ValueError, match=r"must fit into the run: warmup 0.5 and cooldown 0.6 take 1.1 of 1\."
    ):
        WarmupStableDecay(0.6, warmup=0.5)
    policy = WarmupStableDecay(8, warmup=0.3)
    assert policy.factor(0, 12) == 0
    with pytest.raises(ValueError, match=r"warmup 0.3 and cooldown 8 take 11 of 10\. Shorten"):
        policy.factor(0, 10)


@given(cooldown=st.integers(1, 99), total=totals)
def test_shares_that_fill_the_run_fit_for_every_rounding(cooldown, total):
    policy = WarmupStableDecay(cooldown / 100, warmup=(100 - cooldown) / 100)
    assert policy.factor(0, total) == 0
    assert policy.factor(total, total) == 0


def test_final_division_may_underflow():
    policy = OneCycle(div_factor=1e300, final_div_factor=1e300)
    assert policy.factor(10, 10) == 0
    assert math.isfinite(policy.factor(5, 10))


@given(
    start=shares,
    end=shares,
    exponent=st.floats(0.01, 100),
    half_waves=st.integers(1, 1000),
    total=totals,
    z=shares,
)
def test_a_wave_turns_at_start_and_end(*, start, end, exponent, half_waves, total, z):
    policy = Cosine(end, start=start, exponent=exponent, num_cycles=half_waves / 2)
    assert policy.factor(0, total) == start
    assert policy.factor(total, total) == (end if half_waves % 2 else start)
    low, high = sorted((start, end))
    assert low - 1e-12 <= policy.factor(z * total, total) <= high + 1e-12


@given(end=shares, total=totals, z=shares)
def test_an_exponent_of_1_changes_nothing(end, total, z):
    almost = Cosine(end, exponent=math.nextafter(1, 2))
    assert almost.factor(z * total, total) == pytest.approx(Cosine(end).factor(z * total, total), abs=1e-12)


counts = st.lists(st.integers(0, 1000), min_size=1, max_size=6, unique=True).map(sorted)


@given(times=counts, data=st.data(), shape=st.sampled_from(["linear", "cosine", "constant"]))
def test_a_piecewise_policy_is_exact_at_its_times_and_between_its_values(times, data, shape):
    values = data.draw(st.lists(st.floats(0, 1e6), min_size=len(times), max_size=len(times)))
    policy = Piecewise(times, values, shape=shape)
    assert [policy.factor(time) for time in times] == values
    t = data.draw(st.floats(0, 2000))
    assert min(values) * (1 - 1e-12) <= policy.factor(t) <= max(values) * (1 + 1e-12)
    assert policy.factor(0) == values[0]
    assert policy.factor(times[-1] + 1) == values[-1]


def test_shares_and_counts_of_a_piecewise_policy_must_be_in_order_in_the_run():
    policy = Piecewise([0, 10, 0.5, 1.0], [0, 1, 1, 0])
    assert [policy.factor(t, 40) for t in (0, 5, 10, 15, 20, 30, 40)] == [0, 0.5, 1, 1, 1, 0.5, 0]
    with pytest.raises(
        ValueError, match=r"must each be after the one before, got \[0, 10, 0.5, 1.0\] in a run of 20"
    ):
        policy.factor(0, 20)
