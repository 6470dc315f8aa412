"""How a dry run validates a network with BatchNorm, whose running statistics lag behind its weights."""

import copy

import pytest
import torch
from helpers.toy import Toy, fit
from lightning.pytorch import Callback
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_lr import LRSearch
from lightning_lr.dry_run.dry_run import DryRun

ROWS = torch.randn(24, 4, generator=torch.Generator().manual_seed(1)) * 5 + 3


class Normalized(Toy):
    def __init__(self, batch_size=8, frozen=False):
        super().__init__()
        self.norm = nn.BatchNorm1d(4)
        self.batch_size, self.frozen = batch_size, frozen

    def on_train_start(self):
        if self.frozen:
            self.norm.eval()

    def output(self, rows):
        return self.linear(self.norm(rows)).square().mean()

    def validation_step(self, batch, batch_idx):
        assert not self.training
        return self.output(batch[0])

    def val_dataloader(self):
        return DataLoader(TensorDataset(ROWS), self.batch_size)


class Validates(Callback):
    """Takes two steps and validates, and notes what a copy of the module gives."""

    def on_train_start(self, trainer, pl_module):
        self.before = copy.deepcopy(pl_module.state_dict())
        with DryRun(trainer, pl_module, ahead=("on_train_start",)) as dry:
            validation = dry.validation(30)
            list(dry.steps([0.1, 0.1]))
            self.module = copy.deepcopy(pl_module)
            self.loss, self.losses = validation.loss(), validation.batch_losses
            modes = [each.training for each in pl_module.modules()]
            assert modes == [each.training for each in self.module.modules()]
        self.after = copy.deepcopy(pl_module.state_dict())
        assert not pl_module.norm._forward_pre_hooks


@pytest.mark.parametrize(
    ("module", "in_training"),
    [(Normalized(), True), (Normalized(batch_size=1), False), (Normalized(frozen=True), False)],
)
def test_batch_norm_takes_the_statistics_of_the_batch_as_in_training(module, in_training):
    seen = Validates()
    fit(module, seen, limit_val_batches=30)
    batches = ROWS.split(module.batch_size)
    with torch.no_grad():
        seen.module.norm.train(in_training)
        expected = [seen.module.output(batch).item() for batch in batches]
    assert seen.losses == pytest.approx(expected)
    assert seen.loss == pytest.approx(sum(expected) / len(expected))
    assert all(torch.equal(seen.before[name], seen.after[name]) for name in seen.before)


class ShortHooks(Toy):
    """Leaves out the number of the loader, which Lightning only gives where there are several."""

    def on_validation_batch_start(self, batch, batch_idx):
        self.begun = batch_idx

    def on_validation_batch_end(self, outputs, batch, batch_idx):
        assert self.begun == batch_idx


class LongHooks(Toy):
    def on_validation_batch_start(self, batch, batch_idx, dataloader_idx):
        self.begun = dataloader_idx

    def validation_step(self, batch, batch_idx, dataloader_idx):
        assert self.begun == dataloader_idx
        return super().validation_step(batch, batch_idx)

    def on_validation_batch_end(self, outputs, batch, batch_idx, dataloader_idx):
        assert self.begun == dataloader_idx

    def val_dataloader(self):
        return [super(LongHooks, self).val_dataloader() for _ in range(2)]


@pytest.mark.parametrize("make", [ShortHooks, LongHooks])
def test_hooks_get_what_lightning_gives_them(make):
    search = LRSearch(1e-3, 1e-1, budget=100)
    fit(make(), search, limit_val_batches=2)
    assert search.trials.judged_by == "validation loss"
