import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch.optim import lr_scheduler as torch_lr

from lightning_lr.policies import Cosine, CosineRestarts, Cyclic, Exponential, Linear, Repeat, Sequence


@pytest.mark.parametrize(
    ("policy", "table"),
    [
        # transformers, get_cosine_with_hard_restarts_schedule_with_warmup(2, 10, num_cycles=2), after 2
        (CosineRestarts(4), [1, 0.8535533905932738, 0.5, 0.14644660940672627] * 2 + [1]),
        (CosineRestarts(2, height_mult=0.5), [1, 0.5, 0.5, 0.25, 0.25, 0.125]),
        (CosineRestarts(2, height_mult=0.5, end=0.2), [1, 0.6, 0.6, 0.4, 0.4, 0.3, 0.3]),
        (Repeat(Linear(0.5), 2, height_mult=0.5), [1, 0.75, 0.5, 0.375, 0.25, 0.1875]),
        (Repeat(Linear(), 1, 2), [1, 1, 0.5, 1, 0.75, 0.5, 0.25, 1]),
        (Repeat(Exponential(0.5), 3), [1, 0.5, 0.25, 1, 0.5, 0.25, 1]),
        (CosineRestarts(1, mult=2), [1, 1, 0.5, 1, 0.8535533905932738, 0.5, 0.14644660940672627, 1]),
        (CosineRestarts(2, mult=1.5, end=0.2), [1, 0.6, 1, 0.8, 0.4, 1]),
        (Cyclic(4, low=1, high=5), [1, 2, 3, 4, 5, 4, 3, 2, 1, 2]),
        (Cyclic(1, step_size_down=3, low=0), [0, 1, 2 / 3, 1 / 3, 0, 1]),
        (Cyclic(2, low=0, mode="triangular2"), [0, 0.5, 1, 0.5, 0, 0.25, 0.5, 0.25, 0, 0.125, 0.25]),
        (Cyclic(1, low=0.5, high=1.5, mode="exp_range", gamma=0.5), [0.5, 1, 0.5, 0.625, 0.5]),
        (Cyclic(1, low=0.3, high=0.3), [0.3, 0.3, 0.3]),
    ],
    ids=repr,
)
def test_table(policy, table, exactly):
    assert [policy.factor(t) for t in range(len(table))] == exactly(table)


@pytest.mark.parametrize("period", [1, 3, 10])
@pytest.mark.parametrize("mult", [1, 2, 3])
def test_cosine_restarts_are_torch(period, mult, torch_factors, exactly):
    def make(optimizer):
        return torch_lr.CosineAnnealingWarmRestarts(optimizer, period, T_mult=mult, eta_min=0.5 * 0.1)

    policy = CosineRestarts(period, mult=mult, end=0.1)
    assert [policy.factor(t) for t in range(130)] == exactly(torch_factors(make, 130))


@pytest.mark.parametrize("mode", ["triangular", "triangular2", "exp_range"])
@pytest.mark.parametrize(("up", "down"), [(5, None), (3, 7), (6, 1)])
def test_cyclic_is_torch(mode, up, down, torch_factors, exactly):
    def make(optimizer):
        return torch_lr.CyclicLR(
            optimizer,
            base_lr=0.2,
            max_lr=0.9,
            step_size_up=up,
            step_size_down=down,
            mode=mode,
            gamma=0.97,
            cycle_momentum=False,
        )

    policy = Cyclic(up, step_size_down=down, low=0.2, high=0.9, mode=mode, gamma=0.97)
    found = [policy.factor(t) for t in range(60)]
    assert found == exactly(torch_factors(make, 60, lr=1.0))


@given(period=st.integers(1, 1000), mult=st.integers(1, 10), cycles=st.integers(1, 8), end=st.floats(0, 1))
def test_whole_cycles_join_exactly(period, mult, cycles, end):
    policy = CosineRestarts(period, mult=mult, end=end)
    join = sum(period * mult**cycle for cycle in range(cycles))
    assert policy.factor(join) == policy.factor(join, join + 1) == 1
    assert policy.factor(join, join) == policy.factor(join + 5, join) == end
    assert policy.factor(join - 1) == policy.factor(join - 1, join)


@given(
    policy=st.builds(
        lambda period, mult: CosineRestarts(period, mult=mult, end=0.1),
        st.integers(1, 10**15),
        st.one_of(st.floats(1, 1e6), st.floats(1, 1.0001), st.integers(1, 10**6)),
    ),
    t=st.floats(0, 2**53),
)
def test_restarts_are_bounded(policy, t):
    assert 0.1 - 1e-12 <= policy.factor(t) <= 1 + 1e-12


@pytest.mark.parametrize("mult", [1.1, 1.25, 1.5, 1.7, 2.5])
def test_every_fractional_cycle_goes_from_top_to_end(mult):
    start, length = 0.0, 10.0
    policy = CosineRestarts(10, mult=mult)
    for _ in range(12):
        assert policy.factor(start + 1e-6) == pytest.approx(1, abs=1e-9)
        assert policy.factor(start + length / 2) == pytest.approx(0.5, abs=1e-9)
        assert policy.factor(start + length - 1e-6) == pytest.approx(0, abs=1e-9)
        start, length = start + length, length * mult


@given(
    up=st.integers(1, 10**6),
    down=st.none() | st.integers(1, 10**6),
    mode=st.sampled_from(["triangular", "triangular2", "exp_range"]),
    gamma=st.floats(0, 1, exclude_min=True),
    t=st.floats(0, 2**53),
)
def test_cyclic_is_bounded(up, down, mode, gamma, t):
    policy = Cyclic(up, step_size_down=down, low=0.1, mode=mode, gamma=gamma)
    assert 0.1 - 1e-12 <= policy.factor(t) <= 1 + 1e-12


@given(up=st.integers(1, 100), down=st.integers(1, 100), cycle=st.integers(0, 30))
def test_cyclic_is_exact_at_its_turns(up, down, cycle):
    policy = Cyclic(up, step_size_down=down, low=0.3, high=0.7)
    start = cycle * (up + down)
    assert policy.factor(start) == 0.3
    assert policy.factor(start + up) == 0.7


@pytest.mark.parametrize("mult", [2, 3, 10])
def test_the_last_moment_of_a_cycle_is_still_in_it(mult):
    policy = CosineRestarts(1, mult=mult)
    for cycles in range(1, 12):
        join = sum(mult**cycle for cycle in range(cycles))
        assert policy.factor(math.nextafter(join, 0)) == pytest.approx(0, abs=1e-9)
        assert policy.factor(join) == 1


@pytest.mark.parametrize(("period", "mult"), [(16, 1.5), (32, 2.5), (64, 1.25), (256, 1.125), (81, 3.5)])
def test_whole_joins_of_fractional_cycles_are_exact(period, mult):
    policy = CosineRestarts(period, mult=mult, end=0.1)
    join = 0.0
    for cycle in range(5):
        join += period * mult**cycle
        if join.is_integer():
            assert policy.factor(join) == 1
            assert policy.factor(join, join) == 0.1


@given(count=st.integers(1, 1000), period=st.integers(1, 10**6), end=st.floats(0, 1))
def test_so_many_cycles_fill_the_run(count, period, end):
    """Each join is exact, for every rounding, and the last value is the end."""
    policy, total = CosineRestarts(num_cycles=count, end=end), count * period
    assert policy.factor(total, total) == policy.factor(total + 5, total) == end
    for cycle in {0, 1, count // 3, count // 2, count - 1} - {count}:
        assert policy.factor(cycle * period, total) == 1
    t = total * 0.37
    assert policy.factor(t, total) == pytest.approx(
        CosineRestarts(period, end=end).factor(t, total), abs=1e-6
    )


@given(
    count=st.integers(1, 10),
    mult=st.integers(2, 5) | st.sampled_from([1.25, 1.5, 2.5]),
    total=st.floats(0.1, 1e9),
)
def test_so_many_growing_cycles_fill_the_run(count, mult, total):
    policy = CosineRestarts(num_cycles=count, mult=mult, end=0.1)
    assert policy.factor(0, total) == 1
    assert policy.factor(total, total) == 0.1
    first = total / sum(mult**cycle for cycle in range(count))
    for cycle in range(count):
        start, length = first * sum(mult**before for before in range(cycle)), first * mult**cycle
        assert policy.factor(start + length / 2, total) == pytest.approx(0.55, abs=1e-6)
        assert policy.factor(start + length * (1 - 1e-7), total) == pytest.approx(0.1, abs=1e-6)
        assert policy.factor(start + length * 1e-7, total) == pytest.approx(1, abs=1e-6)


@given(
    cycles=st.fixed_dictionaries({"period": st.integers(1, 10**6)})
    | st.fixed_dictionaries({"num_cycles": st.integers(1, 30)}),
    mult=st.just(1.0) | st.floats(1, 3) | st.integers(2, 3),
    height=st.floats(0.1, 1),
    t=st.floats(0, 1e9),
)
def test_restarts_are_a_repeated_cosine(cycles, mult, height, t):
    repeated = Repeat(Cosine(), **cycles, mult=mult, height_mult=height)
    restarts = CosineRestarts(**cycles, mult=mult, height_mult=height)
    assert repeated.factor(t, 1e9) == pytest.approx(restarts.factor(t, 1e9), abs=1e-12)


@given(
    cycles=st.fixed_dictionaries({"period": st.integers(1, 10**15)})
    | st.fixed_dictionaries({"num_cycles": st.integers(1, 33)}),
    mult=st.floats(1, 3) | st.floats(1, 1.0001) | st.integers(1, 3),
    t=st.floats(0, 2**53),
    total=st.floats(1e-300, 1e300),
)
def test_repeated_policies_are_bounded(cycles, mult, t, total):
    assert 0 <= Repeat(Linear(0.1), **cycles, mult=mult, height_mult=0.9).factor(t, total) <= 1


@pytest.mark.parametrize(
    "policy", [CosineRestarts(1, height_mult=2), Repeat(Linear(), 1, height_mult=2)], ids=repr
)
def test_heights_that_overflow_are_refused(policy):
    assert policy.factor(1000) == 2.0**1000
    with pytest.raises(ValueError, match=r"`\w+.formula` must return a number in \[0, inf\), got inf at t="):
        policy.factor(2**53)


def test_a_policy_that_does_not_fit_into_a_cycle():
    policy = Repeat(Sequence([Linear(1.0, start=0.0), Linear()], durations=[4]), 3)
    with pytest.raises(ValueError, match="must leave a part of the run to the last policy"):
        policy.factor(0)
