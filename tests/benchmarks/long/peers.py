"""Train the long tasks as those would who search for no LR, or let another finder choose it.

    pip install prodigyopt dadaptation schedulefree dog-optimizer
    cd tests; python -m benchmarks.long.peers [--seeds 2] [--details] [part of a task's name ...]

Each optimizer is run over the whole run as its authors advise: Prodigy (Mishchenko and Defazio 2023) with
lr=1, bias correction, a safeguarded warm-up and cosine decay; D-Adaptation (Defazio and Mishchenko 2023)
with lr=1, of the task's own family where there is one, with the warm-up and decay of the truth;
schedule-free (Defazio et al. 2024) with its default LR, 5 % warm-up, no decay, and BatchNorm's statistics
made anew for the averaged weights; DoG (Ivgi et al. 2023) with no schedule and polynomial averaging.

The other finders' LRs are looked up in the truth, as ours are in `benchmarks.long.compare`. What is printed
is the final loss over that of the best LR of the grid, with the task's own optimizer, minus 1.
"""

import argparse
import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import dadaptation
import numpy as np
import torch
from benchmarks.finders import peers
from benchmarks.finders.ramps import fixed_ramp
from benchmarks.finders.suggestions import judge
from benchmarks.finders.task import Task
from benchmarks.long.tasks import LONG
from benchmarks.long.truth import TRUTH
from dog import DoG, PolynomialDecayAverager
from prodigyopt import Prodigy
from schedulefree import AdamWScheduleFree, SGDScheduleFree
from torch import nn, optim

__all__ = ["PEERS", "Peer", "excesses"]


@dataclass(frozen=True)
class Peer:
    """An optimizer with what its authors say of its use.

    Args:
        make: The task's own optimizer, parameters -> the one to train with.
        factor: Step, steps of the run -> what its LR is multiplied by.
        is_schedule_free: Whether it has modes for training and for validation.
        averages: Whether the average of the weights is validated.
    """

    make: Callable[[optim.Optimizer, Iterable[nn.Parameter]], optim.Optimizer]
    factor: Callable[[int, int], float]
    is_schedule_free: bool = False
    averages: bool = False


def trapezoid(step: int, total: int) -> float:
    """Return the warm-up over 5 % and the linear decay of the truth."""
    return min(warmup(step, total), (total - step) / (0.95 * total))


def warmup(step: int, total: int) -> float:
    return min(1.0, (step + 1) / (0.05 * total))


def cosine(step: int, total: int) -> float:
    return (1 + math.cos(math.pi * step / total)) / 2


def constant(step: int, total: int) -> float:
    del step, total
    return 1.0


def prodigy(own: optim.Optimizer, parameters: Iterable[nn.Parameter]) -> optim.Optimizer:
    return Prodigy(
        parameters,
        lr=1.0,
        weight_decay=own.param_groups[0].get("weight_decay", 0.0),
        use_bias_correction=True,
        safeguard_warmup=True,
    )


def d_adaptation(own: optim.Optimizer, parameters: Iterable[nn.Parameter]) -> optim.Optimizer:
    group = own.param_groups[0]
    decay = group.get("weight_decay", 0.0)
    name = type(own).__name__
    if name == "SGD":
        momentum = group["momentum"]
        return dadaptation.DAdaptSGD(parameters, lr=1.0, momentum=momentum, weight_decay=decay)
    if name == "Adagrad":
        return dadaptation.DAdaptAdaGrad(parameters, lr=1.0, weight_decay=decay)
    if name == "Lion":
        return dadaptation.DAdaptLion(parameters, lr=1.0, weight_decay=decay)
    return dadaptation.DAdaptAdam(parameters, lr=1.0, weight_decay=decay, decouple=name == "AdamW")


def schedule_free_adamw(own: optim.Optimizer, parameters: Iterable[nn.Parameter]) -> optim.Optimizer:
    return AdamWScheduleFree(parameters, weight_decay=own.param_groups[0].get("weight_decay", 0.0))


def schedule_free_sgd(own: optim.Optimizer, parameters: Iterable[nn.Parameter]) -> optim.Optimizer:
    return SGDScheduleFree(parameters, weight_decay=own.param_groups[0].get("weight_decay", 0.0))


def dog(own: optim.Optimizer, parameters: Iterable[nn.Parameter]) -> optim.Optimizer:
    return DoG(parameters, weight_decay=own.param_groups[0].get("weight_decay", 0.0))


PEERS = {
    "Prodigy": Peer(prodigy, cosine),
    "D-Adaptation": Peer(d_adaptation, trapezoid),
    "schedule-free AdamW": Peer(schedule_free_adamw, warmup, is_schedule_free=True),
    "schedule-free SGD": Peer(schedule_free_sgd, warmup, is_schedule_free=True),
    "DoG": Peer(dog, constant, averages=True),
}


def final_loss(task: Task, peer: Peer, seed: int) -> float:
    """Train once and return the final validation loss; infinite where the training diverged."""
    model = task.make_model(seed)
    optimizer = peer.make(task.make_optimizer(model.parameters(), 1e-3), model.parameters())
    average = PolynomialDecayAverager(model) if peer.averages else None
    if peer.is_schedule_free:
        optimizer.train()
    torch.manual_seed(seed)
    batches = task.batches(seed)
    lrs = [group["lr"] for group in optimizer.param_groups]
    for step in range(task.total_steps):
        for group, lr in zip(optimizer.param_groups, lrs, strict=True):
            group["lr"] = lr * peer.factor(step, task.total_steps)
        optimizer.zero_grad()
        task.loss(model, next(batches)).backward()
        optimizer.step()
        if average:
            average.step()
    if average:
        model = average.averaged_model
    if peer.is_schedule_free:
        optimizer.eval()
    # What an average of weights makes of BatchNorm's statistics is nobody's mean.
    model.train()
    with torch.no_grad():
        for _ in range(50 if average or peer.is_schedule_free else 0):
            task.loss(model, next(batches))
    final = task.validation_loss(model)
    return final if math.isfinite(final) else math.inf


def lrs_of_finders(task: Task, seed: int) -> Iterator[tuple[str, float | None]]:
    """Yield the LR that other finders suggest, and 1e-3."""
    yield "1e-3", 1e-3
    lrs = peers.lightning_lrs()
    yield "Lightning lr_find", peers.lightning_suggestion(lrs, fixed_ramp(task, seed, lrs))
    lrs = peers.fastai_lrs()
    points = peers.fastai_points(lrs, fixed_ramp(task, seed, lrs))
    for name, lr in peers.fastai_suggestions(points).items():
        yield f"fastai {name}", lr
    lrs = peers.torch_lr_finder_lrs()
    yield "torch-lr-finder", peers.torch_lr_finder_suggestion(lrs, fixed_ramp(task, seed, lrs))


def excesses(task: Task, truth: dict[str, list[float]], seed: int) -> Iterator[tuple[str, float]]:
    """Yield the excess over the best loss of the grid by the name of each way; infinite if it gives no LR."""
    for name, lr in lrs_of_finders(task, seed):
        yield name, math.inf if lr is None else judge(truth, lr).excess
    best = min(np.median(losses) for losses in truth.values())
    for name, peer in PEERS.items():
        yield name, final_loss(task, peer, seed) / best - 1


def main(chosen: list[Task], seeds: int, *, details: bool) -> None:
    """Print the table."""
    torch.set_num_threads(1)
    truth = json.loads(TRUTH.read_text())
    found: dict[str, list[float]] = {}
    for task in chosen:
        for seed in range(seeds):
            for name, excess in excesses(task, truth[task.name], seed):
                found.setdefault(name, []).append(excess)
                if details:
                    print(f"{task.name:46s} {seed} {name:20s} {excess:8.1%}", flush=True)
    print(f"{'':20s} excess, geometric mean   good   failed   worst")
    for name, each in found.items():
        bounded = np.minimum(each, 999.0)
        print(
            f"{name:20s} {math.expm1(np.log1p(bounded).mean()):22.1%} {np.mean(bounded <= 0.1):6.0%}"
            f" {np.mean(bounded > 1):8.0%} {bounded.max():7.0%}"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="parts of the names of the tasks")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--details", action="store_true")
    arguments = parser.parse_args()
    names = arguments.names or [""]
    tasks = [task for task in LONG if any(name in task.name for name in names)]
    main(tasks, arguments.seeds, details=arguments.details)
