"""The argument checks: NaN and its like fail, the ends count as the brackets say."""

import math
from fractions import Fraction

import numpy as np
import pytest

from lightning_lr.checks import check_choice, check_count, check_number


@pytest.mark.parametrize("value", [0, 1, 0.5, np.float32(0.25), np.int64(1), Fraction(1, 3)])
def test_numbers_inside_pass(value):
    check_number("f(x=...)", value, "[0, 1]")


@pytest.mark.parametrize(
    ("value", "interval"),
    [
        (math.nan, "[0, 1]"),
        (math.inf, "[0, inf)"),
        (-math.inf, "(-inf, inf)"),
        (0, "(0, 1]"),
        (1, "[0, 1)"),
        (10**400, "[0, inf)"),
        (-(10**400), "[0, inf)"),
    ],
)
def test_numbers_outside_fail(value, interval):
    with pytest.raises(ValueError, match=r"`f\(x=...\)` must be in"):
        check_number("f(x=...)", value, interval)


@pytest.mark.parametrize("value", ["1", None, True, 1j, [1]])
def test_what_is_no_number_fails(value):
    with pytest.raises(TypeError, match=r"`f\(x=...\)` must be a number in \[0, 1\], got"):
        check_number("f(x=...)", value, "[0, 1]")


@pytest.mark.parametrize("value", [1.0, "1", True, None, math.nan])
def test_what_is_no_count_fails(value):
    with pytest.raises(TypeError, match=r"`f\(x=...\)` must be a whole number, got"):
        check_count("f(x=...)", value, minimum=0)


def test_counts_and_choices():
    check_count("f(x=...)", 3, minimum=3)
    check_choice("f(x=...)", "a", ("a", "b"))
    with pytest.raises(ValueError, match="must be at least 3, got 2"):
        check_count("f(x=...)", 2, minimum=3)
    with pytest.raises(ValueError, match="must be 'a' or 'b', got 'c'"):
        check_choice("f(x=...)", "c", ("a", "b"))
