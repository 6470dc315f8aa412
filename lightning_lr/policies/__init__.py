"""Decay policies: the LR over a run as a pure function of time, relative to the base LR.

They import neither torch nor Lightning: a schedule can be read, tested and drawn without a model.
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
