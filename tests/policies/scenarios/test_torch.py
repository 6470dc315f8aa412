"""The schedulers of torch as its documentation describes them, run for real.

https://pytorch.org/docs/stable/optim.html#how-to-adjust-learning-rate; t is the number of calls of `step()`.
"""

import math

import pytest
from torch.optim import lr_scheduler as torch_lr

from lightning_lr.policies import (
    Constant,
    Cosine,
    CosineRestarts,
    Cyclic,
    Exponential,
    Function,
    Linear,
    MultiStep,
    OneCycle,
    Piecewise,
    Polynomial,
    Product,
    Repeat,
    Sequence,
    Step,
)

RAMP = Linear(1.0, start=0.1)


def one_cycle(optimizer, count, peak=0.3, **options):
    return torch_lr.OneCycleLR(
        optimizer, max_lr=1.0, total_steps=count + 1, pct_start=peak, cycle_momentum=False, **options
    )


def cyclic(optimizer, low=0.0, **options):
    return torch_lr.CyclicLR(optimizer, base_lr=low, max_lr=1.0, cycle_momentum=False, **options)


def sequential(optimizer, milestones, *parts):
    return torch_lr.SequentialLR(optimizer, [make(optimizer) for make in parts], milestones=milestones)


def chained(optimizer, *parts):
    return torch_lr.ChainedScheduler([make(optimizer) for make in parts])


def ramp(optimizer):
    return torch_lr.LinearLR(optimizer, 0.1, 1.0, total_iters=4)


# What torch calls it: our policy, the length of the run, the scheduler for a base LR of 1.
SCENARIOS = {
    "StepLR": (Step(3), math.inf, lambda o: torch_lr.StepLR(o, 3)),
    "StepLR(gamma)": (Step(3, 0.5), math.inf, lambda o: torch_lr.StepLR(o, 3, 0.5)),
    "StepLR(gamma above 1)": (Step(3, 1.5), math.inf, lambda o: torch_lr.StepLR(o, 3, 1.5)),
    "MultiStepLR": (MultiStep([3, 8], 0.1), math.inf, lambda o: torch_lr.MultiStepLR(o, [3, 8], 0.1)),
    "MultiStepLR(gamma above 1)": (
        MultiStep([3, 8], 2),
        math.inf,
        lambda o: torch_lr.MultiStepLR(o, [3, 8], 2.0),
    ),
    "MultiStepLR: a milestone that is given twice counts twice": (
        Piecewise([0, 3, 8], [1, 0.25, 0.125], shape="constant"),
        math.inf,
        lambda o: torch_lr.MultiStepLR(o, [3, 3, 8], 0.5),
    ),
    "ConstantLR: a factor for some steps": (
        Piecewise([0, 4], [0.25, 1], shape="constant"),
        math.inf,
        lambda o: torch_lr.ConstantLR(o, 0.25, total_iters=4),
    ),
    "LinearLR: up": (Piecewise([0, 5], [1 / 3, 1]), math.inf, torch_lr.LinearLR),
    "LinearLR: down, then constant": (
        Linear(0.2),
        10,
        lambda o: torch_lr.LinearLR(o, 1.0, 0.2, total_iters=10),
    ),
    "ExponentialLR": (Exponential(0.9), math.inf, lambda o: torch_lr.ExponentialLR(o, 0.9)),
    "ExponentialLR: growth": (Exponential(1.1), math.inf, lambda o: torch_lr.ExponentialLR(o, 1.1)),
    "PolynomialLR": (Polynomial(), 10, lambda o: torch_lr.PolynomialLR(o, 10)),
    "PolynomialLR(power)": (Polynomial(2), 10, lambda o: torch_lr.PolynomialLR(o, 10, power=2)),
    "PolynomialLR: ends before the run": (
        Sequence([Polynomial(0.5), Constant(0)], durations=[10]),
        20,
        lambda o: torch_lr.PolynomialLR(o, 10, power=0.5),
    ),
    "CosineAnnealingLR": (Cosine(), 24, lambda o: torch_lr.CosineAnnealingLR(o, 24)),
    "CosineAnnealingLR(eta_min)": (Cosine(0.1), 24, lambda o: torch_lr.CosineAnnealingLR(o, 24, eta_min=0.1)),
    "CosineAnnealingLR: T_max before the end of the run": (
        Cosine(0.1, num_cycles=1.5),
        24,
        lambda o: torch_lr.CosineAnnealingLR(o, 8, eta_min=0.1),
    ),
    "CosineAnnealingWarmRestarts": (
        CosineRestarts(5),
        math.inf,
        lambda o: torch_lr.CosineAnnealingWarmRestarts(o, 5),
    ),
    "CosineAnnealingWarmRestarts(T_mult)": (
        CosineRestarts(3, 2),
        math.inf,
        lambda o: torch_lr.CosineAnnealingWarmRestarts(o, 3, 2),
    ),
    "CosineAnnealingWarmRestarts(eta_min)": (
        CosineRestarts(3, 2, end=0.1),
        math.inf,
        lambda o: torch_lr.CosineAnnealingWarmRestarts(o, 3, 2, eta_min=0.1),
    ),
    "CyclicLR": (Cyclic(4, low=0.1), math.inf, lambda o: cyclic(o, 0.1, step_size_up=4)),
    "CyclicLR(step_size_down)": (
        Cyclic(4, step_size_down=2, low=0.1),
        math.inf,
        lambda o: cyclic(o, 0.1, step_size_up=4, step_size_down=2),
    ),
    "CyclicLR('triangular2')": (
        Cyclic(4, low=0.1, mode="triangular2"),
        math.inf,
        lambda o: cyclic(o, 0.1, step_size_up=4, mode="triangular2"),
    ),
    "CyclicLR('exp_range')": (
        Cyclic(4, low=0.1, mode="exp_range", gamma=0.95),
        math.inf,
        lambda o: cyclic(o, 0.1, step_size_up=4, mode="exp_range", gamma=0.95),
    ),
    "CyclicLR(scale_fn) of the cycle": (
        Repeat(Cyclic(4, low=0.0), 8, height_mult=0.8),
        math.inf,
        lambda o: cyclic(o, step_size_up=4, scale_fn=lambda cycle: 0.8 ** (cycle - 1), scale_mode="cycle"),
    ),
    "OneCycleLR": (
        OneCycle((0.3 * 25 - 1) / 24),
        24,
        lambda o: one_cycle(o, 24),
    ),
    "OneCycleLR('linear')": (
        OneCycle((0.3 * 25 - 1) / 24, div_factor=10, final_div_factor=100, anneal_strategy="linear"),
        24,
        lambda o: one_cycle(o, 24, anneal_strategy="linear", div_factor=10, final_div_factor=100),
    ),
    "OneCycleLR(three_phase)": (
        OneCycle((0.4 * 25 - 1) / 24, three_phase=True),
        24,
        lambda o: one_cycle(o, 24, 0.4, three_phase=True),
    ),
    "LambdaLR": (
        Function(lambda epoch: 0.95**epoch),
        math.inf,
        lambda o: torch_lr.LambdaLR(o, lambda epoch: 0.95**epoch),
    ),
    "LambdaLR: a policy is a lambda": (
        Exponential(0.95),
        math.inf,
        lambda o: torch_lr.LambdaLR(o, Exponential(0.95)),
    ),
    "MultiplicativeLR": (
        Function(lambda epoch, factor: factor * (0.9 if epoch else 1.0)),
        math.inf,
        lambda o: torch_lr.MultiplicativeLR(o, lambda epoch: 0.9),
    ),
    "MultiplicativeLR: another factor in each epoch": (
        Function(lambda epoch, factor: factor * (1 - 1 / (epoch + 2) if epoch else 1.0)),
        math.inf,
        lambda o: torch_lr.MultiplicativeLR(o, lambda epoch: 1 - 1 / (epoch + 2)),
    ),
    "ChainedScheduler": (
        Product([Piecewise([0, 4], [0.25, 1], shape="constant"), Exponential(0.9)]),
        math.inf,
        lambda o: chained(
            o, lambda o: torch_lr.ConstantLR(o, 0.25, total_iters=4), lambda o: torch_lr.ExponentialLR(o, 0.9)
        ),
    ),
    "ChainedScheduler: a warm-up and steps": (
        Product([Piecewise([0, 4], [0.1, 1]), Step(7, 0.5)]),
        math.inf,
        lambda o: chained(o, ramp, lambda o: torch_lr.StepLR(o, 7, 0.5)),
    ),
    "SequentialLR": (
        Sequence([Constant(0.1), Exponential(0.9)], durations=[6]),
        30,
        lambda o: sequential(
            o, [6], lambda o: torch_lr.ConstantLR(o, 0.1, 6), lambda o: torch_lr.ExponentialLR(o, 0.9)
        ),
    ),
    "SequentialLR: a warm-up and a cosine": (
        Sequence([RAMP, Cosine(0.05)], durations=[4, 20]),
        24,
        lambda o: sequential(o, [4], ramp, lambda o: torch_lr.CosineAnnealingLR(o, 20, eta_min=0.05)),
    ),
    "SequentialLR: a warm-up and restarts": (
        Sequence([RAMP, CosineRestarts(5, 2)], durations=[4]),
        math.inf,
        lambda o: sequential(o, [4], ramp, lambda o: torch_lr.CosineAnnealingWarmRestarts(o, 5, 2)),
    ),
    "SequentialLR of three": (
        Sequence([RAMP, Step(3, 0.5), Linear(0.1)], durations=[4, 8, 12]),
        24,
        lambda o: sequential(
            o,
            [4, 12],
            ramp,
            lambda o: torch_lr.StepLR(o, 3, 0.5),
            lambda o: torch_lr.LinearLR(o, 1.0, 0.1, total_iters=12),
        ),
    ),
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario(name, torch_factors):
    policy, total, make = SCENARIOS[name]
    wanted = torch_factors(make, 25, lr=1.0)
    assert [policy.factor(t, total) for t in range(25)] == pytest.approx(wanted, rel=1e-9, abs=1e-12)
