"""LRDecay with a policy for each parameter group, by the names that LRLogger gives them."""

import math

import pytest
import torch
from helpers.finders import Learner
from helpers.toy import LRTrace, Thawing, Toy, scalars, trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import BackboneFinetuning, ModelCheckpoint

from lightning_lr import LRDecay, LRLogger, LRRangeTest, PlateauDetector
from lightning_lr.decay.plan import Plan
from lightning_lr.decay.schedule import Schedule
from lightning_lr.fit.horizon import Horizon
from lightning_lr.fit.neighbors import write_schedules
from lightning_lr.plateau import Patience, ReduceLR, StartCooldown
from lightning_lr.plateau.actions.reduce import change_lr
from lightning_lr.policies import Constant, Cosine, Exponential, Linear, Sequence, WarmupStableDecay
from lightning_lr.rates import base_lr

pytestmark = [
    pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`"),
    pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended"),
]


def head_and_backbone(parameters):
    weight, bias = parameters
    groups = [
        {"params": [weight], "name": "backbone", "lr": 0.02},
        {"params": [bias], "name": "head", "lr": 0.1},
    ]
    return torch.optim.SGD(groups)


def traced(module, *callbacks, **kwargs):
    """Return the LRs of each group by step."""
    trace = LRTrace()
    run = trainer(*callbacks, trace, **({"max_epochs": 1} | kwargs))
    run.fit(module)
    return [list(lrs) for lrs in zip(*trace.lrs.values(), strict=True)]


def by_step(policy, base, steps=10):
    return [base * policy.factor(step, steps) for step in range(steps)]


@pytest.mark.parametrize(
    "names", [{name: 0.1} for name in ("head", "SGD/head", "lr/SGD/head", "LR/SGD/head", "lr-SGD/head", "h*")]
)
def test_a_named_group_has_its_own_policy_and_the_others_the_common_one(names):
    policies = dict.fromkeys(names, Cosine())
    decay = LRDecay(Linear(), policies=policies, interval="step")
    assert traced(Toy(head_and_backbone), decay) == [by_step(Linear(), 0.02), by_step(Cosine(), 0.1)]


def test_every_group_by_name():
    policies = {"head": Cosine(), "backbone": Constant(0.0)}
    assert traced(Toy(head_and_backbone), LRDecay(policies=policies, interval="step")) == [
        [0.0] * 10,
        by_step(Cosine(), 0.1),
    ]


def test_a_backbone_that_is_frozen_for_two_epochs():
    frozen = Sequence([Constant(0.0), Linear()], durations=[2])
    backbone, head = traced(Toy(head_and_backbone), LRDecay(policies={"backbone": frozen}), max_epochs=4)
    assert backbone == pytest.approx([0.0] * 20 + [0.02] * 10 + [0.01] * 10)
    assert head == pytest.approx([0.1 * factor for factor in (1, 0.75, 0.5, 0.25) for _ in range(10)])


def test_layer_wise_decay_by_name():
    policies = {f"layer{n}": Constant(0.5 ** (2 - n)) for n in range(3)}

    class Layers(Toy):
        def __init__(self):
            super().__init__()
            self.layers = torch.nn.ModuleList(torch.nn.Linear(4, 4) for _ in range(3))

        def configure_optimizers(self):
            layers = [
                {"params": each.parameters(), "name": f"layer{n}"} for n, each in enumerate(self.layers)
            ]
            return torch.optim.AdamW([*layers, {"params": self.linear.parameters(), "name": "head"}], lr=0.1)

    found = traced(Layers(), LRDecay(Constant(), policies=policies))
    assert [lrs[0] for lrs in found] == [0.025, 0.05, 0.1, 0.1]


@pytest.mark.parametrize(
    ("keys", "wanted"),
    [
        (["AdamW"], ["AdamW"] * 2),
        (["AdamW", "head"], ["AdamW", "head"]),
        (["*", "head"], ["*", "head"]),
        (["h*", "*"], ["*", "h*"]),
        (["AdamW/*"], ["AdamW/*"] * 2),
        (["Adam"], [None, None]),
        (["pg1"], [None, None]),
    ],
)
def test_the_nearest_name_counts_and_then_the_first_pattern(keys, wanted):
    plan = Plan(Constant(), "epoch", 0, Horizon(4, 4))
    schedule = Schedule(plan, dict.fromkeys(keys, plan))
    assert [schedule.key_of(name) for name in ("lr/AdamW/pg7", "lr/AdamW/head")] == wanted


def test_a_single_group_goes_by_its_optimizer_or_its_number():
    plan = Plan(Constant(), "epoch", 0, Horizon(4, 4))
    assert [Schedule(plan, {key: plan}).key_of("SGD-1") for key in ("SGD-1", "pg1", "SGD")] == [
        "SGD-1",
        "pg1",
        None,
    ]


def test_an_unknown_name_is_refused_before_a_test_and_the_known_ones_are_told():
    trace, test = LRTrace(), LRRangeTest(10)
    message = r"names 'haed', and no parameter group is called that. The groups are SGD/backbone, SGD/head\."
    with pytest.raises(MisconfigurationException, match=message):
        trainer(test, LRDecay(policies={"haed": Cosine()}), trace).fit(Toy(head_and_backbone))
    assert trace.lrs == {}
    assert test.suggestion is None


def test_groups_with_one_tensor_for_their_lr_cannot_differ():
    def shared(parameters):
        weight, bias = parameters
        lr = torch.tensor(0.1)
        return torch.optim.SGD([{"params": [weight], "name": "a"}, {"params": [bias], "name": "b"}], lr=lr)

    with pytest.raises(MisconfigurationException, match="is one and the same tensor"):
        trainer(LRDecay(policies={"a": Cosine()})).fit(Toy(shared))
    trainer(LRDecay(policies={"SGD": Cosine()})).fit(Toy(shared))


def test_groups_of_the_same_name_are_refused():
    def twice(parameters):
        weight, bias = parameters
        return torch.optim.SGD([{"params": [each], "name": "same"} for each in (weight, bias)], lr=0.1)

    with pytest.raises(MisconfigurationException, match="must have different names"):
        trainer(LRDecay(policies={"same": Cosine()})).fit(Toy(twice))


class Join(Callback):
    """Adds a group in the second epoch."""

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == 1:
            extra = torch.nn.Parameter(torch.zeros(1))
            trainer.optimizers[0].add_param_group({"params": [extra], "name": "late", "lr": 0.5})


@pytest.mark.parametrize("first", [True, False])
def test_a_group_that_joins_later_follows_the_policy_that_waits_for_it(first):
    trace, decay = LRTrace(), LRDecay(Linear(), policies={"late*": Cosine()}, interval="step")
    callbacks = [Join(), decay] if first else [decay, Join()]
    with pytest.warns(
        UserWarning, match=r"a parameter group with lr 0\.5 was added.* is 0\.5 times the base"
    ):
        trainer(*callbacks, trace).fit(
            Toy(lambda parameters: torch.optim.SGD([{"params": parameters, "name": "x"}], lr=0.1))
        )
    late = [lrs[1] for step, lrs in trace.lrs.items() if step > 10]
    assert late == [0.5 * Cosine().factor(step, 20) for step in range(11, 20)]


def test_a_policy_that_waited_in_vain_is_told(tmp_path):
    with pytest.warns(
        UserWarning, match="No parameter group has been called 'late.*The groups are SGD/backbone"
    ):
        trainer(LRDecay(policies={"late*": Cosine()}), root=tmp_path).fit(Toy(head_and_backbone))
    assert "has had no effect there" in (tmp_path / "run" / "decisions.jsonl").read_text()


@pytest.mark.filterwarnings("ignore:Other code changed")
def test_a_backbone_that_lightning_thaws_goes_by_its_number():
    thaw = BackboneFinetuning(2, lambda_func=lambda _: 1.0, should_align=False, backbone_initial_lr=0.02)
    trace = LRTrace()
    decay = LRDecay(Linear(), policies={"pg2": Cosine()}, interval="step")
    with pytest.warns(UserWarning, match=r"Its base LR is taken to be 0\.04 \(as BackboneFinetuning"):
        trainer(thaw, decay, trace, max_epochs=4).fit(Thawing())
    thawed = [trace.lrs[step][-1] for step in range(21, 30)]
    assert thawed == pytest.approx([0.04 * Cosine().factor(step, 40) for step in range(21, 30)])
    assert trace.lrs[25][0] == pytest.approx(0.2 * Linear().factor(25, 40))


POLICIES = {"head": Cosine(), "back*": Sequence([Constant(0.0), Exponential(0.9)], durations=[2])}


@pytest.mark.parametrize("interval", ["epoch", "step"])
def test_a_run_resumed_at_any_step_has_the_trace_of_the_uninterrupted_one(interval, tmp_path):
    def decay():
        return LRDecay(policies=POLICIES, interval=interval, warmup=0.2, min_lr=0.03)

    save = ModelCheckpoint(tmp_path, filename="{step}", save_top_k=-1, every_n_train_steps=1)
    whole = LRTrace()
    trainer(decay(), whole, save, max_epochs=3, enable_checkpointing=True).fit(
        Toy(head_and_backbone, batches=4)
    )
    files = list(tmp_path.glob("*.ckpt"))
    assert len(files) == 12
    for file in files:
        resumed = LRTrace()
        trainer(decay(), resumed, max_epochs=3).fit(Toy(head_and_backbone, batches=4), ckpt_path=file)
        start = int(file.stem.removeprefix("step="))
        assert resumed.lrs == {step: lrs for step, lrs in whole.lrs.items() if step >= start}


def test_other_policies_on_resume_are_told(tmp_path):
    run = trainer(LRDecay(policies={"head": Cosine()}), max_epochs=1)
    run.fit(Toy(head_and_backbone))
    run.save_checkpoint(tmp_path / "saved.ckpt")
    with (
        pytest.warns(UserWarning, match=r"LRDecay was .*policies=\{'head': Cosine.* and is LRDecay\(Linear"),
        pytest.warns(UserWarning, match="The resumed run is to be 2 epochs"),
    ):
        trainer(LRDecay()).fit(Toy(head_and_backbone), ckpt_path=tmp_path / "saved.ckpt")


def test_two_of_them_are_refused_with_the_argument_that_does_it():
    run = trainer(LRDecay(), LRDecay(policies={"head": Cosine()}))
    with pytest.raises(MisconfigurationException, match=r"two callbacks LRDecay.*`LRDecay\(policies="):
        run.fit(Toy(head_and_backbone))


@pytest.mark.parametrize("first", [True, False])
def test_a_range_test_keeps_the_ratios_and_scales_every_policy(first):
    test, decay = (
        LRRangeTest(60, min_lr=1e-2, max_lr=5.0),
        LRDecay(policies={"head": Cosine()}, interval="step"),
    )
    callbacks = (test, decay) if first else (decay, test)
    backbone, head = traced(Learner(head_and_backbone, batches=40), *callbacks)
    found = test.suggestion.lr
    assert head == pytest.approx(by_step(Cosine(), found, 40))
    assert backbone == pytest.approx(by_step(Linear(), found / 5, 40))


def test_an_action_lowers_all_groups_and_their_policies_go_on():
    class Halve(Callback):
        def on_train_batch_end(self, trainer, *args):
            if trainer.global_step == 4:
                change_lr(trainer, base_lr(trainer) / 2)
                write_schedules(trainer)

    decay = LRDecay(policies={"head": Cosine(), "backbone": Constant(0.0)}, interval="step")
    backbone, head = traced(Toy(head_and_backbone), Halve(), decay)
    assert backbone == [0.0] * 10
    assert head == pytest.approx(
        [lr * (0.5 if step >= 4 else 1) for step, lr in enumerate(by_step(Cosine(), 0.1))]
    )


def test_an_lr_that_other_code_sets_changes_the_base_of_its_group_alone():
    class Set(Callback):
        def on_train_batch_end(self, trainer, *args):
            if trainer.global_step == 5:
                trainer.optimizers[0].param_groups[1]["lr"] *= 0.1

    decay = LRDecay(policies={"head": Cosine()}, interval="step")
    with pytest.warns(UserWarning, match=r"Other code changed a learning rate.*from 0\.05 to 0\.005"):
        backbone, head = traced(Toy(head_and_backbone), decay, Set())
    assert backbone == by_step(Linear(), 0.02)
    assert head[6:] == pytest.approx([0.1 * lr for lr in by_step(Cosine(), 0.1)[6:]])


class Stuck(Toy):
    def validation_step(self, batch, batch_idx):
        self.log("val_loss", 1.0)


@pytest.mark.parametrize("of_head", [True, False])
def test_a_cooldown_begins_for_the_groups_that_have_one_and_is_resumed(of_head, tmp_path):
    stable = WarmupStableDecay(2, shape="linear")

    def run(*more, **kwargs):
        common, own = (Constant(0.5), stable) if of_head else (stable, Constant(0.5))
        judge = PlateauDetector("val_loss", detector=Patience(1), on_plateau=StartCooldown(keeps_length=True))
        trace = LRTrace()
        run = trainer(LRDecay(common, policies={"head": own}), judge, trace, *more, max_epochs=9, **kwargs)
        return run, trace

    save = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1, save_on_train_epoch_end=False)
    whole, trace = run(save, enable_checkpointing=True)
    whole.fit(Stuck(head_and_backbone, batches=1))
    stays, cools = (
        zip(*trace.lrs.values(), strict=True)
        if of_head
        else zip(*map(reversed, trace.lrs.values()), strict=True)
    )
    base = 0.1 if of_head else 0.02
    assert len(cools) < 9
    assert list(cools)[-3:] == pytest.approx([base, base, base / 2])
    assert set(stays) == {0.5 * (0.02 if of_head else 0.1)}
    for file in tmp_path.glob("*.ckpt"):
        resumed, again = run()
        resumed.fit(Stuck(head_and_backbone, batches=1), ckpt_path=file)
        assert again.lrs == {step: lrs for step, lrs in trace.lrs.items() if step in again.lrs}
        assert len(again.lrs) == len(cools) - int(file.stem.removeprefix("epoch=")) - 1


def test_what_lrlogger_draws_is_what_each_group_follows(tmp_path):
    decay = LRDecay(policies={"head": Cosine(), "backbone": Constant(0.5)}, interval="step")
    run = trainer(decay, LRLogger(), root=tmp_path, max_epochs=1, log_every_n_steps=1)
    run.fit(Toy(head_and_backbone))
    curves = scalars(tmp_path)
    assert [y for _, y in curves["lr/SGD/head"]] == pytest.approx(by_step(Cosine(), 0.1))
    assert [y for _, y in curves["lr/SGD/backbone"]] == pytest.approx([0.01] * 10)
    assert [y for _, y in curves["lr_factor/SGD/backbone"]] == pytest.approx([0.5] * 10)


def test_what_is_told_when_the_warm_up_ends_and_what_is_doubted(tmp_path):
    decay = LRDecay(Linear(), policies={"head": Cosine(), "backbone": Constant(0.5)}, warmup=3)
    trainer(decay, root=tmp_path, max_epochs=1).fit(Toy(head_and_backbone))
    told = (tmp_path / "run" / "decisions.jsonl").read_text()
    assert "`head` by Cosine(end=0.0" in told
    assert "Of the group `head`: Cosine(end=0.0" in told
    assert "counts epochs, and this run has one" in told
    # No group has the common policy.
    assert "Linear(end=0.0, start=1.0) counts epochs" not in told


def test_a_test_is_careful_where_one_group_does_not_warm_up():
    rising = Linear(1.0, start=0.0)
    module = Toy(head_and_backbone)
    found = {}

    class Ask(Callback):
        def on_train_start(self, trainer, pl_module):
            found[len(found)] = decay.warms_up(trainer, pl_module)

    for policies in ({"head": rising}, {"head": rising, "backbone": rising}):
        decay = LRDecay(Constant(), policies=policies, interval="step")
        trainer(Ask(), decay).fit(module)
    assert found == {0: False, 1: True}


@pytest.mark.parametrize("value", [[Cosine()], Cosine(), {1: Cosine()}, "head"])
def test_policies_must_be_a_dict_by_names(value):
    with pytest.raises(TypeError, match=r"`LRDecay\(policies=...\)` must be a dict of policies by names"):
        LRDecay(policies=value)


@pytest.mark.parametrize(
    ("value", "answer"), [(Cosine, r"Write `Cosine\(\)`"), (0.5, "Wrap a function"), (math.sin, "Wrap")]
)
def test_each_of_them_must_be_a_policy(value, answer):
    with pytest.raises(TypeError, match=rf"`LRDecay\(policies=...\)\['head'\]` must be a Policy, .*{answer}"):
        LRDecay(policies={"head": value})


def test_the_name_of_the_schedule_and_what_it_can_do():
    decay = LRDecay(Constant(), policies={"a": WarmupStableDecay(2), "b": Cosine(), "c": Cosine()})
    assert decay.schedule_name == "LRDecay(WarmupStableDecay, Cosine)"
    assert decay.has_cooldown
    assert LRDecay(Constant(), policies={"a": Constant(0.1)}).schedule_name is None


def test_reduce_lr_is_the_action_where_policies_keep_the_lrs():
    judge = PlateauDetector("val_loss", detector=Patience(1), on_plateau=ReduceLR(0.5, final_decay=0))
    decay = LRDecay(Constant(), policies={"head": Constant(0.1)})
    backbone, head = traced(Stuck(head_and_backbone, batches=1), decay, judge, max_epochs=6)
    assert backbone[-1] < 0.02
    assert [lr / 0.1 / 0.1 for lr in head] == pytest.approx([lr / 0.02 for lr in backbone])
