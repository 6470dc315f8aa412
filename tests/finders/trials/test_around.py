"""Short trainings after a ramp: with the LR that it shows, a quarter and up to four times of it."""

import math

import pytest
from helpers.finders import BOUNDS, Learner
from helpers.toy import LEDGER, Notes, fit

from lightning_lr import LRDecay, LRRangeTest
from lightning_lr.finders import GiveBack, MidDescent, Suggestion
from lightning_lr.finders.range_test.curve import highest_to_try
from lightning_lr.finders.trials.around import best_around, steps_of_trainings
from lightning_lr.policies import Constant

FOUND = Suggestion(lr=0.4, low=0.1, high=0.8, rule="Basin", reason="It fell.")
NOTES = Notes()
INF = math.inf


@pytest.mark.parametrize(
    ("losses", "factor", "told"),
    [
        ([0.5, 0.6, 0.7], 1, "No short training with a quarter or 4x of it does better."),
        ([0.5, 0.5, 0.5], 1, "No short training with a quarter or 4x of it does better."),
        ([0.7, 0.6, 0.65], 0.25, "with a quarter of it does better (loss 0.6 instead of 0.7)."),
        ([0.7, 0.8, 0.5], 4, "with 4x of it does better (loss 0.5 instead of 0.7)."),
        ([-1.0, -1.5, -1.2], 0.25, "with a quarter of it does better (loss -1.5 instead of -1)."),
        ([INF, 0.6, INF], 0.25, "with a quarter of it does better (loss 0.6 instead of inf)."),
        ([0.5, INF, INF], 1, "No short training with a quarter or 4x of it does better."),
        ([INF, INF, INF], 0.25, "Short trainings diverge even with a quarter of it, which is taken."),
    ],
)
def test_the_best_of_three_lrs_is_taken(losses, factor, told):
    made = []

    def loss_after(lr):
        made.append(lr)
        return losses[len(made) - 1]

    decision = best_around(FOUND, loss_after, highest=100.0)
    assert made == [0.4, 0.1, 1.6]
    assert (decision.lr, decision.low, decision.high) == (0.4 * factor, 0.1 * factor, 1.6 * factor)
    assert decision.reason.startswith("It fell. ")
    assert decision.reason.endswith(told)


@pytest.mark.parametrize(("highest", "tried"), [(1.0, 1.0), (0.7, 0.7), (0.5, None), (0.01, None)])
def test_no_lr_above_what_the_ramp_bore_is_tried(highest, tried):
    made = []
    decision = best_around(FOUND, lambda lr: made.append(lr) or -lr, highest=highest)
    assert made == pytest.approx([0.4, 0.1] + [tried] * (tried is not None))
    assert decision.lr == pytest.approx(tried or 0.4)


@pytest.mark.parametrize(
    ("run", "repeats", "steps"),
    [(2_700, 1, 0), (2_800, 1, 60), (4_000, 1, 100), (math.inf, 1, 100), (4_000, 3, 0), (0, 1, 0)],
)
def test_they_are_made_where_the_whole_test_is_a_tenth_of_the_run(run, repeats, steps):
    assert steps_of_trainings(100, run, repeats=repeats) == steps


def steps_made(test, *callbacks, **kwargs):
    fit(Learner(batches=10), test, *callbacks, limit_val_batches=0, **kwargs)
    return LEDGER["steps"]


def test_a_long_run_makes_them_and_a_short_one_does_not():
    settings = {**BOUNDS, "num_steps": 40, "stop_after": True}
    short, long = LRRangeTest(**settings), LRRangeTest(**settings)
    none, asked = (LRRangeTest(**settings, steps_per_trial=steps) for steps in (0, 7))
    warmup = LRDecay(warmup=5)
    ramps = steps_made(short, warmup, max_epochs=50)
    # 1,600 steps: 160 for the test, 40 of them for the ramp.
    assert ramps + 40 < steps_made(long, warmup, max_epochs=160) <= ramps + 3 * 40
    assert steps_made(none, warmup, max_epochs=160) == ramps
    assert ramps + 7 < steps_made(asked, warmup, max_epochs=50) <= ramps + 3 * 7
    told = ["hort training" in each.suggestion.reason for each in (short, long, none, asked)]
    assert told == [False, True, False, True]


def test_none_is_longer_than_the_run():
    test = LRRangeTest(20, **BOUNDS, steps_per_trial=500, stop_after=True)
    assert steps_made(test, LRDecay(warmup=1), max_epochs=1) <= 82 + 3 * 10


def test_another_rule_is_tried_only_when_asked():
    settings = {**BOUNDS, "num_steps": 20, "rule": MidDescent(), "stop_after": True}
    plain, asked = LRRangeTest(**settings), LRRangeTest(**settings, steps_per_trial=10)
    steps_made(plain, max_epochs=100)
    steps_made(asked, max_epochs=100)
    assert "hort training" not in plain.suggestion.reason
    assert "hort training" in asked.suggestion.reason


def test_the_lr_is_then_one_for_trainings_of_their_length():
    found = []
    for epochs in (10, 160):
        test = LRRangeTest(20, **BOUNDS, steps_per_trial=25, stop_after=True)
        steps_made(test, LRDecay(warmup=0.1), max_epochs=epochs)
        found.append(test.suggestion.lr)
    # SGD: 0.1 octaves lower per doubling; from 25 steps to 100 are two, to 1,600 six.
    assert found[1] / found[0] == pytest.approx(2**-0.4, rel=1e-6)


@pytest.mark.parametrize(("milestone", "are_made"), [(0, True), (1, False)])
def test_a_test_in_the_middle_of_a_run_makes_none(milestone, are_made):
    test = LRRangeTest(40, **BOUNDS, milestones=[milestone], stop_after=True)
    # Of 1,600 steps, 1,590 are left at the second epoch.
    fit(Learner(batches=10), test, max_epochs=160, limit_val_batches=0)
    assert isinstance(test.suggestion, Suggestion)
    assert ("hort training" in test.suggestion.reason) == are_made


class NotesLRs(Learner):
    def training_step(self, batch, batch_idx):
        NOTES.append(self.optimizers().param_groups[0]["lr"])
        return super().training_step(batch, batch_idx)


@pytest.mark.parametrize(
    ("callbacks", "shape"),
    [
        ([], [1.0, 1.0, 1.0, 1.0]),
        ([LRDecay(warmup=5)], [1.0, 1.0, 0.67, 0.33]),
        ([LRDecay(Constant(), interval="step", warmup=50)], [0.24, 0.74, 1.0, 1.0]),
    ],
)
def test_they_begin_and_end_as_the_run_does(callbacks, shape):
    NOTES.all.clear()
    test = LRRangeTest(40, **BOUNDS, steps_per_trial=4, stop_after=True)
    fit(NotesLRs(batches=10), test, *callbacks, max_epochs=10, limit_val_batches=0)
    assert "hort training" in test.suggestion.reason
    for start in (-12, -8, -4):
        lrs = NOTES.all[len(NOTES.all) + start :][:4]
        assert [round(lr / max(lrs), 2) for lr in lrs] == shape


@pytest.mark.parametrize(("decay", "first"), [(LRDecay(), 1.0), (LRDecay(warmup=5), 0.5)])
def test_they_ramp_up_only_where_the_run_does(decay, first):
    NOTES.all.clear()
    test = LRRangeTest(40, **BOUNDS, steps_per_trial=20, stop_after=True)
    fit(NotesLRs(batches=10), test, decay, max_epochs=10, limit_val_batches=0)
    assert "hort training" in test.suggestion.reason
    lrs = NOTES.all[-20:]
    assert lrs[0] == pytest.approx(first * max(lrs))


def test_none_is_made_above_the_wall_of_the_ramp():
    NOTES.all.clear()
    test = LRRangeTest(40, rule=GiveBack(divisor=1), steps_per_trial=4, stop_after=True)
    fit(NotesLRs(batches=10), test, max_epochs=10, limit_val_batches=0)
    assert "hort training" in test.suggestion.reason
    assert max(NOTES.all[-8:]) <= 1.01 * 1.5 * highest_to_try(test.curve)


@pytest.mark.parametrize(
    ("settings", "error", "told"),
    [
        ({"steps_per_trial": -1}, ValueError, "steps_per_trial"),
        ({"steps_per_trial": 1.5}, TypeError, "steps_per_trial"),
        ({"steps_per_trial": True}, TypeError, "steps_per_trial"),
        ({"steps_per_trial": 5, "live": True, **BOUNDS}, ValueError, "steps_per_trial"),
    ],
)
def test_what_cannot_be_is_refused(settings, error, told):
    with pytest.raises(error, match=told):
        LRRangeTest(**settings)
