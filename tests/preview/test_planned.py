"""The plan before the run, from arguments: its numbers, and the table of them."""

import math
from dataclasses import FrozenInstanceError

import pytest
from helpers.planned import planned, traced, two_groups
from helpers.toy import Toy

import lightning_lr
from lightning_lr import LRDecay, preview
from lightning_lr.policies import (
    Constant,
    Cosine,
    CosineRestarts,
    Exponential,
    Function,
    Linear,
    MultiStep,
    OneCycle,
    Piecewise,
    Repeat,
    WarmupStableDecay,
)
from lightning_lr.preview.table import shortened
from lightning_lr.preview.timeline import lay_out

RUNS = {
    "linear": (Linear(), {}),
    "cosine": (Cosine(end=0.01), {"warmup": 5}),
    "restarts": (CosineRestarts(period=2), {"warmup": 0.25}),
    "one cycle": (OneCycle(), {}),
    "ramp from a start": (Linear(), {"warmup": 6, "warmup_start": 0.1, "warmup_shape": "exponential"}),
    "group": (Linear(), {"policies": {"bias": Constant(0.5), "pg*": Cosine(0.1)}, "warmup": 3}),
    "floor": (Linear(), {"warmup": 6, "warmup_start": 0.5, "min_lr": 0.05}),
    "waves": (Cosine(0.1, exponent=2, num_cycles=1.5), {"warmup": 0.1}),
    "cycles by number": (Repeat(Linear(0.1), num_cycles=3, height_mult=0.5), {"warmup": 3}),
    "points": (Piecewise([0, 0.5, 1.0], [0.5, 1, 0], shape="cosine"), {}),
    "exponential to an end": (Exponential(end=0.01), {"warmup": 4}),
    "multi step": (MultiStep([1, 3]), {"warmup": 0.05}),
    "endless": (Exponential(gamma=0.9), {"warmup": 7}),
    "wsd": (WarmupStableDecay(cooldown=0.25), {"warmup": 1}),
    "function": (Function(lambda time: 1 / (1 + time)), {"warmup": 0.33}),
}


@pytest.mark.parametrize("interval", ["epoch", "step"])
@pytest.mark.parametrize("name", RUNS)
def test_every_lr_is_that_of_the_fit_bit_for_bit(name, interval):
    policy, options = RUNS[name]
    plan = preview(
        policy,
        max_epochs=4,
        steps_per_epoch=10,
        interval=interval,
        base_lr={"lr/SGD/pg1": 0.3, "lr/SGD/bias": 0.007},
        **options,
    )
    used = traced(Toy(two_groups), LRDecay(policy, interval=interval, **options), max_epochs=4)
    assert len(used) == 40
    assert planned(plan) == used
    assert plan.timeline.horizon.steps == 40


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "Linear.*has to know when the run ends.*`max_epochs`"),
        ({"policy": Constant()}, "has no end.*`max_epochs`"),
        ({"max_epochs": 3, "interval": "step"}, "has to know.*with `steps_per_epoch`"),
        ({"max_epochs": 3, "warmup": 2}, "how many steps an epoch makes.*`steps_per_epoch`"),
        ({"max_epochs": 3, "warmup": 0.1}, "needs the number of steps.*`steps_per_epoch`"),
        ({"max_steps": 30, "policy": Constant()}, "how many steps an epoch makes.*`steps_per_epoch`"),
        ({"max_epochs": 0}, r"`preview\(max_epochs=...\)` must be at least 1"),
        ({"max_epochs": 3, "base_lr": math.nan}, r"`preview\(base_lr=...\)` must be in \[0, inf\), got nan"),
        ({"max_epochs": 3, "base_lr": {"head": -1}}, r"must be in \[0, inf\), got -1"),
        ({"max_epochs": 3, "interval": "batch"}, "must be 'epoch' or 'step'"),
        ({"max_epochs": 3, "warmup": 1.5}, r"`preview\(warmup=...\)` must be a count"),
    ],
    ids=str,
)
def test_a_missing_length_or_a_bad_argument_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        preview(**({"policy": Linear()} | arguments))


def test_a_bad_type_is_named():
    with pytest.raises(TypeError, match=r"`preview\(policy=...\)` must be a Policy.*got 'cosine'"):
        preview("cosine", max_epochs=3)
    with pytest.raises(TypeError, match="max_steps"):
        preview(Linear(), max_steps=3.5)


def test_a_preview_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        preview(Linear(), max_epochs=3).unit = "batch"


@pytest.mark.parametrize(
    ("bounds", "moments"),
    [
        ({"max_epochs": 2, "steps_per_epoch": 3}, [(0, 0), (1, 0), (2, 0), (3, 1), (4, 1), (5, 1)]),
        ({"max_epochs": 2, "max_steps": 4, "steps_per_epoch": 3}, [(0, 0), (1, 0), (2, 0), (3, 1)]),
        ({"max_steps": 4, "steps_per_epoch": 3}, [(0, 0), (1, 0), (2, 0), (3, 1)]),
        ({"max_steps": 3}, [(0, None), (1, None), (2, None)]),
    ],
    ids=str,
)
def test_a_moment_has_its_step_and_epoch(bounds, moments):
    plan = preview(Linear(), interval="step", **bounds)
    assert [(each.step, each.epoch) for each in plan.every_step()] == moments


def test_a_timeline_of_epochs_that_begin_after_the_last_step_ends_with_the_run():
    plan = preview(Linear(), max_epochs=100, max_steps=7, steps_per_epoch=3, interval="step")
    assert plan.timeline.epoch_starts == (0, 3, 6)
    assert lay_out(plan.timeline.horizon, batches_per_epoch=math.inf, accumulation={0: 1}).epoch_starts == ()


def test_the_table_shows_the_turns_and_not_every_step():
    plan = preview(Cosine(), max_epochs=100, steps_per_epoch=1000, interval="step", warmup=1234)
    table = plan.table(rows=10)
    assert [each.step for each in table] == [0, 1234, *range(10_000, 100_000, 10_000), 99_999]
    assert table[1].factor == 1
    assert [each.epoch for each in table][:3] == [0, 1, 10]
    steps = plan.every_step()
    assert table == [steps[each.step] for each in table]
    with pytest.raises(ValueError, match="at least 2"):
        plan.table(rows=1)


def test_the_table_of_a_short_run_is_the_run():
    for length in (1, 2, 19):
        plan = preview(Linear(), max_steps=length, interval="step")
        assert plan.table() == plan.every_step()


def test_a_warmup_longer_than_the_run_has_no_end_to_show():
    plan = preview(Linear(), max_steps=5, interval="step", warmup=20)
    assert [each.factor for each in plan.table()] == [0, 0.05, 0.1, 0.15, 0.2]
    assert plan.figure().axes[0].get_xlim() == (0, 5)


def test_the_text_lists_groups_by_their_base_lr():
    bases = {"a": 0.1, "b": 0.1, "head": 1.0}
    text = str(preview(Constant(0.5), max_epochs=1, base_lr=bases)).splitlines()
    assert text[1:3] == ["base LR 0.1: a, b", "base LR 1: head"]
    assert text[4].split("  ")[-2:] == ["a (+1)", "head"]
    assert text[5].split()[-2:] == ["0.05", "0.5"]
    layers = {f"layer {n}": 0.5**n for n in range(24)}
    assert shortened(layers) == {"layer 0": "layer 0", "layer 23": "layer 23"}


def test_the_name_is_the_function_also_when_the_module_is_run():
    assert lightning_lr.preview is preview
    assert callable(lightning_lr.preview)


def test_groups_with_policies_have_columns_of_their_own():
    groups = {"policies": {"head": Constant(0.5)}, "base_lr": {"backbone": 0.1, "head": 0.1}}
    lines = str(preview(Linear(), max_epochs=2, **groups)).splitlines()
    assert lines[0].startswith("Linear(end=0.0, start=1.0), `head` by Constant(value=0.5) per epoch")
    assert lines[-3].split("  ")[1:] == ["factor", "factor of head", "backbone", "head"]
    assert lines[-1].split() == ["1", "0.5", "0.5", "0.05", "0.05"]
    curves = preview(Linear(), max_epochs=2, **groups).curves()
    assert {name: lrs for name, (_, lrs) in curves.items()} == {"backbone": [0.1, 0.05], "head": [0.05, 0.05]}


def test_a_policy_for_a_group_that_is_not_there_is_refused():
    with pytest.raises(
        ValueError, match=r"`preview\(policies=...\)` names 'hed'.*The groups are backbone, head"
    ):
        preview(Linear(), max_epochs=2, policies={"hed": Cosine()}, base_lr={"backbone": 0.1, "head": 0.1})
