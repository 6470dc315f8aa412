import math

import numpy as np
import pytest

from lightning_lr.policies import check_span, span


@pytest.mark.parametrize(
    ("value", "total", "length"),
    [
        (0, 10, 0.0),
        (3, 10, 3.0),
        (30, 10, 30.0),
        (3, math.inf, 3.0),
        (np.int64(3), 10, 3.0),
        (0.0, 10, 0.0),
        (0.0, math.inf, 0.0),
        (0.25, 10, 2.5),
        (0.25, math.inf, math.inf),
        (1.0, 7.3, 7.3),
        (np.float32(0.5), 10, 5.0),
    ],
)
def test_span(value, total, length):
    assert span(value, total) == length
    assert type(span(value, total)) is float


@pytest.mark.parametrize("percent", range(101))
def test_a_percentage_of_100_is_whole(percent):
    assert span(percent / 100, 100) == percent


@pytest.mark.parametrize("value", [-1, -0.1, 1.1, math.nan, math.inf])
def test_value_out_of_range(value):
    message = r"`f\(x=...\)` must be a count \(int >= 0\) or a share \(float in \[0, 1\]\), got"
    with pytest.raises(ValueError, match=message):
        check_span("f(x=...)", value)


@pytest.mark.parametrize("value", [0, 0.0, -1, math.nan])
def test_positive_span_out_of_range(value):
    message = r"`f\(x=...\)` must be a count \(int >= 1\) or a share \(float in \(0, 1\]\), got"
    with pytest.raises(ValueError, match=message):
        check_span("f(x=...)", value, positive=True)


@pytest.mark.parametrize("value", [True, "0.1", None])
def test_type(value):
    with pytest.raises(TypeError, match=r"`f\(x=...\)` must be a count"):
        check_span("f(x=...)", value)


def test_good_spans_pass():
    for value in (0, 1, 10, 0.0, 0.5, 1.0):
        check_span("f(x=...)", value)
    for value in (1, 1e-9, 1.0):
        check_span("f(x=...)", value, positive=True)


def test_total_is_checked():
    with pytest.raises(ValueError, match=r"`span\(total=...\)` must be in \(0, inf\]"):
        span(1, 0)
