"""Searches where most or all of what the trials differ by is noise."""

import math

import pytest
import torch
from helpers.toy import fit, lrs_of
from lightning.pytorch import LightningModule
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from lightning_lr import LRSearch
from lightning_lr.finders import Abstention, Suggestion
from lightning_lr.finders.search.optimum import read_optimum
from lightning_lr.finders.search.refinement import Refinement
from lightning_lr.finders.trials.trials import Trial, Trials


class Classifier(LightningModule):
    """Three classes that a linear map tells apart, by blocks of Linear, BatchNorm and ReLU."""

    def __init__(self, optimizer, loss=functional.cross_entropy, depth=16):
        super().__init__()
        torch.manual_seed(0)
        blocks, width = [], 20
        for _ in range(depth):
            blocks += [nn.Linear(width, 32), nn.BatchNorm1d(32), nn.ReLU()]
            width = 32
        self.layers = nn.Sequential(*blocks, nn.Linear(width, 3))
        self.optimizer, self.loss = optimizer, loss

    def training_step(self, batch, batch_idx):
        return self.loss(self.layers(batch[0]), batch[1])

    def validation_step(self, batch, batch_idx):
        return self.training_step(batch, batch_idx)

    def loader(self, seed, rows):
        generator = torch.Generator().manual_seed(seed)
        features = torch.randn(rows, 20, generator=generator)
        truth = torch.randn(20, 3, generator=torch.Generator().manual_seed(9))
        return DataLoader(TensorDataset(features, (features @ truth).argmax(1)), 32)

    def train_dataloader(self):
        return self.loader(1, 3200)

    def val_dataloader(self):
        return self.loader(2, 512)

    def configure_optimizers(self):
        return self.optimizer(self.parameters())


def momentum(parameters):
    return torch.optim.SGD(parameters, lr=0.002, momentum=0.9)


def adam(parameters):
    return torch.optim.Adam(parameters, lr=0.002)


@pytest.mark.parametrize(
    ("optimizer", "lowest", "options"),
    [(momentum, 1e-2, {}), (adam, 3e-4, {}), (momentum, 1e-2, {"score": "train"})],
)
def test_a_deep_network_with_batch_norm_gets_an_lr_that_trains_or_none(optimizer, lowest, options):
    search, module = LRSearch(**{"final_steps": 80} | options), Classifier(optimizer)
    fit(module, search, max_epochs=1, limit_val_batches=16, limit_train_batches=100)
    if isinstance(search.suggestion, Suggestion):
        assert lowest < search.suggestion.lr < 1
    else:
        assert "noise" in search.suggestion.reason


@pytest.mark.parametrize("score", ["val", "train"])
@pytest.mark.parametrize("seed", range(2))
def test_a_loss_that_is_noise_gives_no_lr(score, seed):
    generator = torch.Generator().manual_seed(seed)

    def noise(outputs, _):
        return outputs.sum() * 1e-9 + 1 + 0.1 * torch.randn((), generator=generator)

    search = LRSearch(1e-5, 1.0, score=score)
    fitted = fit(Classifier(momentum, noise, depth=1), search, max_epochs=1, limit_val_batches=16)
    assert isinstance(search.suggestion, Abstention)
    assert lrs_of(fitted) == [0.002]


def test_a_loss_that_does_not_depend_on_the_lr_gives_none():
    # Targets at random, of which nothing can be learned.
    def flat(outputs, targets):
        return functional.cross_entropy(outputs * 0, targets)

    search = LRSearch(1e-5, 1.0)
    fit(Classifier(momentum, flat, depth=1), search, max_epochs=1, limit_val_batches=16)
    assert isinstance(search.suggestion, Abstention)


def test_where_short_trials_are_noise_long_ones_begin_high():
    def loss_of(lr, length):
        if lr > 2:
            return 3.0
        return 2.0 - (1e-9 / max(lr, 1e-6) if length == 15 else max(0.0, 1 - abs(math.log10(lr / 0.1))))

    refinement, trials = Refinement(1e-6, 1.0), Trials(2.0, "validation loss")
    while (proposal := refinement.propose(trials)) is not None:
        loss = loss_of(proposal.lr, proposal.length)
        trial = Trial(proposal.lr, loss, proposal.length, proposal.length, proposal.stage, noise=0.01)
        trials = trials.with_trial(trial)
    assert not trials.at_stage("fine")
    assert trials.at_stage("final")[0].lr >= 0.05
    assert 0.03 < read_optimum(trials, horizon=150).lr < 0.3


# SimCLR: normalized outputs, so that no LR diverges, and a validation of two batches.
CONTRASTIVE = {
    4.23e-5: (2.7496, 0.0006),
    6.77e-4: (2.6896, 0.0088),
    0.0108: (2.6096, 0.1582),
    0.173: (2.4056, 0.3572),
    2.77: (2.7903, 0.5535),
    44.4: (2.8023, 0.5491),
    710.0: (2.828, 0.6024),
}


def test_a_best_trial_within_its_noise_is_followed_where_a_lower_lr_has_clearly_gained():
    def judged(lr):
        return CONTRASTIVE[min(CONTRASTIVE, key=lambda each: abs(math.log(each / lr)))]

    refinement, trials = Refinement(1e-5, 1e-2, final_steps=43, budget=300), Trials(2.7546, "validation loss")
    while (proposal := refinement.propose(trials)) is not None:
        lr, length = proposal.lr, proposal.length
        loss, noise = judged(lr)
        trials = trials.with_trial(Trial(lr, loss, length, length, proposal.stage, noise=noise))
    assert max(trial.lr for trial in trials) < 100
    assert 0.02 < read_optimum(trials, horizon=72).lr < 1


def test_a_gain_that_is_next_to_nothing_is_none():
    tiny = Trial(1e-6, 2.999, 15, 15, "coarse", noise=1e-5)
    noise = (
        Trial(lr, loss, 64, 64, "final", noise=0.1) for lr, loss in ((1e4, 3.01), (2e4, 2.9), (4e4, 3.02))
    )
    assert isinstance(read_optimum(Trials(3.0, "validation loss", (tiny, *noise)), horizon=64), Abstention)


def test_a_gain_within_the_noise_gives_no_lr():
    trials = tuple(Trial(lr, 2.9 + lr, 64, 64, "final", noise=0.05) for lr in (0.01, 0.02, 0.04))
    found = read_optimum(Trials(3.0, "validation loss", trials), horizon=64)
    assert isinstance(found, Abstention)
    assert "below the 3 of the start by more than noise" in found.reason
