"""What is given in the place of a policy, and what the error says to write."""

import re
from dataclasses import dataclass

import pytest
import torch

from lightning_lr import policies
from lightning_lr.policies import Cosine, MultiStep, Policy, Step, check_policy

NAME = "LRDecay(policy=...)"


def answer(value):
    with pytest.raises(TypeError, match=re.escape(f"`{NAME}` must be a Policy, got {value!r}. ")) as caught:
        check_policy(NAME, value)
    return str(caught.value).partition(f"{value!r}. ")[2]


def test_a_policy_passes():
    check_policy(NAME, Cosine())


@pytest.mark.parametrize(
    ("given", "constructor"),
    [
        (Cosine, "Cosine()"),
        (Step, "Step(size=...)"),
        (MultiStep, "MultiStep(milestones=...)"),
        (policies.Sequence, "Sequence(policies=..., durations=...)"),
        (policies.Repeat, "Repeat(policy=...)"),
        ("Cosine", "Cosine()"),
        ("cosine", "Cosine()"),
        ("lightning_lr.policies.Cosine", "Cosine()"),
        ("Step", "Step(size=...)"),
        ("consine", "Cosine()"),
        # torch
        ("CosineAnnealingLR", "Cosine()"),
        ("StepLR", "Step(size=...)"),
        ("MultiStepLR", "MultiStep(milestones=...)"),
        ("LinearLR", "Linear()"),
        ("PolynomialLR", "Polynomial()"),
        ("ExponentialLR", "Exponential(gamma=...)"),
        ("OneCycleLR", "OneCycle()"),
        ("CyclicLR", "Cyclic(step_size_up=...)"),
        ("ConstantLR", "Constant()"),
        ("SequentialLR", "Sequence(policies=..., durations=...)"),
        (torch.optim.lr_scheduler.StepLR, "Step(size=...)"),
        (torch.optim.lr_scheduler.CosineAnnealingLR, "Cosine()"),
        # transformers
        ("linear", "Linear()"),
        ("polynomial", "Polynomial()"),
        ("cosine_with_restarts", "CosineRestarts(period=...)"),
        ("cosine_with_min_lr", "Cosine()"),
        ("constant_with_warmup", "Constant()"),
        ("inverse_sqrt", "InverseSqrt()"),
        ("warmup_stable_decay", "WarmupStableDecay()"),
        # Keras, optax
        ("CosineDecay", "Cosine()"),
        ("ExponentialDecay", "Exponential(gamma=...)"),
        ("InverseTimeDecay", "InverseTime(rate=...)"),
        ("cosine_decay_schedule", "Cosine()"),
        ("piecewise_constant_schedule", "Piecewise(times=..., values=...)"),
    ],
)
def test_a_class_or_a_name_is_answered_with_the_constructor(given, constructor):
    assert answer(given) == f"Write `{constructor}`."


def test_a_name_that_is_near_none_is_answered_with_all():
    names = answer("xyzzy").removeprefix("The policies are ").removesuffix(".").split(", ")
    public = [getattr(policies, name) for name in policies.__all__]
    kinds = {kind.__name__ for kind in public if isinstance(kind, type) and kind is not Policy}
    assert names == sorted(kinds)
    assert answer(dict) == answer("xyzzy")


def test_a_class_of_your_own_is_answered_with_its_constructor():
    @dataclass(frozen=True)
    class Halving(Policy):
        every: float

        def formula(self, t, total):
            return 0.5 ** (t / self.every)

    assert answer(Halving) == answer("halving") == "Write `Halving(every=...)`."


@pytest.mark.parametrize("given", [None, 0.1, abs, [Cosine()], {}])
def test_anything_else_may_be_meant_as_a_function(given):
    assert answer(given) == "Wrap a function in `lightning_lr.policies.Function`."
