"""The test over real batches: what it finds, what it takes back, and what it leaves."""

import pytest
import torch
from helpers.dry_run import OneShot, adamw
from helpers.toy import LRTrace, ManualToy, Toy, scalars, trainer
from helpers.twin import Net
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader, IterableDataset

from lightning_lr import LRDecay, LRLogger, LRRangeTest
from lightning_lr.finders import MinimumOver, Suggestion
from lightning_lr.policies import Constant, Linear

BOUNDS = {"min_lr": 1e-4, "max_lr": 10.0, "num_steps": 30, "rule": MinimumOver(), "live": True}


class Weights(Callback):
    """Keeps the weights that every batch begins with."""

    def __init__(self):
        self.before = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.before.append([each.detach().clone() for each in pl_module.parameters()])


def is_same(one, other):
    return all(torch.equal(first, second) for first, second in zip(one, other, strict=True))


class Lesson(IterableDataset):
    """A stream with something to learn in it."""

    def __init__(self, batches=60):
        self.batches = batches

    def __iter__(self):
        generator = torch.Generator().manual_seed(0)
        for _ in range(self.batches):
            features = torch.randn(64, 4, generator=generator)
            yield features, 3 * features.sum(1, keepdim=True)


class Learner(Toy):
    def train_dataloader(self):
        return DataLoader(Lesson(self.batches), batch_size=None)


class ManualLearner(ManualToy, Learner):
    pass


@pytest.mark.parametrize("make", [Learner, ManualLearner])
def test_weights_and_optimizers_go_back_and_the_lr_found_is_used(make):
    test, weights, trace = LRRangeTest(**BOUNDS), Weights(), LRTrace()
    module = make(batches=60)
    trainer(test, weights, trace, max_epochs=1).fit(module)
    assert isinstance(test.suggestion, Suggestion)
    ramped = len(test.curve.lrs) + 1
    assert is_same(weights.before[0], weights.before[ramped])
    assert not is_same(weights.before[0], weights.before[ramped - 1])
    lrs = list(trace.lrs.values())
    assert [lr for lr, *_ in lrs[: len(test.curve.lrs)]] == pytest.approx(test.curve.lrs)
    assert all(each[0] == test.suggestion.lr for each in lrs[ramped:])


@pytest.mark.filterwarnings("ignore:.*`dataloader_iter`")
def test_a_step_that_takes_its_own_batches_can_be_tested():
    class Own(Learner):
        def training_step(self, dataloader_iter):
            batch, _, _ = next(dataloader_iter)
            return self.loss(batch)

    test = LRRangeTest(**BOUNDS)
    trainer(test, max_epochs=1).fit(Own(batches=60))
    assert isinstance(test.suggestion, Suggestion)


def test_a_stream_that_ends_too_soon_leaves_the_module_as_it_was():
    class Short(Toy):
        def train_dataloader(self):
            return DataLoader(OneShot(), batch_size=None)

    test, module = LRRangeTest(**BOUNDS), Short()
    before = [each.detach().clone() for each in module.parameters()]
    run = trainer(test, max_epochs=1)
    run.fit(module)
    assert is_same(before, list(module.parameters()))
    assert "Only 4 finite losses" in test.suggestion.reason
    assert run.optimizers[0].param_groups[0]["lr"] == 0.1


def test_micro_batches_are_one_step():
    test = LRRangeTest(**BOUNDS)
    trainer(test, max_epochs=1, accumulate_grad_batches=3).fit(Learner(batches=120))
    assert isinstance(test.suggestion, Suggestion)
    assert len(test.curve.lrs) <= 30


@pytest.mark.parametrize("order", [1, -1])
def test_a_decay_beside_it_goes_on_from_the_lr_found(order):
    test, decay, trace = LRRangeTest(**BOUNDS), LRDecay(Constant(), interval="step", warmup=50), LRTrace()
    trainer(*[test, decay][::order], trace, max_epochs=1).fit(Learner(batches=60))
    made = len(test.curve.lrs) + 1
    lrs = trace.first_group()[made + 1 :]
    wanted = [test.suggestion.lr * min(1, step / 50) for step in range(made + 1, 60)]
    assert lrs == pytest.approx(wanted)


@pytest.mark.parametrize("order", [1, -1])
def test_a_plan_that_has_gone_on_meanwhile_has_the_lr_found_as_the_highest_of_its_rest(order):
    test, trace = LRRangeTest(**BOUNDS), LRTrace()
    decay = LRDecay(Linear(), interval="step")
    trainer(*[test, decay][::order], trace, max_epochs=1, max_steps=60).fit(Learner(batches=60))
    after = trace.first_group()[len(test.curve.lrs) + 1 :]
    # The batch on which the ramp ends is the first of the rest.
    assert len(after) > 20
    assert max(after) == after[0] == pytest.approx(test.suggestion.lr)
    assert after[-1] == pytest.approx(after[0] / len(after))


def test_the_logger_shows_the_ramp(tmp_path):
    test = LRRangeTest(**BOUNDS)
    trainer(test, LRLogger(), root=tmp_path, max_epochs=1).fit(Learner(batches=60))
    shown = [lr for _, lr in scalars(tmp_path)["lr/SGD"]]
    assert shown[: len(test.curve.lrs)] == pytest.approx(test.curve.lrs)
    assert shown[-1] == pytest.approx(test.suggestion.lr)


def test_an_error_puts_everything_back():
    class Breaks(Net):
        def training_step(self, batch, batch_idx):
            if batch_idx == 4:
                raise ValueError("broken")
            return super().training_step(batch, batch_idx)

    module = Breaks(adamw)
    before = [each.detach().clone() for each in module.parameters()]
    with pytest.raises(ValueError, match="broken"):
        trainer(LRRangeTest(**BOUNDS), max_epochs=1).fit(module)
    assert is_same(before, list(module.parameters()))


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
def test_a_ramp_that_is_cut_off_begins_again_from_where_it_began(tmp_path):
    class Cut(Weights):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            if trainer.global_step >= 12:
                raise KeyboardInterrupt

    def adam(parameters):
        return torch.optim.Adam(parameters, lr=0.1)

    cut, saver = Cut(), ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=4, save_top_k=-1)
    fit = trainer(LRRangeTest(**BOUNDS), saver, cut, max_epochs=1, enable_checkpointing=True)
    with pytest.raises(SystemExit):
        fit.fit(Learner(adam, batches=90))
    test, weights, trace = LRRangeTest(**BOUNDS), Weights(), LRTrace()
    resumed = trainer(test, weights, trace, max_epochs=1)
    saved = tmp_path / "step=8.ckpt"
    resumed.fit(Learner(adam, batches=90), ckpt_path=saved, weights_only=True)
    assert is_same(weights.before[0], cut.before[0])
    assert test.curve.lrs[0] == pytest.approx(1e-4)
    assert isinstance(test.suggestion, Suggestion)
    assert trace.first_group()[-1] == test.suggestion.lr
    [state] = torch.load(saved)["optimizer_states"]
    assert state["param_groups"][0]["lr"] == 0.1
    assert not state["state"]


@pytest.mark.parametrize(
    "arguments", [{"max_lr": None}, {"min_lr": None}, {"repeats": 2}, {"milestones": (0, 1)}]
)
def test_what_it_cannot_do_is_refused(arguments):
    with pytest.raises(ValueError, match=r"`LRRangeTest\(live=True\)` ramps once"):
        LRRangeTest(**(BOUNDS | arguments))
