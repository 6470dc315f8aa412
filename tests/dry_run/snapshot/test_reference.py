"""Weights and LRs that are not what they were before a test end the fit before its first step."""

import pytest
import torch
from helpers.finders import TESTS_OF_LRS
from helpers.toy import LEDGER, Toy, trainer
from lightning.pytorch import Callback
from torch import nn
from torch.optim import SGD

from lightning_lr.dry_run.snapshot.kept import KeptTensor
from lightning_lr.dry_run.snapshot.snapshot import PutBackError


class Steps(Callback):
    """Counts the steps of the fit."""

    def __init__(self):
        self.made = 0

    def on_train_batch_start(self, *_):
        self.made += 1


def fit_and_fail(module, kind_of_test, match):
    steps = Steps()
    fit = trainer(TESTS_OF_LRS[kind_of_test](), steps)
    with pytest.raises(PutBackError, match=match):
        fit.fit(module)
    assert steps.made == 0
    assert steps in fit.callbacks
    assert "log" not in vars(module)


@pytest.mark.parametrize("kind_of_test", TESTS_OF_LRS)
def test_weights_that_are_not_put_back_are_an_error(kind_of_test, monkeypatch):
    monkeypatch.setattr(KeptTensor, "restore", lambda self: None)
    fit_and_fail(
        Toy(), kind_of_test, "`module.linear.weight` is another one; `module.linear.bias` is another"
    )


class Drifting(SGD):
    """Its LR is read from elsewhere, where no snapshot looks."""

    def __init__(self, parameters, lr):
        LEDGER["drift"] = 1.0
        super().__init__(parameters, lr)

    @property
    def param_groups(self):
        for group in self._groups:
            group["lr"] = 0.1 * LEDGER["drift"]
        return self._groups

    @param_groups.setter
    def param_groups(self, groups):
        self._groups = groups

    def step(self, closure=None):
        LEDGER["drift"] *= 2
        return closure()


@pytest.mark.parametrize("kind_of_test", TESTS_OF_LRS)
def test_lrs_that_are_not_put_back_are_an_error(kind_of_test):
    where = r"the lr of `optimizers\[0\].param_groups\[0\]` is .*, it was 0.1"
    fit_and_fail(Toy(lambda parameters: Drifting(list(parameters), 0.1)), kind_of_test, where)


class Replaces(Toy):
    """Hides a new weight from the snapshot in a module of Python, and takes it when it is looked at."""

    def named_parameters(self, *args, **kwargs):
        for name, parameter in super().named_parameters(*args, **kwargs):
            yield name, LEDGER.get("other", parameter) if name.endswith("bias") else parameter

    def training_step(self, batch, batch_idx):
        LEDGER["other"] = nn.Parameter(torch.zeros(1))
        return super().training_step(batch, batch_idx)


@pytest.mark.parametrize("kind_of_test", TESTS_OF_LRS)
def test_a_weight_that_is_another_tensor_is_an_error(kind_of_test):
    vars(LEDGER).pop("other", None)
    try:
        fit_and_fail(Replaces(), kind_of_test, r"before the test: `module.linear.bias` is another one\.")
    finally:
        vars(LEDGER).pop("other", None)
