import math

import pytest

from lightning_lr.finders.search.optimum import read_optimum
from lightning_lr.finders.search.trials import Trial, Trials
from lightning_lr.finders.suggestion import Abstention, Suggestion


def trials_of(losses, *, start=3.0, short=None):
    """Return final trials of 64 steps with these losses by LR, and coarse ones of 16."""

    def made(by_lr, length, stage):
        return [
            Trial(lr, loss, length, length, stage, "finished" if math.isfinite(loss) else "diverged")
            for lr, loss in by_lr.items()
        ]

    return Trials(start, "validation loss", (*made(short or {}, 16, "coarse"), *made(losses, 64, "final")))


def test_the_middle_of_equals_is_read_and_the_lowest_of_others():
    equals = trials_of({0.01: 1.0, 0.02: 1.0, 0.04: 1.0, 0.16: 2.9})
    assert read_optimum(equals, horizon=64).lr == pytest.approx(0.02, rel=0.2)
    lowest = trials_of({0.01: 2.0, 0.02: 1.0, 0.04: 2.9})
    assert read_optimum(lowest, horizon=64).lr == pytest.approx(0.02, rel=0.2)


def test_a_parabola_is_read_between_the_trials():
    optimum = 0.0283
    losses = {lr: math.exp(math.log10(lr / optimum) ** 2) for lr in (0.005, 0.01, 0.02, 0.04, 0.08, 0.16)}
    assert read_optimum(trials_of(losses), horizon=64).lr == pytest.approx(optimum, rel=0.02)


@pytest.mark.parametrize(("scale", "shift"), [(1000.0, 0.0), (1e-3, 0.0)])
def test_the_scale_of_the_loss_does_not_matter(scale, shift):
    losses = {0.01: 1.4, 0.02: 1.0, 0.04: 1.1, 0.08: 1.9}
    moved = {lr: scale * loss + shift for lr, loss in losses.items()}
    found = read_optimum(trials_of(losses), horizon=1000)
    again = read_optimum(trials_of(moved, start=scale * 3.0 + shift), horizon=1000)
    assert again.lr == pytest.approx(found.lr, rel=1e-9)


def test_losses_below_zero_are_read_whatever_their_shift():
    losses = {0.01: -0.6, 0.02: -1.0, 0.04: -0.9, 0.08: -0.1}
    found = [
        read_optimum(
            trials_of({lr: loss - shift for lr, loss in losses.items()}, start=-shift), horizon=64
        ).lr
        for shift in (0.0, 5.0, 100.0)
    ]
    assert found == pytest.approx([found[0]] * 3, rel=1e-6)
    assert 0.02 <= found[0] <= 0.04


def test_for_a_longer_run_the_lr_is_lower():
    losses = {0.01: 1.4, 0.02: 1.0, 0.04: 1.4}
    short = {0.01: 1.6, 0.04: 1.2, 0.16: 1.6}
    lrs = [
        read_optimum(trials_of(losses, short=short), horizon=steps).lr for steps in (64, 128, 512, math.inf)
    ]
    assert lrs[0] > lrs[1] > lrs[2] == lrs[3]
    # Of one octave over two doublings, half goes on, and a fifth besides.
    assert math.log2(lrs[0] / lrs[1]) == pytest.approx(0.45, abs=0.02)
    assert (
        "because the run is longer than the trials"
        in read_optimum(trials_of(losses, short=short), horizon=512).reason
    )


def test_for_a_shorter_run_it_is_what_the_trials_say():
    losses = {0.01: 1.4, 0.02: 1.0, 0.04: 1.4}
    assert read_optimum(trials_of(losses), horizon=10) == read_optimum(trials_of(losses), horizon=64)


def test_the_span_holds_the_lr_and_those_as_good():
    found = read_optimum(trials_of({0.01: 1.02, 0.02: 1.0, 0.04: 1.03, 0.16: 2.0}), horizon=64)
    assert isinstance(found, Suggestion)
    assert found.low == pytest.approx(0.01 / math.sqrt(2))
    assert found.high == pytest.approx(0.04 * math.sqrt(2))
    assert found.low <= found.lr <= found.high


@pytest.mark.parametrize(
    ("trials", "reason"),
    [
        (trials_of({0.1: math.inf, 0.01: math.inf}), "Each of the 2 trials diverged, down to an LR of 0.01"),
        (trials_of({0.1: 1.0, 0.01: 1.0}), "stays at 1 whatever the LR is"),
        (trials_of({0.1: 0.0, 0.01: 0.0}), "stays at 0 whatever the LR is"),
        (trials_of({0.1: 3.4, 0.01: 3.1}), "No LR brought the loss below the 3 of the start"),
    ],
)
def test_where_the_trials_do_not_tell_there_is_a_reason(trials, reason):
    found = read_optimum(trials, horizon=100)
    assert isinstance(found, Abstention)
    assert reason in found.reason


def test_a_single_trial_that_is_better_than_nothing_is_taken():
    found = read_optimum(trials_of({0.1: 1.0, 0.2: math.inf}), horizon=64)
    assert found.lr == pytest.approx(0.1)
