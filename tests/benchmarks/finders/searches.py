"""The search over LRs in plain torch: what the callback does, without a Trainer."""

import math
from collections.abc import Sequence

import torch
from benchmarks.finders.ramps import bounds
from benchmarks.finders.task import Task
from torch import nn

from lightning_lr.finders.search.optimum import read_optimum
from lightning_lr.finders.search.refinement import Proposal, Refinement, is_lost, trial_factors
from lightning_lr.finders.search.trials import Outcome, Trial, Trials
from lightning_lr.finders.suggestion import Decision

__all__ = ["search"]

SCORED_BATCHES = 16


def search(task: Task, seed: int, **settings: int | None) -> tuple[Trials, Decision]:
    """Search over LRs for one task.

    Args:
        task: What to train.
        seed: Of model and batches.
        settings: `steps_per_trial`, `final_steps` and `budget` of the search.
    """
    refinement = Refinement(*bounds(task, seed), **settings)
    trials = Trials(_score(task, task.make_model(seed)), "validation loss")
    best: dict[int, tuple[float, Sequence[float]]] = {}
    while (proposal := refinement.propose(trials)) is not None:
        loss, losses, outcome = _try(task, seed, proposal, best.get(proposal.length, (0.0, ()))[1])
        trials = trials.with_trial(
            Trial(proposal.lr, loss, len(losses), proposal.length, proposal.stage, outcome)
        )
        if loss < best.get(proposal.length, (math.inf,))[0]:
            best[proposal.length] = loss, losses
    return trials, read_optimum(trials, horizon=task.total_steps)


def _try(
    task: Task, seed: int, proposal: Proposal, best: Sequence[float]
) -> tuple[float, list[float], Outcome]:
    model = task.make_model(seed)
    optimizer = task.make_optimizer(model.parameters(), proposal.lr)
    torch.manual_seed(seed)
    losses: list[float] = []
    # Not the batches that the truth was trained on.
    for factor, batch in zip(trial_factors(proposal.length), task.batches(seed + 1000), strict=False):
        for group in optimizer.param_groups:
            group["lr"] = proposal.lr * factor
        loss = task.loss(model, batch)
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            return math.inf, losses, "diverged"
        if best and is_lost(losses, best, proposal.length):
            return math.inf, losses, "lost"
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    score = _score(task, model)
    return (score, losses, "finished") if math.isfinite(score) else (math.inf, losses, "diverged")


def _score(task: Task, model: nn.Module) -> float:
    split, rows = task.split(), SCORED_BATCHES * task.batch_size
    model.eval()
    with torch.no_grad():
        loss = task.loss(model, (split.validation_inputs[:rows], split.validation_targets[:rows])).item()
    model.train()
    return loss
