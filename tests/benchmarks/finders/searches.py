"""The search over LRs in plain torch: what the callback does, without a Trainer."""

import math
from collections.abc import Callable, Sequence
from itertools import islice
from statistics import fmean
from typing import TypeAlias

import torch
from benchmarks.finders.ramps import bounds, range_test
from benchmarks.finders.task import Task
from torch import nn

from lightning_lr.finders.bounds import PROBED_STEPS
from lightning_lr.finders.drift import USUAL_LENGTH, drift_of, fitted_to_run
from lightning_lr.finders.range_test.curve import highest_to_try
from lightning_lr.finders.range_test.rules import Basin
from lightning_lr.finders.search.by_ramp import LEAST_FOR_RAMP, LEAST_FOR_TRIALS, STRIDE, steps_of_ramp
from lightning_lr.finders.search.optimum import read_optimum
from lightning_lr.finders.search.refinement import Refinement
from lightning_lr.finders.suggestion import Abstention, Decision
from lightning_lr.finders.trials.around import best_around, steps_of_trainings
from lightning_lr.finders.trials.proposal import is_lost, trial_factors
from lightning_lr.finders.trials.runner import difference_error
from lightning_lr.finders.trials.trials import Outcome, Trial, Trials

__all__ = ["Shape", "ramp_and_trainings", "search", "search_within", "try_lr"]

SCORED_BATCHES = 16
Shape: TypeAlias = Callable[[int], Sequence[float]]
"""Returns the factor of the peak LR at each of so many steps."""


def search(
    task: Task, seed: int, *, shape: Shape = trial_factors, **settings: int | None
) -> tuple[Trials, Decision]:
    """Search over LRs for one task.

    Args:
        task: What to train.
        seed: Of model and batches.
        shape: That of the trials.
        settings: `steps_per_trial`, `final_steps` and `budget` of the search.
    """
    refinement = Refinement(*bounds(task, seed), **settings)
    control = _losses(task, task.make_model(seed))
    trials = Trials(fmean(control), "validation loss")
    best: dict[int, tuple[float, Sequence[float]]] = {}
    while (proposal := refinement.propose(trials)) is not None:
        factors = shape(proposal.length)
        judged, losses, outcome = try_lr(
            task, seed, proposal.lr, factors, best.get(proposal.length, (0.0, ()))[1]
        )
        loss = fmean(judged) if outcome == "finished" else math.inf
        noise = difference_error(judged, control, is_paired=True) if outcome == "finished" else 0.0
        trials = trials.with_trial(
            Trial(proposal.lr, loss, len(losses), proposal.length, proposal.stage, outcome, noise)
        )
        if loss < best.get(proposal.length, (math.inf,))[0]:
            best[proposal.length] = loss, losses
    drift = drift_of([task.make_optimizer(task.make_model(seed).parameters(), 1.0)])
    return trials, read_optimum(trials, horizon=task.total_steps, drift=drift)


def search_within(task: Task, seed: int, budget: int) -> Decision:
    """Return what LRSearch shows with so many steps: by trials or, if they are few, by a ramp."""
    if budget >= LEAST_FOR_TRIALS:
        return search(task, seed, budget=budget)[1]
    if budget < LEAST_FOR_RAMP:
        return Abstention("LRSearch", "The budget is too small.")
    num_steps, most = steps_of_ramp(budget - PROBED_STEPS, warms_up=True)
    decision = Basin().suggest(range_test(task, seed, num_steps=num_steps, most=most, stride=STRIDE))
    if isinstance(decision, Abstention):
        return decision
    return fitted_to_run(
        decision, [task.make_optimizer(task.make_model(seed).parameters(), 1.0)], task.total_steps
    )


def ramp_and_trainings(
    task: Task, seed: int, *, run: float | None = None, shape: Shape = trial_factors
) -> tuple[Decision, int]:
    """Return what LRRangeTest shows, and its steps: a ramp, a longer one for noise, and short trainings.

    Args:
        task: What to train.
        seed: Of model and batches.
        run: The length of a run that the trainings are chosen for; None for that of the task.
        shape: That of the trainings.
    """
    curves = [range_test(task, seed)]
    decision = Basin().suggest(curves[-1])
    if isinstance(decision, Abstention):
        curves.append(range_test(task, seed, num_steps=300))
        decision = Basin().suggest(curves[-1])
    made = sum(len(curve.losses) for curve in curves)
    if isinstance(decision, Abstention):
        return decision, made
    length = steps_of_trainings(100, task.total_steps if run is None else run)
    tried: list[tuple[float, Sequence[float]]] = []

    def loss_after(lr: float) -> float:
        best = min(tried, default=(math.inf, ()))[1]
        judged, losses, outcome = try_lr(task, seed, lr, shape(length), best)
        tried.append((fmean(judged) if outcome == "finished" else math.inf, losses))
        return tried[-1][0]

    if length:
        decision = best_around(decision, loss_after, highest=highest_to_try(curves[-1]))
    optimizer = task.make_optimizer(task.make_model(seed).parameters(), 1.0)
    fitted = fitted_to_run(decision, [optimizer], task.total_steps, found_for=length or USUAL_LENGTH)
    return fitted, made + sum(len(losses) for _, losses in tried)


def try_lr(
    task: Task, seed: int, lr: float, factors: Sequence[float], best: Sequence[float] = ()
) -> tuple[list[float], list[float], Outcome]:
    """Return the validation losses of the batches after a trial, its training losses, and how it ended."""
    model = task.make_model(seed)
    optimizer = task.make_optimizer(model.parameters(), lr)
    torch.manual_seed(seed)
    losses: list[float] = []
    # Not the batches that the truth was trained on.
    for factor, batch in zip(factors, task.batches(seed + 1000), strict=False):
        for group in optimizer.param_groups:
            group["lr"] = lr * factor
        loss = task.loss(model, batch)
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            return [], losses, "diverged"
        if best and is_lost(losses, best, len(factors)):
            return [], losses, "lost"
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    judged = _losses(task, model)
    return judged, losses, "finished" if all(map(math.isfinite, judged)) else "diverged"


def _losses(task: Task, model: nn.Module) -> list[float]:
    split = task.split()
    batches = zip(
        split.validation_inputs.split(task.batch_size),
        split.validation_targets.split(task.batch_size),
        strict=True,
    )
    model.eval()
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            module.train()
    with torch.no_grad():
        losses = [task.loss(model, batch).item() for batch in islice(batches, SCORED_BATCHES)]
    model.train()
    return losses
