import math
import random
from itertools import count

import pytest

from lightning_lr.finders.trials.proposal import is_lost, trial_factors


def test_the_factors_of_a_trial_rise_and_fall():
    assert trial_factors(4, warmup=0.0) == pytest.approx((1.0, 1.0, 2 / 3, 1 / 3))
    assert trial_factors(1) == (1.0,)
    for length in range(1, 40):
        factors = trial_factors(length, warmup=0.3)
        assert len(factors) == length
        assert max(factors) == 1.0
        assert min(factors) > 0
    for warmup in (-0.1, 1.0, math.nan):
        with pytest.raises(ValueError, match="warmup"):
            trial_factors(4, warmup)


FALLING = [3.0 * 0.8**step for step in range(20)]


def test_a_trial_that_stays_behind_is_lost_and_one_that_is_a_little_slower_is_not():
    flat, slower = [3.0] * 20, [3.0 * 0.85**step for step in range(20)]
    lost_at = next(step for step in count(1) if is_lost(flat[:step], FALLING, 20))
    assert lost_at == 10
    assert not any(is_lost(slower[:step], FALLING, 20) for step in range(20))


def test_a_trial_that_catches_up_late_is_not_lost():
    late = [3.0] * 6 + [3.0 * 0.6**step for step in range(1, 15)]
    assert late[-1] < FALLING[-1]
    assert not any(is_lost(late[:step], FALLING, 20) for step in range(20))


def test_noise_alone_loses_hardly_a_trial():
    generator, lost = random.Random(0), 0
    for _ in range(1000):
        best, other = ([1 + 0.05 * generator.gauss(0, 1) for _ in range(40)] for _ in range(2))
        lost += any(is_lost(other[:step], best, 40) for step in range(40))
    assert lost <= 30


def test_no_trial_is_lost_to_one_that_has_gained_nothing():
    rising = [3.0 + 0.1 * step for step in range(20)]
    worse = [3.0 + step for step in range(20)]
    assert not any(is_lost(worse[:step], rising, 20) for step in range(20))


def test_a_shift_and_the_scale_of_the_loss_lose_the_same_trials():
    flat = [3.0] * 20
    for scale, shift in ((1e3, 0.0), (1e-3, 0.0), (1.0, -50.0)):
        ours, theirs = ([scale * loss + shift for loss in losses] for losses in (flat, FALLING))
        for step in range(20):
            assert is_lost(ours[:step], theirs, 20) == is_lost(flat[:step], FALLING, 20)
