"""Fits to test what finds an LR before they start: with something to learn, and with their steps counted."""

import torch
from torch.optim import SGD, AdamW
from torch.utils.data import DataLoader, TensorDataset

from helpers.toy import LEDGER, Toy, scalars
from helpers.twin import ManualNet, Net, assert_same
from lightning_lr import LRRangeTest, LRSearch
from lightning_lr.finders import Suggestion

START = 0.002
BOUNDS = {"min_lr": 1e-6, "max_lr": 1.0}
TESTS_OF_LRS = {
    "LRRangeTest": lambda: LRRangeTest(24),
    "LRSearch": lambda: LRSearch(steps_per_trial=6, final_steps=12, budget=60),
}


# Of a ratio that is a power of two, products of LRs are exact.
def sgd(parameters, lr):
    return SGD(parameters, lr=lr, momentum=0.9)


def adamw(parameters, lr):
    return AdamW(parameters, lr=lr)


class Easy:
    """Mixed into a Net: a loss whose fall is clear after few steps."""

    def criterion(self, logits, targets):
        return super().criterion(logits, targets) + (logits.mean(0) - 3).square().sum()


class EasyNet(Easy, Net):
    pass


class EasyManualNet(Easy, ManualNet):
    pass


class Learner(Toy):
    """Has something to learn; the steps that it is asked for are counted."""

    def __init__(self, optimizer=None, **kwargs):
        super().__init__(optimizer or (lambda parameters: SGD(parameters, lr=START)), **kwargs)
        for parameter in self.parameters():
            torch.nn.init.zeros_(parameter)

    def training_step(self, batch, batch_idx):
        LEDGER["steps"] += 1
        return self.loss(batch)

    def train_dataloader(self):
        generator = torch.Generator().manual_seed(0)
        features = torch.randn(16 * self.batches, 4, generator=generator)
        return DataLoader(TensorDataset(features, 3 * features.sum(1, keepdim=True)), 16)


class ManualLearner(Learner):
    def __init__(self):
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        self.manual_backward(loss)
        for optimizer in self.optimizers():
            optimizer.step()
            optimizer.zero_grad()
        return loss

    def configure_optimizers(self):
        weight, bias = self.linear.parameters()
        return [SGD([weight], lr=0.1), AdamW([bias], lr=0.01)]


class LossByLR(Toy):
    """Gives the losses of a function of the LR that the last step was made with."""

    def __init__(self, loss_at, **kwargs):
        super().__init__(lambda parameters: SGD(parameters, lr=START), **kwargs)
        self.loss_at = loss_at
        self.last_lr = 1e-30

    def training_step(self, batch, batch_idx):
        loss = self.loss_at(self.last_lr)
        self.last_lr = self.optimizers().param_groups[0]["lr"]
        return super().training_step(batch, batch_idx) * 0 + loss


def twins(root, fit_from, test, *, start=START):
    """Compare a fit with a test to one without it that starts with what the test found."""
    results = []
    for name, extra in (("tested", [test]), ("plain", [])):
        lr = test.suggestion.lr if isinstance(test.suggestion, Suggestion) else start
        results.append(fit_from(root / name, lr, *extra))
        if torch.distributed.is_initialized():
            # One rank writes what all of them are to read.
            torch.distributed.barrier()
        results[-1]["scalars"] = {
            tag: points
            for tag, points in scalars(root / name).items()
            if not tag.startswith(("range_test/", "search/"))
        }
        results[-1]["yaml"] = {path.name: path.read_text() for path in (root / name).rglob("*.yaml")}
    assert isinstance(test.suggestion, Suggestion)
    assert test.suggestion.lr != start
    assert_same(*results)
    return test
