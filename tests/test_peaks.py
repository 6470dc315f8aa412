"""The LR that is told is the highest of the run, and a rescaled run is one that began there."""

import pytest
import torch
from helpers.schedules import (
    Absolute,
    Hidden,
    WarmupRestarts,
    assert_told_and_rescaled_as_used,
    lrs_of_groups,
    planned_fit,
    rescaled,
    sgd,
    trained,
)
from hypothesis import event, given
from hypothesis import strategies as st
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch.optim import AdamW
from torch.optim import lr_scheduler as torch_schedulers

from lightning_lr.peaks import check_schedules_follow, peak_lr, peak_lrs
from lightning_lr.schedules.evaluation import run_ahead

pytestmark = pytest.mark.filterwarnings("ignore:The epoch parameter:UserWarning")


def noam(step):
    """As chemprop has it: from the base LR to ten times of it and back."""
    return 1 + 9 * step / 5 if step <= 5 else 10 * 0.8 ** (step - 5)


def counting():
    calls = 0

    def factor(_):
        nonlocal calls
        calls += 1
        return min(calls, 5) / 5

    return factor


PEAKS = {
    "a LambdaLR above 1": (lambda o: torch_schedulers.LambdaLR(o, noam), [1.0, 0.2]),
    "one that counts for itself": (lambda o: torch_schedulers.LambdaLR(o, counting()), [0.1, 0.02]),
    "a warm-up longer than the run": (
        lambda o: torch_schedulers.LambdaLR(o, lambda step: step / 190),
        [0.01, 0.002],
    ),
    "absolute LRs": (lambda o: WarmupRestarts(o, 8, max_lr=0.3, warmup=3), [0.3, 0.3]),
    "a peak of its own": (lambda o: Absolute(o, 0.4, 3), [0.4, 0.4]),
    "a chain": (
        lambda o: torch_schedulers.SequentialLR(
            o,
            [torch_schedulers.LambdaLR(o, lambda step: 1 + step), torch_schedulers.ExponentialLR(o, 0.9)],
            [5],
        ),
        [0.5, 0.1],
    ),
    "none": (None, [0.1, 0.02]),
}


@pytest.mark.parametrize("name", PEAKS)
def test_the_peak_is_the_highest_lr_of_the_run_whatever_the_class(name):
    make, wanted = PEAKS[name]

    def fit():
        optimizer = sgd(0.1, 0.02)
        return planned_fit([optimizer], [make(optimizer)] if make else [])

    planned = fit()
    assert peak_lrs(planned) == [pytest.approx(wanted)]
    check_schedules_follow(planned, "LRSearch")
    assert list(map(max, *trained(fit()))) == pytest.approx(wanted)
    # And of the rescaled run.
    rescaled(planned, peak_lr(planned), 0.03)
    assert peak_lr(planned) == pytest.approx(0.03)
    assert max(map(max, trained(planned))) == pytest.approx(0.03)


def test_a_maximum_between_two_steps_counts():
    optimizer = sgd(0.1)
    scheduler = torch_schedulers.OneCycleLR(optimizer, max_lr=0.5, total_steps=9, cycle_momentum=False)
    fit = planned_fit([optimizer], [scheduler], batches=9)
    assert peak_lrs(fit) == [[0.5]]
    assert 0.49 < max(map(max, trained(fit))) < 0.5


def test_several_optimizers_have_their_own_peaks():
    plain, cycle, nested = sgd(0.1, 0.2), sgd(0.1), sgd(0.1)
    one_cycle = torch_schedulers.OneCycleLR(cycle, 0.7, total_steps=100, cycle_momentum=False)
    cyclic = torch_schedulers.CyclicLR(nested, 0.01, 0.8, 4, cycle_momentum=False)
    outer = torch_schedulers.ChainedScheduler([cyclic])
    fit = planned_fit([plain, cycle, nested], [one_cycle, outer], batches=100)
    assert peak_lrs(fit) == [[0.1, 0.2], [0.7], [0.8]]


def test_the_peak_of_a_wrapped_optimizer_is_that_of_its_groups():
    inner = sgd(0.1)
    outer = sgd(0.1)
    outer.param_groups = inner.param_groups
    fit = planned_fit([outer], [torch_schedulers.LambdaLR(inner, noam)])
    assert peak_lrs(fit) == [[pytest.approx(1.0)]]
    rescaled(fit, 1.0, 0.5)
    assert lrs_of_groups([outer]) == [pytest.approx(0.05)]


def test_after_the_peak_it_is_still_that_of_the_whole_run():
    optimizer = sgd(0.1)
    scheduler = torch_schedulers.LambdaLR(optimizer, noam)
    fit = planned_fit([optimizer], [scheduler], epochs=2)
    fit.max_epochs = 1
    trained(fit)
    fit.max_epochs = 2
    assert fit.global_step == 20
    assert peak_lrs(fit) == [[pytest.approx(1.0)]]


def test_of_a_run_that_is_not_seen_to_its_end_the_base_is_told_at_least():
    optimizer = sgd(0.1)
    scheduler = torch_schedulers.MultiplicativeLR(optimizer, lambda step: 1.0001)
    torch_schedulers.LinearLR(optimizer, 0.1, total_iters=1)
    fit = planned_fit([optimizer], [scheduler], batches=50_000)
    assert peak_lr(fit) == pytest.approx(0.1)


class Stubborn(Hidden):
    def __init__(self, optimizer):
        super().__init__(optimizer, [0.02, 0.05, 0.01])


class Unrepeatable(torch_schedulers.LRScheduler):
    def __init__(self, optimizer):
        self.stream = (0.1 for _ in range(100))
        super().__init__(optimizer)

    def get_lr(self):
        return [next(self.stream)]


@pytest.mark.parametrize("name", ["LRSearch", "LRRangeTest"])
def test_a_schedule_that_does_not_follow_is_refused_with_the_way_out(name):
    optimizer = sgd(0.1)
    fit = planned_fit([optimizer], [Stubborn(optimizer)])
    with pytest.raises(MisconfigurationException) as caught:
        check_schedules_follow(fit, name)
    told = str(caught.value)
    assert told.startswith("Stubborn of `configure_optimizers` keeps LRs of its own")
    assert "step 1 would still be made with 0.05" in told
    assert "LRDecay" in told
    assert f"`{name}(apply=False)`" in told


def test_a_schedule_that_cannot_be_looked_at_is_refused_if_its_class_is_not_known():
    optimizer = sgd(0.1)
    fit = planned_fit([optimizer], [Unrepeatable(optimizer)])
    assert peak_lr(fit) == 0.1
    with pytest.raises(MisconfigurationException, match=r"Unrepeatable .* cannot be copied and run ahead"):
        check_schedules_follow(fit, "LRSearch")
    stream = (1.0 for _ in range(100))
    other = sgd(0.1)
    check_schedules_follow(
        planned_fit([other], [torch_schedulers.LambdaLR(other, lambda _: next(stream))]), ""
    )


def test_a_floor_may_stay_and_a_schedule_above_half_of_its_peak_may_not():
    for floor, follows in ((0.01, True), (0.06, False)):
        optimizer = sgd(0.1)
        fit = planned_fit([optimizer], [torch_schedulers.CosineAnnealingLR(optimizer, 20, eta_min=floor)])
        if follows:
            check_schedules_follow(fit, "LRSearch")
        else:
            with pytest.raises(MisconfigurationException, match="CosineAnnealingLR"):
                check_schedules_follow(fit, "LRSearch")


# Random schedules.

shares = st.floats(0.05, 1.0)
counts = st.integers(1, 12)


@st.composite
def leaves(draw):
    """Return a function that makes a scheduler for an optimizer with these LRs."""
    kind = draw(st.sampled_from(sorted(LEAVES)))
    return LEAVES[kind](draw)


def piecewise(draw):
    factors = draw(st.lists(st.floats(0, 3), min_size=1, max_size=6))
    return lambda o, lrs: torch_schedulers.LambdaLR(o, lambda step: factors[min(step, len(factors) - 1)])


def made(build, *strategies):
    def draw_one(draw):
        values = [draw(each) for each in strategies]
        return lambda o, lrs: build(o, lrs, *values)

    return draw_one


LEAVES = {
    "LambdaLR": piecewise,
    "StepLR": made(lambda o, _, n, g: torch_schedulers.StepLR(o, n, g), counts, shares),
    "MultiStepLR": made(lambda o, _, n, g: torch_schedulers.MultiStepLR(o, [n, n + 3], g), counts, shares),
    "ConstantLR": made(lambda o, _, g, n: torch_schedulers.ConstantLR(o, g, n), shares, counts),
    "LinearLR": made(
        lambda o, _, a, b, n: torch_schedulers.LinearLR(o, a, b, n), shares, st.floats(0, 1), counts
    ),
    "ExponentialLR": made(lambda o, _, g: torch_schedulers.ExponentialLR(o, g), st.floats(0.5, 1.05)),
    "PolynomialLR": made(
        lambda o, _, n, p: torch_schedulers.PolynomialLR(o, n, p), counts, st.floats(0.5, 3)
    ),
    "CosineAnnealingLR": made(
        lambda o, _, n, floor: torch_schedulers.CosineAnnealingLR(o, n, floor),
        counts,
        st.sampled_from([0, 1e-4]),
    ),
    "CosineAnnealingWarmRestarts": made(
        lambda o, _, n, m: torch_schedulers.CosineAnnealingWarmRestarts(o, n, m), counts, st.integers(1, 2)
    ),
    "MultiplicativeLR": made(
        lambda o, _, g: torch_schedulers.MultiplicativeLR(o, lambda step: g), st.floats(0.5, 1.05)
    ),
}


@st.composite
def cycles(draw):
    """Return one whose peak is a number that is given to it."""
    count, share = draw(counts), draw(st.floats(0.1, 0.9))
    return draw(
        st.sampled_from(
            [
                lambda o, lrs: torch_schedulers.OneCycleLR(
                    o, lrs, total_steps=200, pct_start=share, cycle_momentum=False
                ),
                lambda o, lrs: torch_schedulers.CyclicLR(
                    o, [share * lr for lr in lrs], lrs, count, cycle_momentum=False
                ),
                lambda o, lrs: WarmupRestarts(
                    o, count + 2, max_lr=lrs[0], min_lr=lrs[0] / 100, warmup=count // 2, gamma=share
                ),
                lambda o, lrs: Absolute(o, lrs[0], count),
            ]
        )
    )


@st.composite
def chains(draw):
    parts = draw(st.lists(leaves(), min_size=2, max_size=3))
    milestones = sorted(draw(st.sets(st.integers(1, 12), min_size=len(parts) - 1, max_size=len(parts) - 1)))

    def sequential(o, lrs):
        return torch_schedulers.SequentialLR(o, [part(o, lrs) for part in parts], milestones)

    def chained(o, lrs):
        return torch_schedulers.ChainedScheduler([part(o, lrs) for part in parts])

    return draw(st.sampled_from([sequential, chained]))


runs = st.fixed_dictionaries(
    {
        "epochs": st.integers(1, 6),
        "batches": st.integers(1, 12),
        "accumulate_grad_batches": st.integers(1, 3),
        "interval": st.sampled_from(["step", "epoch"]),
        "frequency": st.integers(1, 2),
    }
)


@given(
    make=leaves() | chains() | cycles(), run=runs, ratio=st.sampled_from([1, 0.2]), new=st.floats(1e-4, 10)
)
def test_random_schedules_are_told_and_rescaled_as_they_are_used(make, run, ratio, new):
    def fit_from(lr):
        optimizer = sgd(lr, ratio * lr)
        return planned_fit([optimizer], [make(optimizer, [lr, ratio * lr])], **run)

    event(assert_told_and_rescaled_as_used(fit_from, new=new))


# One tensor for all groups, as torch's recipe for compiled optimizers has it.


def with_one_tensor():
    groups = [{"params": [torch.nn.Parameter(torch.ones(1))]} for _ in range(3)]
    return AdamW(groups, lr=torch.tensor(1e-3))


@pytest.mark.parametrize(
    "make", [None, lambda o: torch_schedulers.LambdaLR(o, noam), torch_schedulers.ExponentialLR]
)
def test_groups_that_share_a_tensor_get_the_lr_that_is_told(make):
    optimizer = with_one_tensor()
    tensor = optimizer.param_groups[0]["lr"]
    if make is torch_schedulers.ExponentialLR:
        schedulers = [make(optimizer, 0.9)]
    else:
        schedulers = [make(optimizer)] if make else []
    fit = planned_fit([optimizer], schedulers)
    told = peak_lr(fit)
    rescaled(fit, told, 0.02)
    assert peak_lr(fit) == pytest.approx(0.02)
    assert max(map(max, trained(fit))) == pytest.approx(0.02)
    assert all(group["lr"] is tensor for group in optimizer.param_groups)


def test_several_callbacks_that_ask_at_fit_start_cost_one_look(monkeypatch):
    looks = []

    def counted(*args, **kwargs):
        looks.append(1)
        return run_ahead(*args, **kwargs)

    monkeypatch.setattr("lightning_lr.peaks.run_ahead", counted)
    optimizer = sgd(0.1)
    fit = planned_fit([optimizer], [torch_schedulers.StepLR(optimizer, 3)])
    for owner in ("LRRangeTest", "LRSearch", "PlateauDetector"):
        check_schedules_follow(fit, owner)
    assert len(looks) == 2
    # Whatever may make a difference is looked at again.
    fit.optimizers[0].param_groups[0]["lr"] *= 2
    check_schedules_follow(fit, "LRRangeTest")
    fit.lr_scheduler_configs[0].scheduler.step_size = 2
    check_schedules_follow(fit, "LRRangeTest")
    assert len(looks) == 6
