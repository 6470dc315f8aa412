import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch.optim import lr_scheduler as torch_lr

from lightning_lr.policies import (
    Constant,
    Cosine,
    CosineRestarts,
    Exponential,
    Linear,
    Polynomial,
    Product,
    Sequence,
    Step,
    WarmupStableDecay,
)

RAMP = Linear(1.0, start=0.0)


@pytest.mark.parametrize(
    ("policy", "total", "table"),
    [
        # transformers' linear, cosine and polynomial schedules with warm-up: 2 of 10 steps, LR 10
        (
            Sequence([RAMP, Linear()], durations=[2]),
            10,
            [0, 0.5, 1, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125, 0],
        ),
        (
            Sequence([RAMP, Cosine()], durations=[0.2, 0.8]),
            10,
            [0, 0.5, 1, 0.9619397662556434, 0.8535533905932738, 0.6913417161825449, 0.5, 0.30865828381745515],
        ),
        (
            Sequence([RAMP, Polynomial(2)], durations=[2, 8]),
            math.inf,
            [0, 0.5, 1, 0.765625, 0.5625, 0.390625],
        ),
        (
            Sequence([RAMP, CosineRestarts(4)], durations=[2]),
            10,
            [0, 0.5, *[1, 0.8535533905932738, 0.5, 0.14644660940672627] * 2, 0],
        ),
        # Shorter than the run: the last policy stays where it ended.
        (Sequence([Constant(), Linear(0.5)], durations=[1, 2]), 6, [1, 1, 0.75, 0.5, 0.5, 0.5, 0.5]),
        (Sequence([Constant(0.3), Constant(0.2)], durations=[0.25, 0.25]), 8, [0.3, 0.3, 0.2, 0.2, 0.2, 0.2]),
        (Sequence([Linear()], durations=[]), 4, [1, 0.75, 0.5, 0.25, 0]),
        (Sequence([Constant(), Exponential(0.5)], durations=[2]), math.inf, [1, 1, 1, 0.5, 0.25]),
        (Product([Linear(), Constant(2)]), 4, [2, 1.5, 1, 0.5, 0, 0]),
        (Product([Step(2, gamma=0.5), Exponential(0.5)]), math.inf, [1, 0.5, 0.125, 0.0625]),
        (Product([Sequence([RAMP, Constant()], durations=[2]), Linear()]), 4, [0, 0.375, 0.5, 0.25, 0]),
    ],
    ids=repr,
)
def test_table(policy, total, table, exactly):
    assert [policy.factor(t, total) for t in range(len(table))] == exactly(table)


def test_sequence_is_torch(torch_factors, exactly):
    def make(optimizer):
        parts = [
            torch_lr.LinearLR(optimizer, 0.1, 1.0, total_iters=4),
            torch_lr.ConstantLR(optimizer, 1.0, total_iters=0),
            torch_lr.ExponentialLR(optimizer, 0.9),
        ]
        return torch_lr.SequentialLR(optimizer, parts, milestones=[4, 9])

    policy = Sequence([Linear(1.0, start=0.1), Constant(), Exponential(0.9)], durations=[4, 5])
    assert [policy.factor(t) for t in range(20)] == exactly(torch_factors(make, 20))


@given(percent=st.integers(1, 99), total=st.integers(1, 10**6) | st.floats(0.5, 1e6))
def test_joins_and_ends_are_exact_for_every_rounding(percent, total):
    ends = Linear(0.7, start=0.2), Linear(0.3, start=0.9)
    shares = [percent / 100, (100 - percent) / 100]
    for policy in (Sequence(ends, durations=shares), Sequence(ends, durations=shares[:1])):
        assert policy.factor(0, total) == 0.2
        assert policy.factor(total, total) == policy.factor(2 * total, total) == 0.3
        if percent * total % 100 == 0:
            assert policy.factor(percent * total // 100, total) == 0.9


@given(
    shares=st.lists(st.integers(1, 20), min_size=1, max_size=8), total=st.floats(0.1, 1e6), z=st.floats(0, 1)
)
def test_a_sequence_of_continuous_joins_is_a_line_of_lines(shares, total, z):
    """A line, cut into lines at any shares, is the line."""
    whole = sum(shares)
    marks = [sum(shares[:i]) / whole for i in range(len(shares) + 1)]
    lines = [Linear(1 - mark, start=1 - before) for before, mark in pairwise(marks)]
    policy = Sequence(lines, durations=[share / whole for share in shares])
    assert policy.factor(z * total, total) == pytest.approx(1 - z, abs=1e-9)


@pytest.mark.parametrize(
    ("policy", "needs_end"),
    [
        (Sequence([Linear(), Constant()], durations=[5]), False),
        (Sequence([Constant(), Linear()], durations=[5]), True),
        (Sequence([Constant(), Linear()], durations=[5, 5]), False),
        (Sequence([Constant(), Constant()], durations=[0.5]), True),
        (Sequence([Constant(), Constant()], durations=[5, 0.5]), True),
        (Product([Constant(), Exponential(0.9)]), False),
        (Product([Constant(), Linear()]), True),
    ],
    ids=repr,
)
def test_needs_end(policy, needs_end):
    assert policy.needs_end is needs_end
    if needs_end:
        with pytest.raises(ValueError, match="needs the end of the run"):
            policy.factor(0)
    else:
        assert policy.factor(10**9) >= 0


def test_durations_that_do_not_fit_the_run():
    policy = Sequence([Constant(), Constant(), Constant()], durations=[5, 0.5, 2])
    assert policy.factor(0, 14) == 1
    with pytest.raises(
        ValueError, match=r"must fit into the run, got \[5, 0.5, 2\], which take 13 of 12\. Short"
    ):
        policy.factor(0, 12)
    rest = Sequence([Constant(), Constant()], durations=[5])
    assert rest.factor(0, 6) == 1
    with pytest.raises(ValueError, match=r"leave a part of the run to the last policy, got \[5\].* 5 of 5\."):
        rest.factor(0, 5)


def test_shares_that_fit_no_run():
    with pytest.raises(ValueError, match=r"must fit into the run, got \[0.5, 0.6\], which take 1.1 of 1\."):
        Sequence([Constant(), Constant()], durations=[0.5, 0.6])
    with pytest.raises(ValueError, match="leave a part of the run to the last policy"):
        Sequence([Constant(), Constant()], durations=[1.0])


def test_policies_nest():
    inner = Sequence([Constant(), Linear()], durations=[0.1])
    policy = Sequence([inner, WarmupStableDecay(0.1, warmup=0.9)], durations=[0.3])
    assert policy.factor(0, 7) == 1
    assert policy.factor(7, 7) == 0


def test_product_that_overflows():
    with pytest.raises(ValueError, match=r"`Product.formula` must return a number in \[0, inf\), got inf"):
        Product([Constant(1e300), Constant(1e300)]).factor(0)


def test_lists_become_tuples_out_of_reach():
    policies, durations = [Constant(), Linear()], [2]
    policy = Sequence(policies, durations=durations)
    policies.clear()
    durations.clear()
    assert policy == Sequence((Constant(), Linear()), durations=(2,))
