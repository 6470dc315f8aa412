import math

import pytest
from benchmarks.long.lion import Lion
from torch import nn, optim

from lightning_lr.finders.drift import Drift, drift_of
from lightning_lr.finders.search.optimum import read_optimum
from lightning_lr.finders.suggestion import Abstention, Suggestion
from lightning_lr.finders.trials.trials import Trial, Trials


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
        read_optimum(trials_of(losses, short=short), horizon=steps).lr
        for steps in (64, 128, 512, 1024, 4096, math.inf)
    ]
    assert lrs[0] > lrs[1] > lrs[2] > lrs[3] > lrs[4] == lrs[5]
    # A fifth of an octave per doubling, and of what it fell beyond that a quarter, three doublings long.
    assert math.log2(lrs[0] / lrs[1]) == pytest.approx(0.275, abs=0.02)
    assert math.log2(lrs[2] / lrs[3]) == pytest.approx(0.2, abs=0.001)
    reason = read_optimum(trials_of(losses, short=short), horizon=512).reason
    assert "lowered 1.8x because the run is longer than the trials" in reason


def test_for_a_longer_run_of_adagrad_it_is_higher():
    losses = {0.01: 1.4, 0.02: 1.0, 0.04: 1.4}
    found = read_optimum(trials_of(losses), horizon=512, drift=Drift(0.15))
    assert math.log2(found.lr / 0.02) == pytest.approx(0.45, abs=0.02)
    assert "raised 1.4x because the run is longer" in found.reason
    # That the best LR rises from short trials to long ones is not carried on.
    short = {0.0025: 1.4, 0.005: 1.0, 0.01: 1.4}
    assert read_optimum(trials_of(losses, short=short), horizon=512, drift=Drift(0.15)).lr < 1.1 * found.lr


@pytest.mark.parametrize(
    ("make", "drift"),
    [
        (lambda each: optim.SGD(each, lr=0.1), Drift(-0.1)),
        (lambda each: optim.SGD(each, lr=0.1, momentum=0.9), Drift(-0.2)),
        (optim.AdamW, Drift(-0.2)),
        (optim.Adadelta, Drift(-0.2)),
        (optim.Adagrad, Drift(0.15)),
        (lambda each: optim.RMSprop(each, alpha=0.9), Drift(-0.2, smoothing=0.9)),
        (lambda each: Lion(each, lr=0.1), Drift(-0.5)),
    ],
)
def test_every_family_of_optimizers_has_its_drift(make, drift):
    assert drift_of([make(nn.Linear(2, 2).parameters())]) == drift
    assert drift_of([]) == Drift()
    assert drift_of([make(nn.Linear(2, 2).parameters())], have_begun=True) == Drift(0.1)


def test_early_steps_of_rmsprop_are_longer_than_its_lr_says():
    drift = Drift(0.0, smoothing=0.99)
    changes = [drift.between(length, 10_000) for length in (3, 30, 300, 10_000)]
    assert changes == sorted(changes, reverse=True)
    # After one step the average is a hundredth of the squared gradient.
    assert changes[0] == pytest.approx(math.log2(10), abs=0.01)
    assert changes[-1] == 0


def test_for_a_shorter_run_it_is_what_the_trials_say():
    losses = {0.01: 1.4, 0.02: 1.0, 0.04: 1.4}
    assert read_optimum(trials_of(losses), horizon=10) == read_optimum(trials_of(losses), horizon=64)


def test_the_span_holds_the_lr_and_those_as_good():
    found = read_optimum(trials_of({0.01: 1.02, 0.02: 1.0, 0.04: 1.03, 0.16: 2.0}), horizon=64)
    assert isinstance(found, Suggestion)
    # And in any case two octaves on either side.
    assert found.low == pytest.approx(found.lr / 4)
    assert found.high == pytest.approx(found.lr * 4)
    wide = read_optimum(trials_of({1e-3: 1.0, 0.01: 1.01, 0.1: 1.0}), horizon=64)
    assert wide.low == pytest.approx(1e-3)
    assert wide.high == pytest.approx(0.1)


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


@pytest.mark.parametrize("start", [3.0, 0.0])
def test_longer_trials_that_end_above_the_start_are_read_without_an_overflow(start):
    falls = {0.01: 1.0, 0.014: 1.05, 0.02: 1.1, 0.028: 1.05, 0.04: 1.0}
    short = [Trial(lr, start - fall, 15, 15, "fine") for lr, fall in falls.items()]
    long = [Trial(lr, start + each, 90, 90, "final") for lr, each in ((0.01, 0.5), (0.02, 0.1), (0.04, 9))]
    # Warnings are errors.
    found = read_optimum(Trials(start, "validation loss", (*short, *long)), horizon=90)
    assert isinstance(found, Suggestion)
    assert 0.01 < found.lr < 0.03
