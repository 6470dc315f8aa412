"""The plan of a Trainer and a module: the numbers of the fit that they would make."""

import math

import pytest
import torch
from helpers.planned import planned, traced, two_groups
from helpers.toy import ManualToy, Stream, Toy, trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import GradientAccumulationScheduler, ModelCheckpoint, Timer

from lightning_lr import LRDecay, LRLogger, LRRangeTest, LRSearch
from lightning_lr.policies import (
    Constant,
    Cosine,
    Exponential,
    Function,
    Linear,
)
from lightning_lr.preview.of_fit import preview_of_fit


@pytest.mark.parametrize("interval", ["epoch", "step"])
@pytest.mark.parametrize(
    "settings",
    [
        {"max_epochs": 4},
        {"max_epochs": 3, "accumulate_grad_batches": 4},
        {"max_epochs": 9, "max_steps": 25},
        {"max_steps": 25},
        {"max_epochs": 3, "limit_train_batches": 7},
        {"max_epochs": 3, "limit_train_batches": 0.5},
        {"max_epochs": 3, "overfit_batches": 2},
        {"fast_dev_run": 3},
    ],
    ids=str,
)
def test_the_plan_of_a_trainer_has_the_steps_and_lrs_of_its_fit(settings, interval):
    decay = {"policy": Cosine(end=0.1), "interval": interval, "warmup": 0.2}
    plan = preview_of_fit(trainer(LRDecay(**decay), **settings), Toy(two_groups))
    used = traced(Toy(two_groups), LRDecay(**decay), **settings)
    assert list(plan.base_lrs) == ["lr/SGD/pg1", "lr/SGD/bias"]
    assert planned(plan) == used


@pytest.mark.filterwarnings("ignore:When using .* to accumulate gradients:UserWarning")
def test_an_accumulation_schedule_moves_the_starts_of_the_epochs():
    schedule = GradientAccumulationScheduler({1: 4, 3: 2})
    decay = LRDecay(Linear(), warmup=4)
    plan = preview_of_fit(trainer(decay, schedule, max_epochs=5), Toy())
    assert plan.timeline.epoch_starts == (0, 10, 13, 16, 21)
    used = traced(
        Toy(), LRDecay(Linear(), warmup=4), GradientAccumulationScheduler({1: 4, 3: 2}), max_epochs=5
    )
    assert planned(plan) == used


@pytest.mark.parametrize("bounds", [{"max_epochs": 2}, {"max_steps": 14}], ids=["batches", "steps"])
def test_manual_optimization_is_counted_as_lrdecay_counts_it(bounds):
    decay = {"policy": Linear(), "interval": "step", "warmup": 0.5}
    plan = preview_of_fit(trainer(LRDecay(**decay), **bounds), ManualToy())
    batches = traced(ManualToy(), LRDecay(**decay), **bounds)
    # The Trainer counts a step of each of the two optimizers.
    every = 2 if "max_steps" in bounds else 1
    assert planned(plan)[::every] == batches
    assert plan.unit == ("batch" if every == 1 else "optimizer step")
    assert list(plan.base_lrs.values()) == [0.1, 0.01]
    assert plan.figure().axes[0].get_xlabel() == plan.unit


def test_a_stream_is_shown_in_epochs_where_only_they_bound_it():
    class Streamed(Toy):
        def train_dataloader(self):
            return torch.utils.data.DataLoader(Stream(), batch_size=None)

    plan = preview_of_fit(trainer(LRDecay(Linear()), max_epochs=4), Streamed())
    assert [(each.step, each.epoch, each.factor) for each in plan.every_step()] == [
        (None, 0, 1.0),
        (None, 1, 0.75),
        (None, 2, 0.5),
        (None, 3, 0.25),
    ]
    assert "step" not in str(plan).splitlines()[2]
    with pytest.raises(
        MisconfigurationException, match=r"how many steps an epoch makes.*limit_train_batches"
    ):
        preview_of_fit(trainer(LRDecay(Exponential(0.9)), max_steps=40), Streamed())
    with pytest.raises(MisconfigurationException, match="how many steps an epoch makes"):
        preview_of_fit(trainer(LRDecay(Linear(), warmup=3), max_epochs=4), Streamed())


def test_each_of_several_processes_gets_its_share_of_the_data():
    # 10 batches of 4 for one process, 10 samples for each of four.
    alone = preview_of_fit(trainer(LRDecay(), max_epochs=2), Toy())
    of_four = trainer(LRDecay(), max_epochs=2, devices=4, strategy="ddp")
    assert of_four.world_size == 4
    assert (alone.timeline.length, preview_of_fit(of_four, Toy()).timeline.length) == (20, 6)
    own_sampler = trainer(LRDecay(), max_epochs=2, devices=4, strategy="ddp", use_distributed_sampler=False)
    assert preview_of_fit(own_sampler, Toy()).timeline.length == 20


def test_nothing_is_trained_logged_or_saved(tmp_path):
    calls = []

    class Loud(Callback):
        def __getattribute__(self, name):
            if name.startswith(("on_", "setup", "teardown")):
                calls.append(name)
            return super().__getattribute__(name)

    class Careful(Toy):
        def training_step(self, batch, batch_idx):
            raise AssertionError

        validation_step = on_before_optimizer_step = on_train_end = training_step

        def configure_callbacks(self):
            return [ModelCheckpoint(tmp_path / "more"), Loud(), LRDecay(Cosine(), interval="step")]

        def on_fit_start(self):
            self.logger.experiment.add_text("started", "yes")

    run = trainer(
        LRRangeTest(), Loud(), ModelCheckpoint(), LRLogger(), root=tmp_path, enable_checkpointing=True
    )
    module = Careful()
    before = {name: each.clone() for name, each in module.state_dict().items()}
    plan = preview_of_fit(run, module)
    assert (plan.plan.policy, plan.found_by) == (Cosine(), "LRRangeTest")
    assert calls == []
    assert list(tmp_path.iterdir()) == []
    assert all(torch.equal(each, before[name]) for name, each in module.state_dict().items())


@pytest.mark.parametrize("finder", [LRRangeTest(), LRSearch()], ids=["LRRangeTest", "LRSearch"])
def test_an_lr_that_is_going_to_be_found_is_not_guessed(finder):
    plan = preview_of_fit(trainer(finder, LRDecay()), Toy())
    assert f"base LR: found at fit start by {type(finder).__name__}, in place of 0.1" in str(plan)
    assert all(step.lrs == {} for step in plan.every_step())
    assert type(finder).__name__ in plan.figure().axes[0].get_ylabel()
    assert max(plan.figure().axes[0].lines[0].get_ydata()) == 1


@pytest.mark.parametrize(
    ("finder", "settings"),
    [(LRRangeTest(apply=False), {}), (LRRangeTest(), {"fast_dev_run": True})],
    ids=["to look only", "fast_dev_run"],
)
def test_an_lr_that_stays_is_shown(finder, settings):
    assert preview_of_fit(trainer(finder, LRDecay(), **settings), Toy()).every_step()[0].lrs == {
        "lr/SGD": 0.1
    }


class Scheduled(Toy):
    def configure_optimizers(self):
        optimizer = super().configure_optimizers()
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1)]


@pytest.mark.parametrize(
    ("module", "callbacks", "settings", "message"),
    [
        (Toy, [], {}, "There is no LRDecay among the callbacks.*Add `lightning_lr.LRDecay`"),
        (Scheduled, [], {}, "scheduler StepLR of `configure_optimizers`, which is not previewed"),
        (Scheduled, [LRDecay()], {}, "two writers of one learning rate"),
        (Toy, [LRDecay()], {"max_epochs": -1}, r"has to know when the run ends.*Set `Trainer\(max_epochs"),
        (Toy, [LRDecay(Constant())], {"max_epochs": -1}, r"has no end.*Set `Trainer\(max_epochs=\.\.\.\)`"),
        (Toy, [LRDecay(Constant()), Timer("00:01:00:00")], {"max_epochs": None}, "has no end"),
        (Toy, [LRDecay()], {"limit_train_batches": 0}, "trains nothing"),
        (Toy, [LRDecay()], {"max_epochs": 0}, "trains nothing"),
    ],
    ids=["no LRDecay", "scheduler", "both", "needs end", "no end", "max_time", "no batches", "no epochs"],
)
def test_what_cannot_be_previewed_says_what_to_do(module, callbacks, settings, message):
    with pytest.raises(MisconfigurationException, match=message):
        preview_of_fit(trainer(*callbacks, **settings), module())


def test_a_policy_that_fails_late_in_the_run_fails_here():
    late = Function(lambda epoch: math.nan if epoch == 3 else 1.0)
    with pytest.raises(ValueError, match="nan"):
        preview_of_fit(trainer(LRDecay(late), max_epochs=5), Toy())
