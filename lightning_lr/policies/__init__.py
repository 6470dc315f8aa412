"""Decay policies: the LR over a run as a pure function of time, relative to the base LR.

They import neither torch nor Lightning: a schedule can be read, tested and drawn without a model.

| policy | factor of the base LR at time t of T, z = t / T |
|---|---|
| `Constant(value)` | value |
| `Linear(end, start)` | start (1) -> end; the default, and the best supported by evidence with `end=0` |
| `Polynomial(power, end, ...)` | (1 - end) (1 - z)^power + end; or of the elapsed share, or in cycles |
| `Exponential(gamma, end, ...)` | gamma^t, growing or not, as far as `end`; without `gamma` end^z |
| `InverseTime(rate, ...)` | 1 / (1 + rate t), as a staircase too |
| `InverseSqrt(k, timescale)` | k sqrt(timescale / (t + timescale)): k / sqrt(number of the epoch, from 1) |
| `DelayedExponential(start, rate)` | 1, then e^-rate per epoch from epoch `start` on |
| `Step(size, gamma)`, `MultiStep(milestones, gamma)` | gamma at every `size`, or at each milestone |
| `Cosine(end, start, exponent, num_cycles)` | start (1) -> end along half a cosine, or `num_cycles` waves |
| `CosineRestarts(period, mult, ...)` | SGDR: cosines that restart, each `mult` times as long |
| `OneCycle(pct_start, ...)` | up to 1, then far down; the arguments of torch's `OneCycleLR` |
| `WarmupStableDecay(cooldown, shape, ...)` | 1, then down over the last `cooldown` of the run |
| `Rex()` | (1 - z) / (1/2 + (1 - z)/2) |
| `Cyclic(...)` | triangular, triangular2 and exp_range cycles between two factors |
| `Piecewise(times, values, shape)` | through given factors at given times, on lines, cosines or steps |
| `Function(function)` | any function of the epoch, as for Keras' `LearningRateScheduler` |
| `Sequence(policies, durations)` | one policy after another |
| `Product(policies)` | their product |
| `Repeat(policy, period, mult, ...)` | any policy in cycles, which may grow longer and lower |

The docstring of each says what it is called in torch, transformers, Keras, optax, ignite and fastai. In plain
PyTorch, `LambdaLR(optimizer, Cosine().over(1000))` uses one.
"""

from lightning_lr.policies.anneal import Cosine, Linear, Polynomial, Rex
from lightning_lr.policies.base import Policy, check_policies, check_policy
from lightning_lr.policies.combine import Product, Repeat, Sequence
from lightning_lr.policies.cycles import CosineRestarts, Cyclic
from lightning_lr.policies.decays import (
    Constant,
    DelayedExponential,
    Exponential,
    InverseSqrt,
    InverseTime,
    MultiStep,
    Step,
)
from lightning_lr.policies.function import Function
from lightning_lr.policies.phases import OneCycle, Piecewise, WarmupStableDecay
from lightning_lr.policies.spans import check_span, span

__all__ = [
    "Constant",
    "Cosine",
    "CosineRestarts",
    "Cyclic",
    "DelayedExponential",
    "Exponential",
    "Function",
    "InverseSqrt",
    "InverseTime",
    "Linear",
    "MultiStep",
    "OneCycle",
    "Piecewise",
    "Policy",
    "Polynomial",
    "Product",
    "Repeat",
    "Rex",
    "Sequence",
    "Step",
    "WarmupStableDecay",
    "check_policies",
    "check_policy",
    "check_span",
    "span",
]
