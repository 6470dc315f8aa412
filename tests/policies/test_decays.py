import inspect
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch.optim import lr_scheduler as torch_lr

from lightning_lr.policies import (
    Constant,
    DelayedExponential,
    Exponential,
    InverseSqrt,
    InverseTime,
    Linear,
    MultiStep,
    Polynomial,
    Step,
)


@pytest.mark.parametrize(
    ("policy", "total", "table"),
    [
        (Constant(), math.inf, [1, 1, 1]),
        (Constant(0), math.inf, [0, 0, 0]),
        (Linear(), 5, [1, 0.8, 0.6, 0.4, 0.2, 0, 0]),
        (Linear(0.2, start=0.4), 2, [0.4, 0.3, 0.2, 0.2]),
        (Polynomial(2, end=0.2), 2, [1, 0.4, 0.2, 0.2]),
        (Polynomial(), 4, [1, 0.75, 0.5, 0.25, 0]),
        # transformers, get_polynomial_decay_schedule_with_warmup(2, 10, lr_end=0, power=2), lr 10, after 2
        (Polynomial(2), 8, [1, 0.765625, 0.5625, 0.390625, 0.25, 0.140625, 0.0625, 0.015625, 0]),
        # the same with lr_end=1
        (
            Polynomial(2, end=0.1),
            8,
            [1, 0.7890625, 0.60625, 0.4515625, 0.325, 0.2265625, 0.15625, 0.1140625, 0.1],
        ),
        (Exponential(0.99), math.inf, [1, 0.99, 0.9801, 0.970299]),
        (InverseTime(1), math.inf, [1, 1 / 2, 1 / 3, 1 / 4]),
        (InverseTime(0.5), math.inf, [1, 2 / 3, 0.5, 0.4]),
        (InverseTime(0), math.inf, [1, 1]),
        (InverseSqrt(), math.inf, [1, 0.7071067811865475, 0.5773502691896258, 0.5, 0.447213595499958]),
        (InverseSqrt(k=2), math.inf, [2, 1.414213562373095, 1.1547005383792515, 1]),
        # transformers, get_inverse_sqrt_schedule(2, timescale=4), after its warm-up
        (
            InverseSqrt(timescale=4),
            math.inf,
            [1, 0.894427190999916, 0.816496580927726, 0.7559289460184544, 0.7071067811865475],
        ),
        (DelayedExponential(0), math.inf, [0.36787944117144233, 0.1353352832366127]),
        (DelayedExponential(2), math.inf, [1, 1, 0.36787944117144233, 0.1353352832366127]),
        (DelayedExponential(1, rate=0), math.inf, [1, 1, 1]),
        (Step(2), math.inf, [1, 1, 0.1, 0.1, 0.01]),
        (Step(1, gamma=1), math.inf, [1, 1, 1]),
        (MultiStep([1, 3]), math.inf, [1, 0.1, 0.1, 0.01, 0.01]),
    ],
    ids=repr,
)
def test_table(policy, total, table, exactly):
    assert [policy.factor(t, total) for t in range(len(table))] == exactly(table)


@pytest.mark.parametrize(
    ("policy", "total", "make"),
    [
        (Step(7, gamma=0.3), math.inf, lambda o: torch_lr.StepLR(o, 7, gamma=0.3)),
        (MultiStep([3, 4, 19]), math.inf, lambda o: torch_lr.MultiStepLR(o, [3, 4, 19])),
        (Exponential(0.93), math.inf, lambda o: torch_lr.ExponentialLR(o, 0.93)),
        (Linear(1.0, start=1 / 3), 20, lambda o: torch_lr.LinearLR(o, 1 / 3, 1.0, total_iters=20)),
        (Linear(), 20, lambda o: torch_lr.LinearLR(o, 1.0, 0.0, total_iters=20)),
        (Polynomial(0.7), 20, lambda o: torch_lr.PolynomialLR(o, 20, power=0.7)),
        (Polynomial(2.5), 20, lambda o: torch_lr.PolynomialLR(o, 20, power=2.5)),
        (Constant(), 20, lambda o: torch_lr.LambdaLR(o, lambda _: 1.0)),
    ],
    # A name with an address is another one in each process that shares the tests.
    ids=lambda value: None if inspect.isfunction(value) else repr(value),
)
def test_torch(policy, total, make, torch_factors, exactly):
    assert [policy.factor(t, total) for t in range(30)] == exactly(torch_factors(make, 30))


def test_delayed_exponential_is_the_example_of_keras(exactly):
    def scheduler(epoch, lr):
        return lr if epoch < 10 else lr * math.exp(-0.1)

    lr, table = 1.0, []
    for epoch in range(15):
        lr = scheduler(epoch, lr)
        table.append(lr)
    assert [DelayedExponential(10, rate=0.1).factor(epoch) for epoch in range(15)] == exactly(table)


shares = st.floats(0, 1)
times = st.floats(0, 2**53)


@given(end=shares, start=shares, total=st.floats(1e-3, 1e9))
def test_linear_ends_are_exact(end, start, total):
    policy = Linear(end, start=start)
    assert policy.factor(0, total) == start
    assert policy.factor(total, total) == policy.factor(2 * total, total) == end


@given(power=st.floats(1e-3, 1e3), end=shares, total=st.floats(1e-3, 1e9))
def test_polynomial_ends_are_exact(power, end, total):
    policy = Polynomial(power, end=end)
    assert policy.factor(0, total) == 1
    assert policy.factor(total, total) == policy.factor(2 * total, total) == end


@given(
    policy=st.one_of(
        st.builds(Exponential, st.floats(0, 1, exclude_min=True)),
        st.builds(InverseTime, st.floats(0, 1e308)),
        st.builds(lambda k: InverseSqrt(timescale=k), st.floats(0, 1e308, exclude_min=True)),
        st.builds(lambda n, k: DelayedExponential(n, rate=k), st.integers(1, 2**53), st.floats(0, 1e308)),
        st.builds(lambda n, g: Step(n, gamma=g), st.integers(1, 2**53), st.floats(0, 1, exclude_min=True)),
    ),
    t=times,
    later=times,
)
def test_a_decay_starts_at_1_and_never_rises(policy, t, later):
    assert policy.factor(0) == 1
    assert 0 <= policy.factor(max(t, later)) <= policy.factor(min(t, later)) <= 1


@given(power=st.floats(1e-2, 1e2), end=shares, t=st.floats(0, 100), later=st.floats(0, 100))
def test_polynomial_never_rises(power, end, t, later):
    policy = Polynomial(power, end=end)
    early, late = (policy.factor(moment, 100) for moment in sorted((t, later)))
    assert end - 1e-12 <= late <= early + 1e-12 <= 1 + 2e-12


@given(end=st.floats(1e-300, 1e300), total=st.floats(1e-3, 1e9), z=shares)
def test_an_exponential_over_the_run_is_exact_at_its_ends_and_between_them(end, total, z):
    policy = Exponential(end=end)
    assert policy.factor(0, total) == 1
    assert policy.factor(total, total) == policy.factor(2 * total, total) == end
    low, high = sorted((1.0, end))
    assert low * (1 - 1e-12) <= policy.factor(z * total, total) <= high * (1 + 1e-12)


@given(gamma=st.floats(0.01, 100), end=shares, every=st.integers(1, 10**6), staircase=st.booleans(), t=times)
def test_an_exponential_stops_at_its_end(gamma, end, every, staircase, t):
    end = 1 / end if gamma > 1 and end > 1e-300 else 1.0 if gamma > 1 else end
    policy = Exponential(gamma, end=end, every=every, staircase=staircase)
    low, high = sorted((1.0, end))
    assert policy.factor(0) == 1
    assert low <= policy.factor(t) <= high
    if gamma != 1 and end > 0 and abs(math.log(gamma)) > 0.01:
        assert policy.factor(10**6 * 10**5) == end


@pytest.mark.parametrize(
    ("stairs", "smooth"),
    [
        (Exponential(0.7, every=5, staircase=True), Exponential(0.7, every=5)),
        (Exponential(1.3, every=5, staircase=True), Exponential(1.3, every=5)),
        (Exponential(end=0.1, every=5, staircase=True), Exponential(end=0.1)),
        (InverseTime(0.7, every=5, staircase=True), InverseTime(0.7, every=5)),
    ],
    ids=repr,
)
def test_a_staircase_changes_at_multiples_only(stairs, smooth):
    for t in range(30):
        assert stairs.factor(t, 30) == smooth.factor(t // 5 * 5, 30)
        assert stairs.factor(t + 0.9, 30) == stairs.factor(t, 30)


@pytest.mark.parametrize("policy", [Exponential(2), Step(1, 2)], ids=repr)
def test_growth_that_overflows_is_refused(policy):
    assert policy.factor(1000) == 2.0**1000
    name = type(policy).__name__
    with pytest.raises(
        ValueError, match=rf"`{name}.formula` must return a number in \[0, inf\), got inf at t=1024"
    ):
        policy.factor(1024)


@given(power=st.floats(1e-2, 1e2), end=shares, start=shares, total=st.floats(1e-3, 1e9), z=shares)
@pytest.mark.parametrize("of", ["remaining", "elapsed"])
def test_polynomial_up_or_down_stays_between_its_exact_ends(*, of, power, end, start, total, z):
    policy = Polynomial(power, end=end, start=start, of=of)
    assert policy.factor(0, total) == start
    assert policy.factor(total, total) == end
    low, high = sorted((start, end))
    assert low - 1e-12 <= policy.factor(z * total, total) <= high + 1e-12


@given(cycle=st.integers(1, 10**6), times=st.integers(1, 1000), end=shares, power=st.floats(0.1, 10))
def test_cycles_of_a_polynomial_end_at_its_end(cycle, times, end, power):
    policy = Polynomial(power, end=end, cycle=cycle)
    assert policy.factor(0) == 1
    assert policy.factor(cycle * times) == end
    after = end + (1 - end) * (1 - (cycle * times + 1) / (cycle * (times + 1))) ** power
    assert policy.factor(cycle * times + 1) == pytest.approx(after, abs=1e-12)
