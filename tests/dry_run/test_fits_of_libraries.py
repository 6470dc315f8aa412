"""What libraries built on Lightning do in their modules and loaders is no hindrance, or is named."""

import math

import pytest
import torch
from helpers.dry_run import Rehearse
from helpers.finders import START, TESTS_OF_LRS
from helpers.toy import ManualToy, Notes, Toy, fit, trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch.optim import SGD
from torch.utils.data import DataLoader
from torchmetrics import MeanMetric

from lightning_lr import LRRangeTest, LRSearch
from lightning_lr.finders import Abstention

NOTES = Notes()


class NoLoss(ManualToy):
    """As a GAN of Lightning's examples: what it has learned is only logged."""

    steps = 0

    def training_step(self, batch, batch_idx):
        NoLoss.steps += 1
        super().training_step(batch, batch_idx)


class OwnOptimizer(Toy):
    """Steps an optimizer that Lightning does not know of."""

    def __init__(self):
        super().__init__()
        self.automatic_optimization = False
        self.own = SGD(self.parameters(), lr=START)

    def training_step(self, batch, batch_idx):
        loss = self.loss(batch)
        self.own.zero_grad()
        loss.backward()
        self.own.step()
        return loss.detach()


FINDERS = {
    "LRRangeTest": LRRangeTest,
    "LRSearch": lambda: LRSearch(budget=100),
    "LRRangeTest with bounds": lambda: LRRangeTest(min_lr=1e-5, max_lr=1.0),
    "LRSearch with bounds": lambda: LRSearch(1e-4, 1.0, score="train"),
}


@pytest.mark.parametrize("make", FINDERS.values(), ids=FINDERS)
def test_a_module_that_returns_no_loss_at_all_is_told_so_and_costs_little(make, tmp_path, caplog):
    NoLoss.steps = 0
    test = make()
    fit(NoLoss(), test, root=tmp_path, max_epochs=1)
    assert isinstance(test.suggestion, Abstention)
    assert "`training_step` returned no loss for 100 batches" in test.suggestion.reason
    assert NoLoss.steps <= 110
    assert any("Return the loss at the end of the step" in each for each in caplog.messages)


def test_a_module_that_steps_an_optimizer_of_its_own_is_told_so(tmp_path):
    test = LRRangeTest()
    fit(OwnOptimizer(), test, root=tmp_path, max_epochs=1)
    assert "no step was made of what `configure_optimizers` returns" in test.suggestion.reason


@pytest.mark.filterwarnings("ignore:.*configure_optimizers.*returned `None`")
@pytest.mark.parametrize("make", FINDERS.values(), ids=FINDERS)
def test_a_fit_without_an_optimizer_is_refused_in_words(make, tmp_path):
    module = Toy(lambda _: None)
    with pytest.raises(MisconfigurationException, match="returns no optimizer"):
        fit(module, make(), root=tmp_path, max_epochs=1)


class Ends(DataLoader):
    """Raises where it has ended: those who count its batches never see it."""

    def __iter__(self):
        yield from super().__iter__()
        raise ValueError("zip() argument 2 is longer than argument 1")


class GoesOn(DataLoader):
    """Has a length, and goes on and on, over other samples than those of the fit."""

    def __iter__(self):
        yield from super().__iter__()
        while True:
            yield [torch.full((4, 4), torch.nan), torch.zeros(4, 1)]


@pytest.mark.parametrize("kind", [Ends, GoesOn])
def test_no_more_batches_are_read_than_the_fit_reads(kind):
    class Loaded(Toy):
        def train_dataloader(self):
            plain = super().train_dataloader()
            return kind(plain.dataset, batch_size=4)

    rehearse = Rehearse(lrs=[0.01] * 25)
    trainer(rehearse, max_epochs=1).fit(Loaded())
    assert all(map(math.isfinite, rehearse.losses[0]))


def test_only_the_batches_that_the_limit_leaves_are_used():
    seen = []

    class NotesBatches(Toy):
        def training_step(self, batch, batch_idx):
            seen.append(batch[0].sum().item())
            return super().training_step(batch, batch_idx)

    trainer(Rehearse(lrs=[0.01] * 8), max_epochs=1, limit_train_batches=3).fit(NotesBatches())
    assert len(set(seen)) == 3


class StepsOnItsMetric(Toy):
    """Steps a scheduler by hand, with a metric that it has logged as an object of torchmetrics."""

    def __init__(self):
        super().__init__(lambda parameters: SGD(parameters, lr=START))
        self.elbo = MeanMetric()
        self.steps = []

    def validation_step(self, batch, batch_idx):
        loss = self.loss(batch)
        self.elbo.update(loss)
        self.log("elbo", self.elbo, on_epoch=True)
        return loss

    def on_validation_epoch_end(self):
        self.steps.append(float(self.trainer.callback_metrics["elbo"]))


@pytest.mark.parametrize("make", TESTS_OF_LRS.values(), ids=TESTS_OF_LRS)
def test_a_metric_that_is_logged_as_an_object_can_be_looked_at_when_the_validation_ends(make, tmp_path):
    module = StepsOnItsMetric()
    fit(module, make(), root=tmp_path, max_epochs=1)
    assert len(module.steps) == 1
    assert module.elbo.update_count == 0


class ComparesItsMetric(StepsOnItsMetric):
    """Notes what its metric says of each validation, and the mean of the losses of that one."""

    def on_validation_epoch_start(self):
        self.losses = []

    def validation_step(self, batch, batch_idx):
        self.losses.append(super().validation_step(batch, batch_idx))
        return self.losses[-1]

    def on_validation_epoch_end(self):
        NOTES.append(
            (float(self.trainer.callback_metrics["elbo"]), float(sum(self.losses) / len(self.losses)))
        )


def test_each_validation_along_a_ramp_begins_with_empty_metrics(tmp_path):
    NOTES.all.clear()
    test = LRRangeTest(20, min_lr=1e-3, max_lr=0.1, validate_every=5, stop_after=True)
    fit(ComparesItsMetric(), test, root=tmp_path, max_epochs=1)
    assert len(NOTES.all) >= 4
    for told, expected in NOTES.all:
        assert told == pytest.approx(expected)


class NeedsMore(MeanMetric):
    """Has no value before it has seen a whole validation, as metrics of distributions have none."""

    def compute(self):
        if self.weight < 100:
            raise RuntimeError("More than 99 samples are required.")
        return super().compute()


class LogsWhatNeedsMore(Toy):
    def __init__(self):
        super().__init__(batches=4)
        self.distance = NeedsMore()

    def validation_step(self, batch, batch_idx):
        loss = super().validation_step(batch, batch_idx)
        self.distance.update(loss, weight=40.0)
        self.log("val_loss", loss)
        self.log("distance", self.distance)


def test_a_metric_that_has_no_value_after_few_batches_is_no_error():
    search = LRSearch(steps_per_trial=4, budget=60, validation_batches=1)
    run = fit(LogsWhatNeedsMore(), search, max_epochs=1)
    assert "validation loss" in search.trials.judged_by
    assert "distance" in run.callback_metrics
