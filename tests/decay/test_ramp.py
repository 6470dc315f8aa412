import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_lr.decay.ramp import check_ramp, ramped

SHAPES = ["linear", "cosine", "exponential", "1-sqrt"]


@pytest.mark.parametrize(
    ("shape", "start", "table"),
    [
        ("linear", 0.0, [0, 0.25, 0.5, 0.75, 1, 1]),
        # Keras' CosineDecay from 0.2 to a warm-up target of 1 in 4 steps
        ("linear", 0.2, [0.2, 0.4, 0.6, 0.8, 1, 1]),
        # transformers' warm-up of the type cosine
        ("cosine", 0.0, [0, 0.14644660940672627, 0.5, 0.8535533905932737, 1, 1]),
        ("cosine", 0.5, [0.5, 0.5732233047033631, 0.75, 0.9267766952966369, 1, 1]),
        # transformers' warm-up of the type 1-sqrt
        ("1-sqrt", 0.0, [0, 0.1339745962155614, 0.2928932188134524, 0.5, 1, 1]),
        ("exponential", 0.0001, [0.0001, 0.001, 0.01, 0.1, 1, 1]),
        ("exponential", 1.0, [1, 1, 1, 1, 1, 1]),
    ],
)
def test_table(shape, start, table):
    found = [ramped(1.0, step=step, length=4, start=start, shape=shape) for step in range(6)]
    assert found == pytest.approx(table, rel=1e-12, abs=1e-12)
    half = [ramped(0.5, step=step, length=4, start=start, shape=shape) for step in range(6)]
    assert half == pytest.approx([0.5 * factor for factor in table], rel=1e-12, abs=1e-12)


@given(
    shape=st.sampled_from(SHAPES),
    start=st.floats(1e-300, 1),
    length=st.floats(1, 1e6),
    steps=st.lists(st.floats(0, 2e6), min_size=2, max_size=2).map(sorted),
)
def test_a_ramp_rises_from_its_start_to_1(shape, start, length, steps):
    early, late = (ramped(1.0, step=step, length=length, start=start, shape=shape) for step in steps)
    assert start * (1 - 1e-12) <= early <= late * (1 + 1e-12) <= 1 + 2e-12
    assert ramped(1.0, step=0, length=length, start=start, shape=shape) == start
    assert ramped(0.3, step=length, length=length, start=start, shape=shape) == 0.3


@given(factor=st.floats(0, 1), length=st.integers(1, 10**6), step=st.integers(0, 10**6))
def test_the_default_is_the_ramp_of_earlier_checkpoints_to_the_last_bit(factor, length, step):
    assert ramped(factor, step=step, length=length) == (factor if step >= length else factor * step / length)


def test_no_ramp():
    assert ramped(0.7, step=0, length=0) == 0.7


@pytest.mark.parametrize("shape", SHAPES)
def test_the_start_must_be_a_share(shape):
    check_ramp("LRDecay", 1e-3, shape)
    least = "(" if shape == "exponential" else "["
    for value in (-0.1, 1.1, math.nan, *([0, 0.0] if shape == "exponential" else [])):
        with pytest.raises(
            ValueError, match=rf"`LRDecay\(warmup_start=...\)` must be in \{least}0, 1\], got {value!r}"
        ):
            check_ramp("LRDecay", value, shape)
    with pytest.raises(TypeError, match=rf"must be a number in \{least}0, 1\], got '0'"):
        check_ramp("LRDecay", "0", shape)


@pytest.mark.parametrize("shape", ["quadratic", None, ""])
def test_the_shape_must_be_known(shape):
    with pytest.raises(
        ValueError,
        match=r"`LRDecay\(warmup_shape=...\)` must be 'linear' or 'cosine' or 'exp.* or '1-sqrt'",
    ):
        check_ramp("LRDecay", 0.0, shape)
