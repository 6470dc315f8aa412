"""Groups that share one tensor as their LR: one change of it, whoever makes it."""

import pytest
import torch
from helpers.judged import judged
from helpers.scripted import Stalling, Verdicts
from helpers.toy import LRTrace, Toy, fit
from torch.optim import AdamW

from lightning_lr import LRDecay, PlateauDetector
from lightning_lr.plateau import Escape, ReduceLR, RestoreBest
from lightning_lr.policies import Constant, Linear


def with_one_tensor(parameters):
    """As torch's recipe for compiled optimizers has it."""
    weight, bias = parameters
    return AdamW([{"params": [weight]}, {"params": [bias]}], lr=torch.tensor(0.1, dtype=torch.float64))


def lrs_after(run):
    [optimizer] = run.optimizers
    first, second = (group["lr"] for group in optimizer.param_groups)
    assert first is second
    return first.item()


def test_a_decay_trains_with_the_lrs_of_its_plan():
    trace = LRTrace()
    fit(Toy(with_one_tensor, batches=5), LRDecay(Linear(), interval="step", warmup=2), trace)
    wanted = [0.0, 0.05, *(0.1 * (1 - step / 8) for step in range(8))]
    assert trace.lrs == {step: [pytest.approx(lr)] * 2 for step, lr in enumerate(wanted)}


class Save(LRTrace):
    def __init__(self, path):
        super().__init__()
        self.path = path

    def on_train_epoch_end(self, trainer, pl_module):
        if trainer.current_epoch == 0:
            trainer.save_checkpoint(self.path)


def test_a_resumed_decay_goes_on_where_it_was(tmp_path):
    whole, rest = Save(tmp_path / "one.ckpt"), LRTrace()
    for trace, settings in ((whole, {}), (rest, {"ckpt_path": whole.path})):
        fit(Toy(with_one_tensor), LRDecay(Linear(), interval="step"), trace, **settings)
    assert rest.lrs == {step: lrs for step, lrs in whole.lrs.items() if step >= 10}
    assert rest.lrs[10] == [pytest.approx(0.05)] * 2


@pytest.mark.parametrize("callbacks", [[], [LRDecay]])
@pytest.mark.parametrize("action", [ReduceLR(0.5), RestoreBest(0.5)])
def test_an_action_reduces_it_once(action, callbacks):
    judge = PlateauDetector(detector=Verdicts("iupu"), on_plateau=action)
    decays = [each(Constant()) for each in callbacks]
    _, run = judged(*decays, judge=judge, module=Stalling(with_one_tensor, batches=4))
    assert lrs_after(run) == pytest.approx(0.05)


def test_an_escape_raises_it_once_and_goes_back():
    trace = LRTrace()
    judge = PlateauDetector(detector=Verdicts("ipiiii"), on_plateau=Escape(3.0, duration=1, patience=2))
    _, run = judged(trace, judge=judge, module=Stalling(with_one_tensor, batches=2), max_epochs=6)
    assert lrs_after(run) == pytest.approx(0.1)
    assert {round(lr, 6) for lrs in trace.lrs.values() for lr in lrs} == {0.1, 0.3}
