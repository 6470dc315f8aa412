import math
import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_lr.finders.search.optimum import read_optimum
from lightning_lr.finders.search.refinement import Refinement
from lightning_lr.finders.trials.trials import Trial, Trials


def search(refinement, loss_of, start=100.0):
    """Play a search in which the loss is a function of LR and length, not finite where it diverges."""
    trials = Trials(start, "validation loss")
    while (proposal := refinement.propose(trials)) is not None:
        loss = loss_of(proposal.lr, proposal.length)
        finite = math.isfinite(loss)
        trials = trials.with_trial(
            Trial(
                proposal.lr,
                loss if finite else math.inf,
                proposal.length if finite else 1,
                proposal.length,
                proposal.stage,
                "finished" if finite else "diverged",
            )
        )
        assert len(trials) < 100
    return trials


def bowl(optimum, curvature=1.0):
    return lambda lr, _: math.exp(min(50.0, curvature * math.log10(lr / optimum) ** 2))


def test_it_goes_from_16x_over_4x_to_2x_and_ends_with_longer_trials():
    refinement = Refinement(1e-8, 1.0, steps_per_trial=10, final_steps=40)
    trials = search(refinement, bowl(3e-3))
    coarse, fine, final = (trials.at_stage(stage) for stage in ("coarse", "fine", "final"))
    lrs = sorted(trial.lr for trial in coarse)
    assert [high / low for low, high in pairwise(lrs)] == pytest.approx([16.0] * 6)
    best = min(coarse, key=lambda trial: trial.loss).lr
    assert {trial.lr / best for trial in fine[:2]} == {0.25, 4.0}
    assert {trial.length for trial in (*coarse, *fine)} == {10}
    assert {trial.length for trial in final} == {40}
    around = sorted(abs(math.log2(trial.lr / 3e-3)) for trial in final)
    assert around[2] < 2


@pytest.mark.parametrize("curvature", [1.0, 2.0])
def test_a_noisy_bowl_is_found_within_a_tenth_of_a_decade(curvature):
    errors = []
    for seed in range(200):
        generator = random.Random(seed)
        optimum = 10 ** generator.uniform(-8, 0)
        smooth = bowl(optimum, curvature)
        trials = search(
            Refinement(1e-8, 1.0),
            lambda lr, length, smooth=smooth, generator=generator: (
                smooth(lr, length) * math.exp(generator.gauss(0, 0.05))
            ),
        )
        # For a run as long as the last trials: the fall with the length is another matter.
        found = read_optimum(trials, horizon=trials.trials[-1].length)
        errors.append(abs(math.log10(found.lr / optimum)))
    assert sum(error <= 0.1 for error in errors) >= 190


def test_a_range_that_ends_too_early_is_extended():
    for optimum in (1e-9, 1e3):
        trials = search(Refinement(1e-4, 1e-1), bowl(optimum))
        assert abs(math.log2(min(trials, key=lambda trial: trial.loss).lr / optimum)) <= 0.5


def test_bounds_of_the_user_are_kept():
    for optimum in (1e-9, 1e3):
        trials = search(Refinement(1e-4, 1e-1, can_extend=(False, False)), bowl(optimum))
        assert all(1e-4 <= trial.lr <= 1e-1 for trial in trials)


def test_nothing_above_a_diverged_trial_is_tried():
    limit = 0.05
    trials = search(Refinement(1e-6, 10.0), lambda lr, _: math.inf if lr > limit else 1 / lr)
    diverged = [trial.lr for trial in trials if trial.outcome == "diverged" and trial.stage != "final"]
    for index, trial in enumerate(trials.at_stage("coarse", "fine")):
        earlier = [other.lr for other in trials.trials[:index] if other.outcome == "diverged"]
        assert not earlier or trial.lr < min(earlier)
    assert diverged
    assert max(trial.lr for trial in trials if trial.outcome == "finished") > limit / 2


def test_where_every_trial_diverges_it_goes_down_and_gives_up():
    trials = search(Refinement(1e-4, 1.0), lambda lr, _: math.nan)
    lrs = [trial.lr for trial in trials]
    assert lrs[-1] == min(lrs) < 1e-11
    bounded = search(Refinement(1e-4, 1.0, can_extend=(False, False)), lambda lr, _: math.nan)
    assert min(trial.lr for trial in bounded) >= 1e-4


def test_on_a_plateau_the_long_trials_go_further_where_it_falls():
    def loss(lr, length):
        return 1.0 + 1e-3 * math.log10(1 / lr) if length > 16 and 1e-3 < lr < 0.2 else bowl(1e-2)(lr, length)

    finals = search(Refinement(1e-5, 10.0), loss).at_stage("final")
    assert max(trial.lr for trial in finals) > 4 * finals[0].lr


@settings(deadline=None)
@given(
    budget=st.integers(75, 2000),
    steps_per_trial=st.integers(1, 50),
    final_steps=st.integers(1, 300),
    seed=st.integers(0, 10**6),
)
def test_the_budget_is_never_exceeded(budget, steps_per_trial, final_steps, seed):
    generator = random.Random(seed)
    refinement = Refinement(1e-5, 1.0, steps_per_trial, final_steps, budget)
    trials = search(
        refinement, lambda lr, length: generator.choice([math.inf, generator.random(), generator.random()])
    )
    assert trials.steps <= budget


def test_long_trials_begin_at_the_upper_end_of_a_plateau_of_short_ones():
    def loss(lr, length):
        short = 1.0 if 3e-4 < lr < 0.1 else 3.0
        return short if length == 15 else bowl(0.05)(lr, length) - 0.9

    trials = search(Refinement(1e-5, 1.0), loss)
    first = trials.at_stage("final")[0].lr
    assert first == max(trial.lr for trial in trials.at_stage("coarse", "fine") if trial.loss == 1.0)
    assert abs(math.log2(read_optimum(trials, horizon=150).lr / 0.05)) < 0.5


def test_a_small_budget_leaves_2x_to_the_long_trials():
    for budget, octaves in ((200, {2}), (None, {1, 2})):
        trials = search(Refinement(1e-4, 1.0, budget=budget), bowl(0.01))
        best = min(trials.at_stage("coarse"), key=lambda trial: trial.loss).lr
        found = {round(abs(math.log2(trial.lr / best))) for trial in trials.at_stage("fine")}
        assert found == octaves


def test_a_larger_budget_goes_into_longer_final_trials():
    lengths = [
        search(Refinement(1e-4, 1.0, 16, 1000, budget), bowl(0.01)).at_stage("final")[0].length
        for budget in (200, 400, 800)
    ]
    assert lengths == sorted(set(lengths))


def test_the_same_trials_lead_to_the_same_proposal():
    refinement = Refinement(1e-4, 1.0)
    trials = search(refinement, bowl(0.02))
    for end in range(len(trials)):
        so_far = Trials(trials.start_loss, trials.judged_by, trials.trials[:end])
        proposal = refinement.propose(so_far)
        assert (proposal.lr, proposal.length, proposal.stage) == (
            trials.trials[end].lr,
            trials.trials[end].length,
            trials.trials[end].stage,
        )
        assert proposal.reason.endswith(".")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"low": 0.0, "high": 1.0}, ValueError, r"low=.*\(0, inf\), got 0.0"),
        ({"low": 0.1, "high": 0.1}, ValueError, r"high=.*\(0.1, inf\), got 0.1"),
        ({"low": 0.1, "high": math.nan}, ValueError, "got nan"),
        ({"low": 1e-4, "high": 1.0, "steps_per_trial": 0}, ValueError, "at least 1, got 0"),
        ({"low": 1e-4, "high": 1.0, "final_steps": 2.5}, TypeError, "whole number, got 2.5"),
        (
            {"low": 1e-4, "high": 1.0, "budget": 44},
            ValueError,
            "at least 45 steps for 3 coarse trials.*got 44",
        ),
    ],
)
def test_bad_arguments_are_errors_that_name_them(arguments, error, message):
    with pytest.raises(error, match=message):
        Refinement(**arguments)
