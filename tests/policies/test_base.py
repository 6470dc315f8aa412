import math
from dataclasses import dataclass
from types import FunctionType

import numpy as np
import pytest

from lightning_lr.policies import Cosine, Exponential, Linear, Policy, Sequence


@dataclass(frozen=True)
class Returns(Policy):
    """Returns what it was made with, or else its arguments as they reach a formula."""

    value: object = None

    def formula(self, t, total):
        return self.value if self.value is not None else t + total / 1000


def test_formula_gets_floats_clipped_to_the_run():
    assert Returns().factor(3, 10) == 3.01
    assert Returns().factor(30, 10) == 10.01
    assert type(Returns().factor(np.int64(3), np.float32(10))) is float


def test_no_end_is_the_default():
    assert Returns(1).factor(7) == 1.0
    assert not Returns().needs_end


def test_policy_is_abstract():
    with pytest.raises(TypeError, match="abstract"):
        Policy()


@pytest.mark.parametrize("t", [-1, -1e-9, math.nan, math.inf, 2**53 + 2, 1e300])
def test_time_out_of_range(t):
    with pytest.raises(ValueError, match=r"`Exponential.factor\(t=...\)` must be in \[0, 9007199254740992\]"):
        Exponential(0.9).factor(t)


@pytest.mark.parametrize("t", [True, "1", None, 1j])
def test_time_of_the_wrong_type(t):
    with pytest.raises(TypeError, match=r"`Exponential.factor\(t=...\)` must be a number"):
        Exponential(0.9).factor(t)


@pytest.mark.parametrize("total", [0, -1, math.nan, -math.inf])
def test_total_out_of_range(total):
    for call in (lambda: Linear().factor(0, total), lambda: Linear().over(total)):
        with pytest.raises(ValueError, match=r"`Linear.factor\(total=...\)` must be in \(0, inf\]"):
            call()


def test_total_of_the_wrong_type():
    with pytest.raises(TypeError, match=r"`Linear.factor\(total=...\)` must be a number"):
        Linear().factor(0, "10")


def test_needed_end_is_missing():
    for call in (lambda: Cosine().factor(0), lambda: Cosine()(0), lambda: Cosine().over(math.inf)):
        with pytest.raises(ValueError, match=r"`Cosine` needs the end of the run, got total=inf.*max_epochs"):
            call()


@pytest.mark.parametrize("value", [-1e-9, math.nan, math.inf])
def test_formula_that_returns_no_factor(value):
    with pytest.raises(
        ValueError, match=r"`Returns.formula` must return a number in \[0, inf\), got .* at t=3"
    ):
        Returns(value).factor(3)


def test_call_is_factor():
    assert Linear()(1, 4) == Linear().factor(1, 4) == 0.75


def test_over_is_a_plain_function_of_t():
    factor = Linear().over(4)
    assert type(factor) is FunctionType
    assert [factor(t) for t in (0, 1, 4, 9)] == [1.0, 0.75, 0.0, 0.0]


def test_over_checks_the_policy_against_the_run_at_once():
    with pytest.raises(ValueError, match="must fit into the run"):
        Sequence([Linear()], durations=[11]).over(10)
