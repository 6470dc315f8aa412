"""LRDecay counts what its plan counts, whatever the module makes of its steps and its optimizers."""

import pytest
import torch
from helpers.toy import ManualToy, Toy, trainer
from lightning.pytorch import Callback
from lightning.pytorch.plugins.precision import MixedPrecision
from torch.optim import SGD, Adam

from lightning_lr import LRDecay
from lightning_lr.policies import Linear

BATCHES, EPOCHS = 6, 2
STEPS = BATCHES * EPOCHS


class LROfBatches(Callback):
    """Notes the LRs that every batch begins with."""

    def __init__(self):
        self.lrs = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.lrs.append([group["lr"] for each in trainer.optimizers for group in each.param_groups])


def lrs_of(module, *, scaled=False, **kwargs):
    trace, decay = LROfBatches(), LRDecay(Linear(), interval="step")
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    options = {"plugins": [MixedPrecision("16-mixed", "cpu", scaler)]} if scaled else {}
    trainer(decay, trace, **({"max_epochs": EPOCHS} | options | kwargs)).fit(module)
    return [lrs[0] for lrs in trace.lrs] if all(len(lrs) == 1 for lrs in trace.lrs) else trace.lrs


def falling(steps=STEPS, base=0.1):
    return pytest.approx([base * (1 - step / steps) for step in range(steps)])


def sgd(parameters):
    return SGD(parameters, lr=0.1)


class EverySecond(Toy):
    def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure):
        if batch_idx % 2:
            optimizer.step(closure=optimizer_closure)
        else:
            optimizer_closure()


class Twice(Toy):
    def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure):
        optimizer.step(closure=optimizer_closure)
        optimizer.step(closure=optimizer_closure)


@pytest.mark.parametrize("kind", [Toy, EverySecond, Twice])
def test_a_batch_is_a_step_whatever_optimizer_step_makes_of_it(kind):
    assert lrs_of(kind(sgd, batches=BATCHES)) == falling()


class Counted(SGD):
    """Counts its steps; the scaler does not call those that it skips."""

    made = 0

    def step(self, closure=None):
        Counted.made += 1
        return super().step(closure)


class Overflowing(Toy):
    """Has gradients that overflow in some of its batches."""

    def loss(self, batch):
        loss = super().loss(batch)
        return loss * float("inf") if self.trainer.global_step % 4 == 1 else loss


def test_a_step_that_the_scaler_skips_does_not_count():
    Counted.made = 0
    lrs = lrs_of(Overflowing(lambda each: Counted(each, lr=0.1), batches=BATCHES), scaled=True)
    skipped = [0.1 * (1 - (step - (step + 2) // 4) / STEPS) for step in range(STEPS)]
    assert lrs == pytest.approx(skipped)
    assert Counted.made == STEPS * 3 // 4


class Accumulating(ManualToy):
    """Accumulates by hand, and steps on every third batch."""

    def training_step(self, batch, batch_idx):
        self.manual_backward(self.loss(batch))
        if batch_idx % 3 == 2:
            self.optimizers().step()
            self.optimizers().zero_grad()

    def configure_optimizers(self):
        return sgd(self.parameters())


def test_accumulation_by_hand_counts_in_the_unit_that_bounds_the_run():
    assert lrs_of(Accumulating(batches=BATCHES)) == falling()
    by_steps = lrs_of(Accumulating(batches=BATCHES), max_steps=4, max_epochs=-1)
    assert by_steps == pytest.approx([0.1 * (1 - batch // 3 / 4) for batch in range(12)])


class SetUpAnew(Toy):
    """Sets its optimizers up anew in the second epoch, in one of three ways."""

    def __init__(self, way):
        super().__init__(lambda parameters: Adam(parameters, lr=0.1), batches=BATCHES)
        self.way = way

    def on_train_epoch_start(self):
        if self.trainer.current_epoch != 1:
            return
        if self.way == "strategy":
            self.trainer.strategy.setup_optimizers(self.trainer)
        elif self.way == "trainer":
            self.trainer.optimizers = [SGD(self.parameters(), lr=0.1)]
        else:
            [optimizer] = self.trainer.optimizers
            optimizer.param_groups[0] = {**optimizer.param_groups[0], "lr": 0.1}
            del optimizer.param_groups[0]["initial_lr"]


@pytest.mark.filterwarnings("ignore:LRDecay. a parameter group with lr")
@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("way", ["strategy", "trainer", "group"])
def test_the_plan_goes_on_with_optimizers_and_groups_of_later(way, scaled):
    assert lrs_of(SetUpAnew(way), scaled=scaled) == falling()


class Unhooked(SGD):
    """An optimizer that never calls hooks, as one whose constructor torch's does not run."""

    def register_step_post_hook(self, hook):
        raise AttributeError("no hooks")


@pytest.mark.parametrize("scaled", [False, True])
def test_an_optimizer_without_hooks_counts_too(scaled):
    lrs = lrs_of(Toy(lambda parameters: Unhooked(parameters, lr=0.1), batches=BATCHES), scaled=scaled)
    assert lrs == falling()


class SetsLRs(Toy):
    def on_train_epoch_start(self):
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = 0.04


def test_lrs_that_the_module_sets_are_used_and_told():
    with pytest.warns(UserWarning, match="Other code changed a learning rate"):
        lrs = lrs_of(SetsLRs(sgd, batches=BATCHES))
    later = [0.04 * (STEPS - step) / (STEPS - BATCHES) for step in range(BATCHES, STEPS)]
    assert lrs == pytest.approx([0.04 * (1 - step / STEPS) for step in range(BATCHES)] + later)
    assert torch.tensor(lrs).max() <= 0.04
