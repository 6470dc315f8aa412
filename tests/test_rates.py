"""Reading and writing the LRs of torch's own optimizers and schedulers."""

import math

import pytest
import torch
from torch.optim import SGD, AdamW
from torch.optim import lr_scheduler as torch_schedulers
from torch.optim.swa_utils import SWALR

from lightning_lr.rates import adopt_groups, peak_lrs, rescale, set_factor, set_lrs


def sgd(*lrs, **kwargs):
    groups = [{"params": [torch.nn.Parameter(torch.ones(1))], "lr": lr} for lr in lrs]
    return SGD(groups, **kwargs)


def lrs(optimizer):
    return [float(group["lr"]) for group in optimizer.param_groups]


def test_the_factor_multiplies_the_base_and_never_compounds():
    optimizer = sgd(0.1, 0.02)
    adopt_groups([optimizer])
    previous = None
    for factor in (1.0, 0.5, 0.5, 0.25, 0.0, 1.0):
        assert set_factor([optimizer], factor, previous=previous) == []
        assert lrs(optimizer) == [0.1 * factor, 0.02 * factor]
        previous = factor


def test_a_base_that_is_there_is_kept():
    optimizer = sgd(0.1)
    optimizer.param_groups[0]["initial_lr"] = 0.4
    adopt_groups([optimizer])
    set_factor([optimizer], 0.5)
    assert lrs(optimizer) == [0.2]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_tensor_lr_is_written_in_place(dtype):
    optimizer = AdamW([torch.nn.Parameter(torch.ones(1))], lr=torch.tensor(0.1, dtype=dtype))
    tensor = optimizer.param_groups[0]["lr"]
    adopt_groups([optimizer])
    for previous, factor in ((None, 0.5), (0.5, 0.25)):
        assert set_factor([optimizer], factor, previous=previous) == []
        assert optimizer.param_groups[0]["lr"] is tensor
        assert tensor.item() == pytest.approx(0.1 * factor)
    rescale([optimizer], [], old=1, new=4)
    assert optimizer.param_groups[0]["lr"] is tensor
    assert tensor.item() == pytest.approx(0.1)
    assert set_factor([optimizer], 0.25, previous=0.25) == []


def test_a_tensor_lr_is_rescaled_to_the_nearest_there_is():
    # In the tensor's own precision 0.001 / 0.003 * 0.0371 is another number.
    optimizer = AdamW([torch.nn.Parameter(torch.ones(1))], lr=torch.tensor(0.001))
    old, new = torch.tensor(0.003).item(), 0.0371
    before = optimizer.param_groups[0]["lr"].item()
    rescale([optimizer], [], old=old, new=new)
    assert optimizer.param_groups[0]["lr"] == torch.tensor(before / old * new)


def test_a_frozen_group_stays_frozen():
    optimizer = sgd(0.1, 0.0)
    adopt_groups([optimizer])
    set_factor([optimizer], 0.5)
    rescale([optimizer], [], old=1, new=10)
    assert lrs(optimizer) == [0.5, 0.0]


def test_a_change_by_other_code_becomes_a_change_of_the_base():
    optimizer = sgd(0.1, 0.02)
    adopt_groups([optimizer])
    set_factor([optimizer], 0.5)
    optimizer.param_groups[1]["lr"] = 0.005
    [(expected, found)] = set_factor([optimizer], 0.25, previous=0.5)
    assert (expected, found) == (0.01, 0.005)
    assert lrs(optimizer) == [0.025, pytest.approx(0.0025)]
    assert set_factor([optimizer], 1.0, previous=0.25) == []
    assert lrs(optimizer) == [0.1, pytest.approx(0.01)]


def test_an_lr_given_while_the_factor_is_zero_is_the_base():
    optimizer = sgd(0.1)
    adopt_groups([optimizer])
    set_factor([optimizer], 0.0)
    optimizer.param_groups[0]["lr"] = 0.3
    set_factor([optimizer], 0.5, previous=0.0)
    assert lrs(optimizer) == [0.15]


@pytest.mark.parametrize("lr", [math.nan, math.inf, -0.1])
def test_an_impossible_lr_is_refused(lr):
    optimizer = sgd(0.1)
    optimizer.param_groups[0]["lr"] = lr
    with pytest.raises(ValueError, match=r"The LR of SGD must be in \[0, inf\), got"):
        adopt_groups([optimizer])


def test_an_optimizer_without_lr_is_refused():
    optimizer = sgd(0.1)
    del optimizer.param_groups[0]["lr"]
    with pytest.raises(ValueError, match="SGD has a parameter group without `lr`"):
        adopt_groups([optimizer])


@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf])
@pytest.mark.parametrize("name", ["old", "new"])
def test_an_impossible_scale_is_refused(name, value):
    with pytest.raises(ValueError, match=rf"`rescale\({name}=...\)` must be in \(0, inf\), got"):
        rescale([sgd(0.1)], [], **({"old": 1, "new": 1} | {name: value}))


SCHEDULERS = {
    "LambdaLR": lambda o, b: torch_schedulers.LambdaLR(o, lambda t: 1 / (1 + t)),
    "MultiplicativeLR": lambda o, b: torch_schedulers.MultiplicativeLR(o, lambda t: 0.9),
    "StepLR": lambda o, b: torch_schedulers.StepLR(o, 3),
    "MultiStepLR": lambda o, b: torch_schedulers.MultiStepLR(o, [2, 7]),
    "ConstantLR": lambda o, b: torch_schedulers.ConstantLR(o, 0.3, 6),
    "LinearLR": lambda o, b: torch_schedulers.LinearLR(o, 0.3, total_iters=8),
    "ExponentialLR": lambda o, b: torch_schedulers.ExponentialLR(o, 0.8),
    "PolynomialLR": lambda o, b: torch_schedulers.PolynomialLR(o, 10, 2.0),
    "CosineAnnealingLR": lambda o, b: torch_schedulers.CosineAnnealingLR(o, 4),
    "CosineAnnealingWarmRestarts": lambda o, b: torch_schedulers.CosineAnnealingWarmRestarts(o, 3),
    "CyclicLR": lambda o, b: torch_schedulers.CyclicLR(
        o, [0.1 * each for each in b], b, 3, cycle_momentum=False
    ),
    "OneCycleLR": lambda o, b: torch_schedulers.OneCycleLR(o, b, 14, cycle_momentum=False),
    "SequentialLR": lambda o, b: torch_schedulers.SequentialLR(
        o,
        [torch_schedulers.LinearLR(o, 0.3, total_iters=4), torch_schedulers.CosineAnnealingLR(o, 8)],
        [4],
    ),
    "SWALR": lambda o, b: SWALR(o, [0.25 * each for each in b], anneal_epochs=4),
    "SWALR, at once": lambda o, b: SWALR(o, [0.25 * each for each in b], anneal_epochs=0),
    "SWALR, later": lambda o, b: torch_schedulers.SequentialLR(
        o,
        [
            torch_schedulers.LinearLR(o, 0.3, total_iters=4),
            SWALR(o, [4 * each for each in b], anneal_epochs=3, anneal_strategy="linear"),
        ],
        [4],
    ),
    "ChainedScheduler": lambda o, b: torch_schedulers.ChainedScheduler(
        [torch_schedulers.ConstantLR(o, 0.3, 6), torch_schedulers.ExponentialLR(o, 0.8)]
    ),
}


def run(optimizer, scheduler, steps):
    trace = []
    for _ in range(steps):
        trace.append(lrs(optimizer))
        optimizer.step()
        scheduler.step()
    return trace


@pytest.mark.parametrize("at", [0, 3, 5])
@pytest.mark.parametrize("name", SCHEDULERS)
def test_after_rescaling_a_scheduler_runs_as_if_started_at_the_new_base(name, at):
    base, new_base = [0.1, 0.02], [0.3, 0.02 / 0.1 * 0.3]
    optimizer = sgd(*base)
    scheduler = SCHEDULERS[name](optimizer, base)
    twin = sgd(*new_base)
    twin_scheduler = SCHEDULERS[name](twin, new_base)
    run(optimizer, scheduler, at)
    run(twin, twin_scheduler, at)

    rescale([optimizer], [scheduler], old=0.1, new=0.3)

    assert scheduler.get_last_lr() == pytest.approx(lrs(optimizer), rel=1e-12)
    continued = run(optimizer, scheduler, 12 - at)
    wanted = run(twin, twin_scheduler, 12 - at)
    assert continued == [pytest.approx(each, rel=1e-12) for each in wanted]
    if at == 0 and name != "CyclicLR":  # whose two bounds need not have a ratio that survives
        assert continued == wanted


def test_after_rescaling_a_plateau_scheduler_reduces_from_the_new_lr():
    optimizer = sgd(0.1)
    scheduler = torch_schedulers.ReduceLROnPlateau(optimizer, patience=0, factor=0.5)
    scheduler.step(1.0)
    rescale([optimizer], [scheduler], old=1, new=3)
    scheduler.step(1.0)
    assert lrs(optimizer) == [pytest.approx(0.15)]


def test_an_averaging_that_begins_in_mid_run_is_not_started_again():
    """As `StochasticWeightAveraging(annealing_strategy="linear")` brings it."""
    optimizer = sgd(0.1)
    decay = torch_schedulers.StepLR(optimizer, 1)
    run(optimizer, decay, 1)
    averaging = SWALR(optimizer, 0.05, anneal_epochs=2, anneal_strategy="linear")
    assert lrs(optimizer) == [pytest.approx(0.01)]
    rescale([optimizer], [averaging], old=1, new=0.5)
    wanted = [0.005, 0.015, 0.025, 0.025]
    assert [lr for [lr] in run(optimizer, averaging, 4)] == pytest.approx(wanted)


@pytest.mark.parametrize("key", ["max_lr", "swa_lr"])
def test_keys_that_are_the_users_own_are_not_rescaled(key):
    optimizer = sgd(0.1)
    optimizer.param_groups[0][key] = 7.0
    rescale([optimizer], [], old=1, new=2)
    assert optimizer.param_groups[0][key] == 7.0


def test_the_peak_is_the_base_or_the_maximum_of_a_cycle():
    plain, cycle, nested = sgd(0.1, 0.2), sgd(0.1), sgd(0.1)
    one_cycle = torch_schedulers.OneCycleLR(cycle, 0.7, 10)
    cyclic = torch_schedulers.CyclicLR(nested, 0.01, 0.8, cycle_momentum=False)
    outer = torch_schedulers.ChainedScheduler([cyclic])
    assert peak_lrs([plain, cycle, nested], [one_cycle, outer]) == [[0.1, 0.2], [0.7], [0.8]]


def test_lrs_are_set_without_touching_the_base():
    optimizer = sgd(0.1, 0.2)
    adopt_groups([optimizer])
    set_lrs([optimizer], [[0.5, 0.6]])
    assert lrs(optimizer) == [0.5, 0.6]
    assert [group["initial_lr"] for group in optimizer.param_groups] == [0.1, 0.2]
