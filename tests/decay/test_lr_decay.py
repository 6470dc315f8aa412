"""LRDecay in real fits: the LR of every step, whatever the Trainer does."""

import math

import pytest
import torch
from helpers.finders import Learner
from helpers.toy import LRTrace, ManualToy, Stream, Thawing, Toy, loader, trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import (
    BackboneFinetuning,
    GradientAccumulationScheduler,
    LearningRateMonitor,
    ModelCheckpoint,
)
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.plugins.precision import MixedPrecision

from lightning_lr import LRDecay, LRRangeTest
from lightning_lr.decay.doubts import doubts
from lightning_lr.decay.plan import Plan
from lightning_lr.decay.schedule import Schedule
from lightning_lr.fit.horizon import Horizon
from lightning_lr.fit.neighbors import write_schedules
from lightning_lr.plateau.actions.reduce import change_lr
from lightning_lr.policies import Constant, Cosine, Exponential, Function, Linear, MultiStep
from lightning_lr.rates import base_lr

# The resumed twin does without the ModelCheckpoint of the whole run, and Lightning tells.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`"),
    pytest.mark.filterwarnings("ignore:Using ModelCheckpoint with manual optimization"),
    pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended"),
]


def fit(module, *callbacks, trace=None, **kwargs):
    trace = trace or LRTrace()
    run = trainer(trace, *callbacks, **kwargs)
    run.fit(module)
    return trace


def linear_trace(total, base=0.1):
    return [base * Linear().factor(step, total) for step in range(total)]


@pytest.mark.parametrize("interval", ["epoch", "step"])
@pytest.mark.parametrize("policy", [Linear(), Cosine(), Exponential(gamma=0.9), MultiStep([1, 3])])
def test_the_trace_is_that_of_the_same_policy_as_a_lambda_lr(policy, interval):
    total = 4 if interval == "epoch" else 40

    class Scheduled(Toy):
        def configure_optimizers(self):
            optimizer = super().configure_optimizers()
            scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, policy.over(total))
            return [optimizer], [{"scheduler": scheduler, "interval": interval}]

    ours = fit(Toy(), LRDecay(policy, interval=interval), max_epochs=4)
    theirs = fit(Scheduled(), max_epochs=4)
    assert ours.lrs == theirs.lrs
    assert len(ours.lrs) == 40


@pytest.mark.parametrize("interval", ["epoch", "step"])
def test_every_callback_sees_the_lr_of_the_step_wherever_it_stands(interval, tmp_path):
    before, after = LRTrace(), LRTrace()

    used = []

    class AtOptimizerStep(Toy):
        def on_before_optimizer_step(self, optimizer):
            used.append([group["lr"] for group in optimizer.param_groups])

    module = AtOptimizerStep()
    decay = LRDecay(interval=interval, warmup=5)
    logger = CSVLogger(tmp_path)
    monitor = LearningRateMonitor(logging_interval="step")
    trainer(before, monitor, decay, after, max_epochs=3, logger=logger, log_every_n_steps=1).fit(module)
    assert list(before.lrs.values()) == list(after.lrs.values()) == used
    assert monitor.lrs["lr-SGD"] == [lrs[0] for lrs in used]
    assert len(used) == 30


def test_an_epoch_monitor_in_front_sees_the_lr_of_its_epoch():
    lrs = []

    class AtEpochStart(Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            lrs.append(trainer.optimizers[0].param_groups[0]["lr"])

    fit(Toy(), AtEpochStart(), LRDecay(), max_epochs=4)
    assert lrs == [0.1 * factor for factor in (1, 0.75, 0.5, 0.25)]


def test_group_ratios_and_frozen_groups_are_kept():
    def groups(parameters):
        weight, bias = parameters
        return torch.optim.SGD([{"params": [weight], "lr": 0.3}, {"params": [bias], "lr": 0.0}])

    trace = fit(Toy(groups), LRDecay(interval="step"), max_epochs=1)
    assert list(trace.lrs.values()) == [[lr, 0.0] for lr in linear_trace(10, base=0.3)]


def test_accumulation_counts_steps_not_batches():
    trace = fit(Toy(batches=10), LRDecay(interval="step"), accumulate_grad_batches=4)
    assert trace.first_group() == linear_trace(6)


def test_an_accumulation_schedule_is_foreseen():
    schedule = GradientAccumulationScheduler({0: 1, 1: 5})
    trace = fit(Toy(batches=10), schedule, LRDecay(interval="step"), max_epochs=2)
    assert trace.first_group() == linear_trace(12)


def adam_with_inf_batches(fused):
    class Overflowing(Toy):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            return loss * math.inf if batch_idx in (2, 3, 7) else loss

    return Overflowing(lambda parameters: torch.optim.Adam(parameters, lr=0.1, fused=fused))


@pytest.mark.parametrize("fused", [False, True])
def test_a_step_that_amp_skips_does_not_count(fused):
    precision = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=2.0))
    trace, decay = LRTrace(), LRDecay(interval="step")
    fit(adam_with_inf_batches(fused), decay, trace=trace, plugins=[precision], max_epochs=1)
    made = [0, 1, 2, 2, 2, 3, 4, 5, 5, 6]
    assert trace.first_group() == [0.1 * (1 - step / 10) for step in made]
    assert decay.state_dict()["step"] == 7


def test_manual_optimization_with_two_optimizers_decays_both_over_the_batches():
    trace = LRTrace()
    fit(ManualToy(), LRDecay(interval="step"), trace=trace, max_epochs=1)
    factors = [Linear().factor(batch, 10) for batch in range(10)]
    assert list(trace.lrs.values()) == [[0.1 * factor, 0.01 * factor] for factor in factors]


def test_manual_optimization_under_max_steps_ends_its_decay_with_the_run():
    trace = LRTrace()
    fit(ManualToy(), LRDecay(interval="step"), trace=trace, max_epochs=-1, max_steps=14)
    factors = [Linear().factor(step, 14) for step in range(0, 14, 2)]
    assert list(trace.lrs.values()) == [[0.1 * factor, 0.01 * factor] for factor in factors]


@pytest.mark.parametrize("limits", [{"max_steps": 17}, {"max_steps": 17, "max_epochs": -1}])
def test_max_steps_ends_the_decay(limits):
    assert fit(Toy(), LRDecay(interval="step"), **limits).first_group() == linear_trace(17)


def test_epochs_under_max_steps_end_with_the_epoch_that_is_cut_short():
    trace = fit(Toy(), LRDecay(), max_steps=25, max_epochs=-1)
    assert trace.first_group() == [0.1 * factor for factor in [1.0] * 10 + [1 - 1 / 3] * 10 + [1 - 2 / 3] * 5]


class Streamed(Toy):
    def train_dataloader(self):
        return torch.utils.data.DataLoader(Stream(self.batches), batch_size=None)


def test_a_stream_decays_by_epochs_or_up_to_max_steps():
    epochs = fit(Streamed(), LRDecay(), max_epochs=2)
    assert epochs.first_group() == [0.1] * 10 + [0.05] * 10
    steps = fit(Streamed(), LRDecay(interval="step"), max_steps=15)
    assert steps.first_group() == linear_trace(15)
    limited = fit(Streamed(), LRDecay(interval="step"), max_epochs=2, limit_train_batches=5)
    assert limited.first_group() == linear_trace(10)


def test_an_endless_run_takes_an_endless_policy():
    class StopAfter(Callback):
        def on_train_batch_end(self, trainer, *args):
            trainer.should_stop = trainer.global_step >= 13

    trace = fit(Toy(), LRDecay(Exponential(gamma=0.5)), StopAfter(), max_epochs=-1)
    assert trace.first_group() == [0.1] * 10 + [0.05] * 3


@pytest.mark.parametrize(
    ("module", "interval", "limits", "mend"),
    [
        (Toy(), "epoch", {"max_epochs": -1}, r"Set `Trainer\(max_epochs=...\)`"),
        (Streamed(), "step", {"max_epochs": 3}, r"Set `Trainer\(max_steps=...\)`.*limit_train_batches"),
        (ManualToy(), "epoch", {"max_epochs": -1, "max_steps": 8}, r"Set `Trainer\(max_epochs=...\)`"),
    ],
)
def test_a_policy_that_needs_the_end_refuses_a_run_without_one(module, interval, limits, mend):
    trace = LRTrace()
    with pytest.raises(MisconfigurationException, match=rf"Linear.*has to know when the run ends.*{mend}"):
        fit(module, LRDecay(interval=interval), trace=trace, **limits)
    assert trace.lrs == {}


def test_a_warmup_share_of_a_run_of_unknown_length_is_refused():
    with pytest.raises(MisconfigurationException, match="Give it as a count of steps"):
        fit(Streamed(), LRDecay(warmup=0.1), max_epochs=2)


def test_a_scheduler_in_configure_optimizers_is_refused_by_name():
    class Scheduled(Toy):
        def configure_optimizers(self):
            optimizer = super().configure_optimizers()
            return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1)]

    trace = LRTrace()
    with pytest.raises(
        MisconfigurationException, match=r"StepLR.*remove LRDecay.*return the optimizer alone"
    ):
        fit(Scheduled(), LRDecay(), trace=trace)
    assert trace.lrs == {}


def test_an_optimizer_without_lr_is_refused():
    class Rateless(torch.optim.Optimizer):
        def __init__(self, parameters):
            super().__init__(parameters, {})

        def step(self, closure=None):
            return closure()

    with pytest.raises(ValueError, match="Rateless has a parameter group without `lr`"):
        fit(Toy(Rateless), LRDecay())


def test_a_function_that_fails_late_fails_before_the_first_step():
    trace = LRTrace()
    with pytest.raises(ValueError, match="-1"):
        fit(Toy(), LRDecay(Function(lambda epoch: 1.0 if epoch < 3 else -1.0)), trace=trace, max_epochs=4)
    assert trace.lrs == {}


def test_a_table_with_one_entry_per_epoch_is_enough():
    table = [1.0, 0.5, 0.1]
    trace = fit(Toy(), LRDecay(Function(table.__getitem__)), max_epochs=3)
    assert trace.first_group() == [0.1 * factor for factor in table for _ in range(10)]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"policy": "cosine"}, TypeError, r"`LRDecay\(policy=...\)` must be a Policy, got 'cosine'"),
        ({"policy": abs}, TypeError, r"Wrap a function in `lightning_lr.policies.Function`"),
        ({"interval": "batch"}, ValueError, r"must be 'epoch' or 'step', got 'batch'"),
        ({"warmup": -1}, ValueError, r"`LRDecay\(warmup=...\)` must be"),
        ({"warmup": 1.5}, ValueError, r"`LRDecay\(warmup=...\)` must be"),
        ({"warmup": math.nan}, ValueError, r"`LRDecay\(warmup=...\)` must be"),
        ({"warmup": True}, TypeError, r"`LRDecay\(warmup=...\)` must be"),
        ({"warmup_start": 1.1}, ValueError, r"`LRDecay\(warmup_start=...\)` must be in \[0, 1\], got 1.1"),
        ({"warmup_shape": "exponential"}, ValueError, r"warmup_start=...\)` must be in \(0, 1\], got 0"),
        ({"warmup_shape": "log"}, ValueError, r"`LRDecay\(warmup_shape=...\)` must be 'linear' or"),
        ({"min_lr": -1}, ValueError, r"`LRDecay\(min_lr=...\)` must be in \[0, inf\)"),
        ({"min_lr": math.inf}, ValueError, r"`LRDecay\(min_lr=...\)` must be in \[0, inf\)"),
    ],
)
def test_bad_arguments_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        LRDecay(**arguments)


def test_the_plan_is_known_from_the_start_of_a_fit():
    decay = LRDecay(Cosine(), interval="step")
    with pytest.raises(RuntimeError, match="no plan before"):
        _ = decay.plan
    fit(Toy(), decay)
    assert decay.plan.horizon.steps == 20


def test_an_lr_that_other_code_changes_is_kept_and_told():
    class Halve(Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            if trainer.current_epoch == 1:
                trainer.optimizers[0].param_groups[0]["lr"] *= 0.5

    with pytest.warns(
        UserWarning, match="Other code changed a learning rate.*from 0.075 to 0.0375"
    ) as caught:
        trace = fit(Toy(), Halve(), LRDecay(), max_epochs=4)
    assert len([each for each in caught if "Other code" in str(each.message)]) == 1
    wanted = [0.1, 0.0375, 0.025, 0.0125]
    assert [trace.lrs[10 * epoch + 5][0] for epoch in range(4)] == pytest.approx(wanted)


class AddGroup(Callback):
    def __init__(self, **group):
        self.group = group

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == 1:
            extra = torch.nn.Parameter(torch.zeros(1))
            trainer.optimizers[0].add_param_group({"params": [extra], **self.group})


@pytest.mark.parametrize("first", [True, False])
def test_a_group_added_during_the_run_takes_its_lr_as_base(first):
    decay, trace = LRDecay(interval="step"), LRTrace()
    callbacks = [AddGroup(lr=0.2), decay] if first else [decay, AddGroup(lr=0.2)]
    told = r"a parameter group with lr 0\.2 was added while the LR is 0\.5 times.*taken to be 0\.2 \(the `lr`"
    with pytest.warns(UserWarning, match=told):
        fit(Toy(), *callbacks, trace=trace, max_epochs=2)
    used = [trace.lrs[step] for step in range(11, 20)]
    assert used == [[lr, 2 * lr] for lr in linear_trace(20)[11:]]


def test_a_group_added_with_a_base_has_that_one():
    trace = LRTrace()
    fit(Toy(), AddGroup(lr=0.1, initial_lr=0.2), LRDecay(interval="step"), trace=trace, max_epochs=2)
    assert [trace.lrs[step][1] for step in range(11, 20)] == linear_trace(20, base=0.2)[11:]


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("given", [{"backbone_initial_lr": 0.02}, {"backbone_initial_ratio_lr": 0.2}])
def test_a_thawed_group_begins_with_the_lr_that_lightning_gave_it(given, first, tmp_path):
    """Which has the decay in it where it follows from the LR of another group, and so is no base."""

    thaw = BackboneFinetuning(2, lambda_func=lambda epoch: 1.0, should_align=False, **given)
    decay, trace = LRDecay(Linear(), interval="step"), LRTrace()
    callbacks = [thaw, decay] if first else [decay, thaw]
    root = {"root": tmp_path, "max_epochs": 4}
    # At epoch 2 of 4 the other groups are at 0.1, half of their base.
    added = (
        r"with lr 0\.02 was added.* is 0\.5 times.*taken to be 0\.04 \(as BackboneFinetuning means it for now"
    )
    with pytest.warns(UserWarning, match=added), pytest.warns(UserWarning, match="Other code changed"):
        fit(Thawing(), *callbacks, trace=trace, **root)
    thawed = [trace.lrs[step][-1] for step in range(21, 30)]
    assert thawed == pytest.approx([0.04 * Linear().factor(step, 40) for step in range(21, 30)])
    # From the next epoch on, Lightning sets its LR at every start of one.
    assert trace.lrs[31][-1] == pytest.approx(0.02 * Linear().factor(31, 40) / Linear().factor(30, 40))


def checkpoints(root, **kwargs):
    return ModelCheckpoint(root, filename="{step}", save_top_k=-1, every_n_train_steps=1, **kwargs)


RUNS = {
    "epochs": ({"interval": "epoch"}, {"max_epochs": 3}),
    "steps": ({"interval": "step", "warmup": 0.2}, {"max_epochs": 3}),
    "epochs, warm-up": ({"interval": "epoch", "warmup": 7}, {"max_epochs": 3}),
    "max_steps": ({"interval": "step"}, {"max_epochs": -1, "max_steps": 17}),
    "epochs of max_steps": ({"interval": "epoch"}, {"max_epochs": -1, "max_steps": 17}),
    "accumulation": ({"interval": "step"}, {"max_epochs": 3, "accumulate_grad_batches": 3}),
}


@pytest.mark.parametrize("name", RUNS)
def test_a_run_resumed_at_any_step_has_the_trace_of_the_uninterrupted_one(name, tmp_path):
    arguments, limits = RUNS[name]
    whole = fit(Toy(batches=7), LRDecay(Cosine(), **arguments), checkpoints(tmp_path), **checkpointed(limits))
    files = sorted(tmp_path.glob("*.ckpt"))
    assert len(files) == len(whole.lrs)
    for file in files:
        resumed = LRTrace()
        trainer(resumed, LRDecay(Cosine(), **arguments), **limits).fit(Toy(batches=7), ckpt_path=file)
        start = int(file.stem.removeprefix("step="))
        assert resumed.lrs == {step: lrs for step, lrs in whole.lrs.items() if step >= start}


def checkpointed(limits):
    return {"enable_checkpointing": True, **limits}


@pytest.mark.parametrize(
    ("val", "at_epoch_end"),
    [
        ({}, True),
        ({}, False),
        ({"val_check_interval": 0.5}, True),
        ({"val_check_interval": 0.5}, False),
        ({"limit_val_batches": 0}, True),
    ],
)
@pytest.mark.parametrize("interval", ["epoch", "step"])
@pytest.mark.parametrize("limits", [{"max_epochs": 4}, {"max_epochs": -1, "max_steps": 25}])
def test_a_run_resumed_from_an_epochs_end_has_the_same_trace(val, at_epoch_end, interval, limits, tmp_path):
    if val.get("limit_val_batches") == 0 and "max_steps" in limits and interval == "epoch":
        pytest.skip("Lightning 2.6 itself resumes such a run one batch late, so that its epochs are others")
    save = ModelCheckpoint(tmp_path, filename="{step}", save_top_k=-1, save_on_train_epoch_end=at_epoch_end)
    whole = fit(Toy(batches=8), LRDecay(interval=interval), save, **checkpointed(limits), **val)
    files = sorted(tmp_path.glob("*.ckpt"))
    assert len(files) >= 3
    for file in files:
        resumed = LRTrace()
        run = trainer(resumed, LRDecay(interval=interval), **limits, **val)
        run.fit(Toy(batches=8), ckpt_path=file)
        start = int(file.stem.removeprefix("step="))
        assert resumed.lrs == {step: lrs for step, lrs in whole.lrs.items() if step >= start}


@pytest.mark.parametrize("limits", [{"max_epochs": 3}, {"max_epochs": -1, "max_steps": 30}])
def test_manual_optimization_resumes_exactly(limits, tmp_path):
    whole = fit(ManualToy(batches=7), LRDecay(interval="step"), checkpoints(tmp_path), **checkpointed(limits))
    files = sorted(tmp_path.glob("*.ckpt"))
    assert len(files) >= 15
    for file in files:
        resumed = LRTrace()
        trainer(resumed, LRDecay(interval="step"), **limits).fit(ManualToy(batches=7), ckpt_path=file)
        assert resumed.lrs == {step: lrs for step, lrs in whole.lrs.items() if step in resumed.lrs}
        start = int(file.stem.removeprefix("step="))
        assert resumed.lrs.keys() == {step for step in whole.lrs if step >= start}


def test_amp_skips_before_the_interruption_are_remembered(tmp_path):
    def plugins():
        return [MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=2.0))]

    module = adam_with_inf_batches(fused=False)
    decay = LRDecay(interval="step")
    whole = fit(module, decay, checkpoints(tmp_path), plugins=plugins(), **checkpointed({"max_epochs": 1}))
    for file in tmp_path.glob("*.ckpt"):
        resumed = LRTrace()
        run = trainer(resumed, LRDecay(interval="step"), plugins=plugins(), max_epochs=1)
        run.fit(adam_with_inf_batches(fused=False), ckpt_path=file)
        start = int(file.stem.removeprefix("step="))
        assert resumed.lrs == {step: lrs for step, lrs in whole.lrs.items() if step >= start}


def saved_after(tmp_path, *callbacks, **limits):
    file = tmp_path / "saved.ckpt"
    run = trainer(*callbacks, **limits)
    run.fit(Toy())
    run.save_checkpoint(file)
    return file


def test_a_longer_run_continues_on_the_new_plan_and_says_so_once(tmp_path):
    file = saved_after(tmp_path, LRDecay(), max_epochs=2)
    resumed = LRTrace()
    with pytest.warns(UserWarning, match=r"to be 4 epochs \(40 steps\) long.*0.5 instead of 0") as caught:
        trainer(resumed, LRDecay(), max_epochs=4).fit(Toy(), ckpt_path=file)
    assert len([each for each in caught if "plan of the new length" in str(each.message)]) == 1
    assert resumed.first_group() == [0.05] * 10 + [0.025] * 10


def test_a_checkpoint_from_before_the_callback_was_added_is_continued(tmp_path):
    file = saved_after(tmp_path, max_epochs=1)
    for interval, wanted in (("step", linear_trace(20)[10:]), ("epoch", [0.05] * 10)):
        resumed = LRTrace()
        trainer(resumed, LRDecay(interval=interval), max_epochs=2).fit(Toy(), ckpt_path=file)
        assert resumed.first_group() == wanted


def test_a_callback_serves_one_fit_after_another():
    decay = LRDecay(interval="step")
    assert fit(Toy(), decay).first_group() == linear_trace(20)
    assert fit(Toy(), decay, max_epochs=1).first_group() == linear_trace(10)


def test_a_fit_that_is_continued_in_the_same_trainer_goes_on():
    trace, decay = LRTrace(), LRDecay(Constant(), interval="step", warmup=30)
    run = trainer(trace, decay, max_epochs=1)
    module = Toy()
    run.fit(module)
    run.fit_loop.max_epochs = 2
    run.fit(module)
    assert decay.state_dict()["step"] == 20
    assert trace.first_group()[10:] == pytest.approx([0.1 * step / 30 for step in range(10, 20)])


def test_an_exception_leaves_no_hook_behind():
    class Fails(Toy):
        def training_step(self, batch, batch_idx):
            if batch_idx == 3:
                raise RuntimeError("broken")
            return super().training_step(batch, batch_idx)

    module, decay = Fails(), LRDecay(interval="step")
    run = trainer(decay)
    with pytest.raises(RuntimeError, match="broken"):
        run.fit(module)
    run.optimizers[0].step()
    assert decay.state_dict()["step"] == 3


def test_steps_made_outside_a_batch_do_not_count():
    class Rehearse(Callback):
        def on_train_start(self, trainer, pl_module):
            trainer.optimizers[0].step()

    decay = LRDecay(interval="step")
    fit(Toy(), decay, Rehearse(), max_epochs=1)
    assert decay.state_dict()["step"] == 10


def test_validation_alone_needs_nothing():
    trainer(LRDecay()).validate(Toy(), loader(3), verbose=False)


@pytest.mark.parametrize(
    ("policy", "answer"),
    [(Cosine, r"Write `Cosine\(\)`"), ("cosine", r"Write `Cosine\(\)`"), ("StepLR", r"Step\(size=")],
)
def test_a_class_or_a_name_is_answered_with_what_to_write(policy, answer):
    with pytest.raises(TypeError, match=answer):
        LRDecay(policy)


@pytest.mark.parametrize(
    ("shape", "wanted"),
    [
        ("linear", [0.2, 0.4, 0.6, 0.8, 1.0, 1.0]),
        ("cosine", [0.2, 0.31715728752538104, 0.6, 0.882842712474619, 1.0, 1.0]),
        ("exponential", [0.2, 0.2990697562442441, 0.447213595499958, 0.668740304976422, 1.0, 1.0]),
        ("1-sqrt", [0.2, 0.3071796769724491, 0.4343145750507619, 0.6, 1.0, 1.0]),
    ],
)
def test_a_warmup_starts_where_it_is_told_and_rises_in_its_shape(shape, wanted):
    decay = LRDecay(Constant(), interval="step", warmup=4, warmup_start=0.2, warmup_shape=shape)
    trace = fit(Toy(), decay, max_epochs=1)
    assert trace.first_group()[:6] == pytest.approx([0.1 * factor for factor in wanted])


def test_the_ramp_of_torchs_linear_lr():
    class Scheduled(Toy):
        def configure_optimizers(self):
            optimizer = super().configure_optimizers()
            scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=0.25, total_iters=5)
            return [optimizer], [{"scheduler": scheduler, "interval": "step"}]

    ours = fit(Toy(), LRDecay(Constant(), interval="step", warmup=5, warmup_start=0.25), max_epochs=1)
    assert ours.first_group() == pytest.approx(fit(Scheduled(), max_epochs=1).first_group())


def test_a_first_step_that_is_not_at_zero():
    decay = LRDecay(Constant(), interval="step", warmup=4, warmup_start=1 / 5)
    assert fit(Toy(), decay, max_epochs=1).first_group()[:6] == pytest.approx(
        [0.1 * min(1, (step + 1) / 5) for step in range(6)]
    )


def two_groups_and_a_low_one(parameters):
    weight, bias = parameters
    return torch.optim.SGD([{"params": [weight], "lr": 0.1}, {"params": [bias], "lr": 0.001}])


def test_an_absolute_floor_holds_for_each_group_after_the_ramp_and_raises_none_above_its_base():
    decay = LRDecay(Linear(), interval="step", warmup=2, warmup_start=0.1, min_lr=0.03)
    trace = fit(Toy(two_groups_and_a_low_one), decay, max_epochs=1)
    first, second = zip(*trace.lrs.values(), strict=True)
    factors = [Linear().factor(step, 8) for step in range(8)]
    assert first == pytest.approx([0.01, 0.055, *(max(0.1 * factor, 0.03) for factor in factors)])
    assert min(first[2:]) == 0.03
    assert second == pytest.approx([0.0001, 0.00055, *[0.001] * 8])


class Rescale(Callback):
    """Halves the base LRs as an action of PlateauDetector does."""

    def __init__(self, step):
        self.step = step

    def on_train_batch_end(self, trainer, *args):
        if trainer.global_step == self.step:
            change_lr(trainer, base_lr(trainer) / 2)
            write_schedules(trainer)


@pytest.mark.parametrize("first", [True, False])
def test_a_base_that_is_rescaled_at_the_floor_is_no_change_by_other_code(first):
    decay, rescaling = LRDecay(Linear(), interval="step", min_lr=0.03), Rescale(8)
    trace = fit(Toy(), *((rescaling, decay) if first else (decay, rescaling)), max_epochs=1)
    assert trace.first_group()[7:] == pytest.approx([0.03] * 3)
    sooner = LRTrace()
    run = trainer(LRDecay(Linear(), interval="step", min_lr=0.03), Rescale(2), sooner, max_epochs=1)
    run.fit(Toy())
    wanted = [0.1, 0.09, *(max(0.05 * (1 - step / 10), 0.03) for step in range(2, 10))]
    assert sooner.first_group() == pytest.approx(wanted)
    assert run.optimizers[0].param_groups[0]["initial_lr"] == 0.05


def test_an_lr_that_other_code_sets_at_the_floor_is_kept_as_a_base_above_it():
    class Set(Callback):
        def on_train_batch_end(self, trainer, *args):
            if trainer.global_step == 8:
                trainer.optimizers[0].param_groups[0]["lr"] = 0.06

    decay = LRDecay(Linear(), interval="step", min_lr=0.03)
    with pytest.warns(UserWarning, match=r"Other code changed a learning rate.*from 0\.03 to 0\.06"):
        trace = fit(Toy(), decay, Set(), max_epochs=1)
    # Twice the LR is twice the base.
    assert trace.first_group()[-1] == pytest.approx(max(0.2 * 0.1, 0.03))


@pytest.mark.parametrize("first", [True, False])
def test_a_floor_is_absolute_whatever_base_a_range_test_finds(first):
    test = LRRangeTest(40, min_lr=1e-4, max_lr=1.0)
    decay = LRDecay(Linear(), interval="step", min_lr=0.002)
    trace = fit(Learner(batches=40), *((test, decay) if first else (decay, test)), max_epochs=1)
    found = test.suggestion.lr
    assert found != 0.1
    wanted = [max(found * (1 - step / 40), 0.002) for step in range(40)]
    assert trace.first_group() == pytest.approx(wanted)


@pytest.mark.parametrize("tensor", [False, True])
def test_a_run_with_a_floor_and_a_ramp_of_another_shape_resumes_exactly(tensor, tmp_path):
    def module():
        lr = torch.tensor(0.1) if tensor else 0.1
        return Toy(lambda parameters: torch.optim.Adam(parameters, lr=lr), batches=5)

    def decay():
        ramp = {"warmup": 0.3, "warmup_start": 0.01, "warmup_shape": "exponential"}
        return LRDecay(Cosine(), interval="step", min_lr=0.03, **ramp)

    whole = fit(module(), decay(), checkpoints(tmp_path), **checkpointed({"max_epochs": 3}))
    assert min(whole.first_group()[5:]) == pytest.approx(0.03)
    for file in tmp_path.glob("*.ckpt"):
        resumed = LRTrace()
        trainer(resumed, decay(), max_epochs=3).fit(module(), ckpt_path=file)
        start = int(file.stem.removeprefix("step="))
        assert resumed.lrs == {step: lrs for step, lrs in whole.lrs.items() if step >= start}


def test_a_checkpoint_of_before_names_the_plan_as_it_was():
    assert (
        LRDecay(warmup=3).settings.text == "LRDecay(Linear(end=0.0, start=1.0), interval='epoch', warmup=3)"
    )
    assert LRDecay(min_lr=1e-5).settings.text.endswith("warmup=0, min_lr=1e-05)")


def test_a_floor_that_is_not_below_the_base_is_told(tmp_path):
    trainer(LRDecay(min_lr=0.1), root=tmp_path, max_epochs=1).fit(Toy())
    [told] = [
        line for line in (tmp_path / "run" / "decisions.jsonl").read_text().splitlines() if "min_lr" in line
    ]
    assert "`min_lr=0.1` is not below the base LR 0.1" in told
    trainer(LRDecay(min_lr=0.05), root=tmp_path / "other", max_epochs=1).fit(Toy())
    assert not any("min_lr" in each.read_text() for each in (tmp_path / "other").rglob("decisions.jsonl"))


def test_the_settings_of_a_ramp_without_a_length_are_told():
    told = list(doubts(Schedule(Plan(Linear(), "step", 0, Horizon(10, 1), warmup_start=0.1))))
    assert told[0].startswith(
        "`warmup_start` and `warmup_shape` say how a warm-up rises, and this run has none"
    )
    longer = Plan(Linear(), "step", 20, Horizon(11, 1), warmup_start=0.5)
    assert "reaches no more than 75% of what it should" in doubts(Schedule(longer))[0]
