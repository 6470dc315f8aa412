"""Which LR comes next, over whole runs."""

import math

import pytest

from lightning_lr.tune.coarse_to_fine import Tried, next_lr


def octaves(loss, count, *, low=2.0**-10, high=2.0**2, first=()):
    """Return log2 of the LRs of `count` runs, one after the other, with `loss` over log2 LR."""
    runs = []
    for _ in range(count):
        lr = next_lr(runs, low=low, high=high, first=first)
        runs.append(Tried(lr, loss(math.log2(lr))))
    return [round(math.log2(run.lr), 3) for run in runs]


def test_from_coarse_to_fine_around_the_best():
    tried = octaves(lambda octave: (octave + 5.25) ** 2, 11)

    assert tried[:3] == [-4, -8, 0]
    # 4x around the best so far, its better side first; then 2x around the new best, and so on.
    assert tried[3:] == [-6, -5, -5.5, -4.5, -5.25, -5.375, -5.125, -2]


def test_the_given_lrs_are_first_and_the_center():
    assert octaves(lambda octave: abs(octave + 5), 5, first=[2.0**-5, 2.0**-3]) == [-5, -3, -9, -1, -7]


def test_given_lrs_outside_of_the_range_are_left_out():
    assert octaves(lambda octave: 1.0, 2, low=0.5, high=1.0, first=[4.0, 0.6])[0] == round(math.log2(0.6), 3)


def test_nothing_is_tried_above_an_lr_that_diverged():
    tried = octaves(lambda octave: math.inf if octave > -7.5 else 1.0 + abs(octave + 8), 8)

    assert tried[:2] == [-4, -8]
    assert all(octave < -4 for octave in tried[1:])


def test_a_run_that_was_cut_is_never_the_best():
    runs = [Tried(2.0**-4, 0.1, is_cut=True), Tried(2.0**-8, 0.5), Tried(1.0, math.inf)]

    # 4x around the LR that was trained to the end.
    assert math.log2(next_lr(runs, low=2.0**-10, high=2.0**2)) == -6


def test_what_others_are_at_is_skipped():
    runs = []
    for _ in range(4):
        runs.append(Tried(next_lr(runs, low=2.0**-10, high=2.0**2)))

    # The fourth has nothing to go by, and fills a gap.
    assert [math.log2(run.lr) for run in runs] == [-4, -8, 0, -2]


@pytest.mark.parametrize("best", [-9.3, -4.0, 0.77, 2.0])
def test_it_comes_close_wherever_the_best_is(best):
    tried = octaves(lambda octave: (octave - best) ** 2, 14)

    assert min(abs(octave - best) for octave in tried) <= 0.13
    assert len(set(tried)) == 14
    assert all(-10 <= octave <= 2 for octave in tried)


def test_it_never_runs_out_of_lrs():
    assert len(set(octaves(lambda octave: abs(octave + 3), 60))) == 60


def test_all_diverged_leads_downwards():
    tried = octaves(lambda octave: math.inf, 4)

    assert tried[:2] == [-4, -8]
    assert len(set(tried)) == 4
