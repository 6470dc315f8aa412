"""Reading and writing the LRs of torch's own optimizers and schedulers."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim import SGD, AdamW
from torch.optim import lr_scheduler as torch_schedulers
from torch.optim.swa_utils import SWALR

from lightning_lr.rates import adopt_groups, rescale, set_factor, set_lrs


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


def test_lrs_are_set_without_touching_the_base():
    optimizer = sgd(0.1, 0.2)
    adopt_groups([optimizer])
    set_lrs([optimizer], [[0.5, 0.6]])
    assert lrs(optimizer) == [0.5, 0.6]
    assert [group["initial_lr"] for group in optimizer.param_groups] == [0.1, 0.2]


# One tensor for all groups: what torch makes of `AdamW(groups, lr=tensor)`.


def with_one_tensor(lr=0.1, groups=3):
    groups = [{"params": [torch.nn.Parameter(torch.ones(1))]} for _ in range(groups)]
    return AdamW(groups, lr=torch.tensor(lr, dtype=torch.float64))


def assert_all(optimizer, tensor, lr):
    assert [group["lr"] for group in optimizer.param_groups] == [pytest.approx(lr)] * len(
        optimizer.param_groups
    )
    assert all(group["lr"] is tensor for group in optimizer.param_groups)


@pytest.mark.parametrize("aliased", [False, True])
def test_a_tensor_of_all_groups_is_changed_once(aliased):
    optimizer = with_one_tensor()
    tensor = optimizer.param_groups[0]["lr"]
    if aliased:
        for group in optimizer.param_groups:
            group["initial_lr"] = tensor
    adopt_groups([optimizer])
    previous = None
    for factor in (0.5, 0.25, 0.0, 1.0):
        assert set_factor([optimizer], factor, previous=previous) == []
        assert_all(optimizer, tensor, 0.1 * factor)
        previous = factor
    rescale([optimizer], [], old=0.1, new=0.3)
    assert_all(optimizer, tensor, 0.3)
    assert set_factor([optimizer], 0.5, previous=1.0) == []
    assert_all(optimizer, tensor, 0.15)
    set_lrs([optimizer], [[0.7] * 3])
    assert_all(optimizer, tensor, 0.7)
    # A change by other code is kept as one of the base, once.
    set_factor([optimizer], 0.5)
    tensor.fill_(0.3)
    set_factor([optimizer], 0.25, previous=0.5)
    assert_all(optimizer, tensor, 0.15)


def test_a_factor_of_zero_is_no_base_of_a_shared_tensor():
    optimizer = with_one_tensor()
    tensor = optimizer.param_groups[0]["lr"]
    assert adopt_groups([optimizer], factor=0.5) == [(0.1, 0.1)] * 3
    assert_all(optimizer, tensor, 0.05)


def test_a_group_that_joins_with_the_tensor_of_the_others_has_their_base():
    for adopt in (adopt_groups, lambda each, factor: set_factor(each, factor, previous=factor)):
        optimizer = with_one_tensor()
        tensor = optimizer.param_groups[0]["lr"]
        adopt_groups([optimizer])
        set_factor([optimizer], 0.5)
        optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(1))], "lr": tensor})
        adopt([optimizer], factor=0.5)
        assert_all(optimizer, tensor, 0.05)
        set_factor([optimizer], 1.0, previous=0.5)
        assert_all(optimizer, tensor, 0.1)


def test_two_optimizers_may_share_a_tensor():
    one, other = with_one_tensor(), with_one_tensor()
    tensor = one.param_groups[0]["lr"]
    for group in other.param_groups:
        group["lr"] = tensor
    adopt_groups([one, other])
    set_factor([one, other], 0.5)
    rescale([one, other], [], old=1, new=4)
    assert_all(one, tensor, 0.2)
    assert_all(other, tensor, 0.2)


OF_TENSORS = [name for name in SCHEDULERS if name not in ("CyclicLR", "OneCycleLR") and "SWALR" not in name]


@pytest.mark.parametrize("at", [0, 3])
@pytest.mark.parametrize("name", OF_TENSORS)
def test_a_scheduler_over_a_shared_tensor_runs_as_if_started_at_the_new_base(name, at):
    optimizer, twin = with_one_tensor(0.1), with_one_tensor(0.3)
    tensor = optimizer.param_groups[0]["lr"]
    scheduler, twin_scheduler = SCHEDULERS[name](optimizer, None), SCHEDULERS[name](twin, None)
    run(optimizer, scheduler, at)
    run(twin, twin_scheduler, at)
    rescale([optimizer], [scheduler], old=0.1, new=0.3)
    wanted = run(twin, twin_scheduler, 12 - at)
    assert run(optimizer, scheduler, 12 - at) == [pytest.approx(each, rel=1e-9) for each in wanted]
    assert all(group["lr"] is tensor for group in optimizer.param_groups)


@given(
    operations=st.lists(
        st.one_of(
            st.tuples(st.just("factor"), st.floats(0.01, 2)),
            st.tuples(st.just("rescale"), st.floats(0.01, 100)),
            st.just(("reload", None)),
            st.just(("join", None)),
        ),
        max_size=8,
    )
)
def test_after_any_operations_every_group_has_the_lr_that_was_told(operations):
    optimizer, base, factor = with_one_tensor(), 0.1, 1.0
    adopt_groups([optimizer])
    for name, value in operations:
        if name == "factor":
            assert set_factor([optimizer], value, previous=factor) == []
            factor = value
        elif name == "rescale":
            rescale([optimizer], [], old=1, new=value)
            base *= value
        elif name == "reload":
            # A checkpoint may give every group a tensor of its own, or one of them to all.
            optimizer.load_state_dict(optimizer.state_dict())
        else:
            group = {"params": [torch.nn.Parameter(torch.ones(1))], "lr": optimizer.param_groups[0]["lr"]}
            optimizer.add_param_group(group)
            adopt_groups([optimizer], factor=factor)
        assert lrs(optimizer) == [pytest.approx(base * factor)] * len(optimizer.param_groups)
