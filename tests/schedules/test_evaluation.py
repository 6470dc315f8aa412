"""Schedules that are run ahead: what is told of a run is what it does, and nothing is touched."""

import copy
import random

import numpy as np
import pytest
import torch
from helpers.schedules import Hidden, SteppingByTime, WarmupRestarts, lrs_of_groups, planned_fit, sgd, trained
from torch.optim import lr_scheduler as torch_schedulers

from lightning_lr.schedules.clock import clock_of
from lightning_lr.schedules.evaluation import EXACT, run_ahead

pytestmark = pytest.mark.filterwarnings(
    "ignore:Seems like:UserWarning", "ignore:The epoch parameter:UserWarning"
)


class OfTimm:
    """A schedule that is a function of the time that it is given, in the interface of timm's."""

    param_group_field = "lr"

    def __init__(self, optimizer, *, warmup=0, start=0.0, by="step"):
        self.optimizer, self.by = optimizer, by
        self.base_values = [group.setdefault("initial_lr", group["lr"]) for group in optimizer.param_groups]
        self.warmup_t, self.warmup_lr_init = warmup, start
        self.warmup_steps = [(value - start) / warmup if warmup else 1 for value in self.base_values]
        self.update_groups(start if warmup else self.base_values)

    def update_groups(self, values):
        values = values if isinstance(values, list) else [values] * len(self.optimizer.param_groups)
        for group, value in zip(self.optimizer.param_groups, values, strict=True):
            group["lr"] = value * group.get("lr_scale", 1.0)

    def step(self, epoch):
        if self.by == "epoch":
            self.update_groups(self.at(epoch))

    def step_update(self, num_updates):
        if self.by == "step":
            self.update_groups(self.at(num_updates))

    def at(self, time):
        if time < self.warmup_t:
            return [self.warmup_lr_init + time * step for step in self.warmup_steps]
        return [value * 0.9 ** (time - self.warmup_t) for value in self.base_values]


def ahead(fit, **settings):
    plan = run_ahead(fit, clock_of(fit), **settings)
    groups = [group for optimizer in fit.optimizers for group in optimizer.param_groups]
    return [list(plan.lrs[id(group)].values()) for group in groups]


@pytest.mark.parametrize("interval", ["step", "epoch"])
@pytest.mark.parametrize("frequency", [1, 3])
@pytest.mark.parametrize("accumulated", [1, 4])
def test_a_plan_is_what_the_run_does(interval, frequency, accumulated):
    optimizer = sgd(0.1, 0.02)
    schedulers = [
        torch_schedulers.SequentialLR(
            optimizer,
            [torch_schedulers.LinearLR(optimizer, 0.3, total_iters=3), torch_schedulers.StepLR(optimizer, 2)],
            [3],
        )
    ]
    settings = {"epochs": 7, "batches": 10, "interval": interval, "frequency": frequency}
    fit = planned_fit([optimizer], schedulers, accumulate_grad_batches=accumulated, **settings)
    plan = run_ahead(fit, clock_of(fit))
    planned = list(zip(*(plan.lrs[id(group)].items() for group in optimizer.param_groups), strict=True))
    trace = trained(fit)
    assert planned
    for at_time in planned:
        [time] = {time for time, _ in at_time}
        assert [lr for _, lr in at_time] == trace[time]


@pytest.mark.parametrize("by", ["step", "epoch"])
def test_a_module_that_gives_the_time_gets_another_one(by):
    optimizer = sgd(0.1, 0.02)
    optimizer.param_groups[1]["lr_scale"] = 0.5
    scheduler = OfTimm(optimizer, warmup=2, start=0.001, by=by)
    module = SteppingByTime(by)
    fit = planned_fit([optimizer], [scheduler], epochs=5, batches=4, interval=by, module=module)
    module._trainer = fit
    planned = ahead(fit)
    assert (module.global_step, module.current_epoch) == (0, 0)
    assert lrs_of_groups([optimizer]) == [0.001, 0.0005]
    trace = [list(lrs) for lrs in zip(*trained(fit), strict=True)]
    assert planned == (trace if by == "step" else [lrs[::4] for lrs in trace])


def test_a_module_that_steps_what_it_keeps_steps_a_copy():
    class Keeping(SteppingByTime):
        def lr_scheduler_step(self, scheduler, metric):
            self.calls += 1
            self.kept.step()

    optimizer = sgd(0.1)
    scheduler = torch_schedulers.ExponentialLR(optimizer, 0.5)
    module = Keeping()
    module.kept, module.calls = scheduler, 0
    fit = planned_fit([optimizer], [scheduler], batches=3, module=module)
    assert ahead(fit) == [[0.1, 0.05, 0.025]]
    assert (module.calls, scheduler.last_epoch, lrs_of_groups([optimizer])) == (0, 0, [0.1])


def test_nothing_is_touched():
    optimizer = sgd(0.1)
    factors = iter([1, 0.9, 0.8, 0.7])

    def noisy(_):
        return next(factors) * (1 + 0.1 * random.random() * np.random.rand() * torch.rand(1).item())  # noqa: NPY002

    scheduler = torch_schedulers.LambdaLR(optimizer, noisy)
    before = copy.deepcopy((scheduler.state_dict(), optimizer.state_dict()))
    generators = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    [lrs] = ahead(planned_fit([optimizer], [scheduler], batches=4))
    assert len(set(lrs)) == 4
    assert (scheduler.state_dict(), optimizer.state_dict()) == before
    assert next(factors) == 0.9
    assert random.getstate() == generators[0]
    assert np.array_equal(np.random.get_state()[1], generators[1][1])  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), generators[2])


LONG = 3 * EXACT
CURVES = {
    "LambdaLR": lambda o: torch_schedulers.LambdaLR(
        o, lambda step: step / 17_321 if step < 17_321 else 17_321 / step
    ),
    "SequentialLR": lambda o: torch_schedulers.SequentialLR(
        o,
        [
            torch_schedulers.LinearLR(o, 0.01, total_iters=15_432),
            torch_schedulers.CosineAnnealingLR(o, LONG - 15_432),
        ],
        [15_432],
    ),
    "OneCycleLR": lambda o: torch_schedulers.OneCycleLR(o, 0.1, pct_start=0.7, total_steps=LONG),
    "CyclicLR": lambda o: torch_schedulers.CyclicLR(o, 0.01, 0.1, 12_345, cycle_momentum=False),
    "ChainedScheduler": lambda o: torch_schedulers.ChainedScheduler(
        [torch_schedulers.LinearLR(o, 0.01, total_iters=15_432), torch_schedulers.PolynomialLR(o, LONG)]
    ),
    "WarmupRestarts": lambda o: WarmupRestarts(o, 21_000, warmup=13_333),
}


@pytest.mark.parametrize("name", CURVES)
def test_the_peak_of_a_long_run_is_found_without_making_every_step(name):
    optimizer = sgd(0.1)
    fit = planned_fit([optimizer], [CURVES[name](optimizer)], batches=LONG)
    plan = run_ahead(fit, clock_of(fit))
    peak = plan.peak(optimizer.param_groups[0])
    assert plan.is_whole
    assert len(plan.lrs[id(optimizer.param_groups[0])]) < LONG / 2
    assert peak == pytest.approx(max(lr for [lr] in trained(fit)), rel=1e-6)


def test_what_cannot_be_asked_for_a_later_time_is_known_in_part():
    optimizer = sgd(0.1)
    scheduler = torch_schedulers.MultiplicativeLR(optimizer, lambda step: 1.0001 if step < 20_000 else 0.9)
    fit = planned_fit([optimizer], [scheduler], batches=LONG)
    plan = run_ahead(fit, clock_of(fit))
    assert not plan.is_whole
    assert list(plan.lrs[id(optimizer.param_groups[0])]) == list(range(EXACT))


def test_a_run_without_an_end_is_looked_at_in_part():
    optimizer = sgd(0.1)
    scheduler = torch_schedulers.LambdaLR(optimizer, lambda step: min(1, step / 50))
    endless = {"max_epochs": -1, "num_training_batches": float("inf")}
    fit = planned_fit([optimizer], [scheduler], **endless)
    plan = run_ahead(fit, clock_of(fit))
    assert plan.peak(optimizer.param_groups[0]) == pytest.approx(0.1)
    assert not plan.is_whole


@pytest.mark.parametrize("interval", ["step", "epoch"])
def test_a_fit_that_begins_where_another_one_has_ended_has_the_lr_of_now(interval):
    optimizer = sgd(0.1)
    scheduler = torch_schedulers.ExponentialLR(optimizer, 0.5)
    fit = planned_fit([optimizer], [scheduler], batches=5, interval=interval)
    trained(fit)
    plan = run_ahead(fit, clock_of(fit), begin=5)
    assert list(plan.lrs.values()) == [{5: lrs_of_groups([optimizer])[0]}]


def test_a_schedule_that_ends_before_the_run_is_known_to_its_end():
    optimizer = sgd(0.1)
    scheduler = torch_schedulers.OneCycleLR(optimizer, 0.1, total_steps=6, cycle_momentum=False)
    fit = planned_fit([optimizer], [scheduler], batches=20)
    plan = run_ahead(fit, clock_of(fit))
    assert not plan.unknown
    assert len(plan.lrs[id(optimizer.param_groups[0])]) == 20


class Failing(Hidden):
    def get_lr(self):
        if self.last_epoch > 0:
            raise RuntimeError("not now")
        return [0.1]


def test_a_schedule_that_cannot_be_run_is_unknown_and_the_others_are_not():
    failing, streamed, plain = sgd(0.1), sgd(0.1), sgd(0.1)
    stream = (1.0 for _ in range(100))
    schedulers = [
        Failing(failing, []),
        torch_schedulers.LambdaLR(streamed, lambda step: next(stream)),
        torch_schedulers.ExponentialLR(plain, 0.5),
    ]
    fit = planned_fit([failing, streamed, plain], schedulers, batches=3)
    plan = run_ahead(fit, clock_of(fit))
    assert {id(scheduler) for scheduler in plan.unknown} == {id(scheduler) for scheduler in schedulers[:2]}
    assert [plan.peak(each.param_groups[0]) for each in fit.optimizers] == [None, None, 0.1]


class OnMetric(OfTimm):
    """Warms up by itself, and lowers the LR by a metric."""

    def step(self, epoch, metric=None):
        if epoch < 2:
            super().step(epoch)
        else:
            self.update_groups([value / metric for value in self.base_values])


def test_what_asks_for_a_metric_is_known_as_far_as_it_does_without():
    optimizer = sgd(0.1)
    scheduler = OnMetric(optimizer, warmup=1, start=0.001, by="epoch")
    fit = planned_fit([optimizer], [scheduler], epochs=5, interval="epoch", module=SteppingByTime("epoch"))
    fit.lr_scheduler_configs[0].reduce_on_plateau = True
    plan = run_ahead(fit, clock_of(fit))
    assert not plan.unknown
    assert plan.peak(optimizer.param_groups[0]) == pytest.approx(0.1)
