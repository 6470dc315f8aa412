"""What the range tests of Lightning, torch-lr-finder, fastai and ignite can do, written for ours.

From their documentation: Lightning's `Tuner.lr_find` and `LearningRateFinder`
(https://lightning.ai/docs/pytorch/stable/advanced/training_tricks.html), torch-lr-finder's README, fastai's
`Learner.lr_find` (https://docs.fast.ai/callback.schedule.html), and ignite's `FastaiLRFinder`
(https://docs.pytorch.org/ignite/generated/ignite.handlers.lr_finder.html). What ours cannot do: smooth with a
factor of the user's (`smooth_f`), and end at a multiple of the best loss (`diverge_th`, `stop_div`).
"""

import copy
import csv
import json
import math
from itertools import pairwise

import pytest
import torch
from helpers.finders import Learner, ManualLearner
from helpers.toy import LEDGER, fit, lrs_of, scalars, trainer
from lightning.pytorch import Callback
from lightning.pytorch.demos.boring_classes import BoringDataModule
from torch.optim import SGD
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader

from lightning_lr import LRDecay, LRLogger, LRRangeTest
from lightning_lr.finders import LossCurve, MinimumOver, Steepest, Suggestion, Valley, read_all
from lightning_lr.policies import Constant

SCENARIOS = {}
START = 0.002


def scenario(library, text):
    def add(function):
        assert (library, text) not in SCENARIOS
        SCENARIOS[library, text] = function
        return function

    return add


def ramped(module=None, *callbacks, max_epochs=1, **arguments):
    """Return the test, the module and the Trainer of a fit."""
    test, module = LRRangeTest(**arguments), module or Learner()
    return test, module, fit(module, test, *callbacks, max_epochs=max_epochs)


class WithLR(Learner):
    """Holds its LR under a name, as a hyperparameter or not."""

    def __init__(self, name="lr", *, saved=False):
        super().__init__(lambda parameters: SGD(parameters, lr=START))
        if saved:
            self.save_hyperparameters({name: START})
        else:
            setattr(self, name, START)


@scenario("Lightning", "the LR is found and used")
def _():
    test, _, run = ramped()
    assert set(lrs_of(run)) == {test.suggestion.lr}


@scenario("Lightning", "`num_training`, `min_lr` and `max_lr`")
def _():
    test, *_ = ramped(num_steps=80, min_lr=1e-5, max_lr=0.5, early_stop=False)
    assert len(test.curve.lrs) == 80
    assert (test.curve.lrs[0], test.curve.lrs[-1]) == pytest.approx((1e-5, 0.5))


@scenario("Lightning", "`mode='exponential'`")
def _():
    lrs = ramped(num_steps=20, min_lr=1e-4, max_lr=0.1, early_stop=False)[0].curve.lrs
    ratios = [after / before for before, after in pairwise(lrs)]
    assert ratios == pytest.approx([ratios[0]] * len(ratios))


@scenario("Lightning", "`mode='linear'`")
def _():
    lrs = ramped(num_steps=20, min_lr=1e-4, max_lr=0.1, mode="linear", early_stop=False)[0].curve.lrs
    steps = [after - before for before, after in pairwise(lrs)]
    assert steps == pytest.approx([steps[0]] * len(steps))


@scenario("Lightning", "`early_stop_threshold`: a loss that blows up ends the test")
def _():
    assert len(ramped(min_lr=1e-4, max_lr=1e6)[0].curve.lrs) < 100


@scenario("Lightning", "`early_stop_threshold=None`: the whole range")
def _():
    assert len(ramped(min_lr=1e-4, max_lr=1e6, early_stop=False)[0].curve.lrs) == 100


@scenario("Lightning", "`update_attr=False`: to look only")
def _():
    _, module, run = ramped(WithLR(), apply=False)
    assert set(lrs_of(run)) == {module.lr} == {START}


@scenario("Lightning", "`update_attr=True` for `self.lr`")
def _():
    test, module, _ = ramped(WithLR())
    assert module.lr == test.suggestion.lr


@scenario("Lightning", "`update_attr=True` for `self.learning_rate`")
def _():
    test, module, _ = ramped(WithLR("learning_rate"))
    assert module.learning_rate == test.suggestion.lr


@scenario("Lightning", "`update_attr=True` for `self.hparams.lr`")
def _():
    test, module, _ = ramped(WithLR(saved=True))
    assert module.hparams.lr == test.suggestion.lr


@scenario("Lightning", "`attr_name='my_rate'`")
def _():
    test, module, _ = ramped(WithLR("my_rate"), attr="my_rate")
    assert module.my_rate == test.suggestion.lr


@scenario("Lightning", "`results`: the LRs and losses")
def _():
    curve = ramped()[0].curve
    assert len(curve.lrs) == len(curve.losses) > 50


@scenario("Lightning", "`suggestion()` returns a number")
def _():
    assert isinstance(ramped()[0].suggestion.lr, float)


@scenario("Lightning", "`plot(suggest=True)`")
def _():
    [axes, *_] = ramped()[0].plot().axes
    assert "chosen" in " ".join(text.get_text() for text in axes.get_legend().get_texts())


@scenario("Lightning", "weights, optimizer and counters are restored")
def _():
    module = Learner()
    before = copy.deepcopy(module.state_dict())
    test, module, run = ramped(module, stop_after=True)
    assert test.curve is not None
    assert all(torch.equal(module.state_dict()[name], before[name]) for name in before)
    assert (run.optimizers[0].state_dict()["state"], run.global_step) == ({}, 0)


@scenario("Lightning", "nothing is left on disk")
def _(tmp_path):
    ramped()
    assert list(tmp_path.rglob("*.ckpt")) == []


@scenario("Lightning", "`accumulate_grad_batches`")
def _():
    test = LRRangeTest(40)
    fit(Learner(), test, max_epochs=1, accumulate_grad_batches=3)
    assert isinstance(test.suggestion, Suggestion)


@scenario("Lightning", "a schedule in `configure_optimizers`")
def _():
    class Scheduled(Learner):
        def configure_optimizers(self):
            optimizer = super().configure_optimizers()
            return [optimizer], [StepLR(optimizer, 1, 0.5)]

    test, _, run = ramped(Scheduled(), max_epochs=2)
    assert run.optimizers[0].param_groups[0]["initial_lr"] == pytest.approx(test.suggestion.lr)
    assert lrs_of(run) == [pytest.approx(test.suggestion.lr / 4)]


@scenario("Lightning", "loaders given to `fit`")
def _():
    module, test = Learner(), LRRangeTest()
    loader = module.train_dataloader()
    trainer(test, max_epochs=1).fit(module, DataLoader(loader.dataset, 8))
    assert isinstance(test.suggestion, Suggestion)


@scenario("Lightning", "a datamodule, in which there may be nothing to find")
def _():
    class Boring(Learner):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(32, 2)

        def training_step(self, batch, batch_idx):
            LEDGER["steps"] += 1
            return self.layer(batch).square().mean()

    module, test = Boring(), LRRangeTest(30)
    trainer(test, max_epochs=1, limit_val_batches=0).fit(module, datamodule=BoringDataModule())
    assert test.suggestion.reason


@scenario("Lightning", "no test in a `fast_dev_run`")
def _():
    test = LRRangeTest()
    fit(Learner(), test, fast_dev_run=True)
    assert test.suggestion is None


@scenario("Lightning", "FineTuneLearningRateFinder: again at epochs 1 and 2")
def _():
    test, *_ = ramped(max_epochs=3, milestones=[0, 1, 2], num_steps=30)
    assert test.state_dict()["tested"] == [0, 1, 2]


@scenario("Lightning", "callbacks of the fit do not see the test")
def _():
    class Counts(Callback):
        steps = 0

        def on_train_batch_end(self, *_):
            self.steps += 1

    counts = Counts()
    *_, run = ramped(None, counts)
    assert counts.steps == run.global_step == run.num_training_batches


@scenario("torch-lr-finder", "`start_lr`, `end_lr`, `num_iter`, `step_mode`")
def _():
    for mode in ("exponential", "linear"):
        test, *_ = ramped(num_steps=60, min_lr=1e-4, max_lr=1.0, mode=mode, early_stop=False)
        assert (len(test.curve.lrs), test.curve.lrs[0]) == (60, 1e-4)


@scenario("torch-lr-finder", "`val_loader`: the validation loss along the ramp")
def _():
    test, *_ = ramped(validate_every=5)
    assert len(test.validation_curve.losses) >= 10


@scenario("torch-lr-finder", "`history` holds LRs and losses")
def _(tmp_path):
    curve = ramped()[0].curve
    curve.to_csv(tmp_path / "curve.csv")
    curve.to_json(tmp_path / "curve.json")
    with (tmp_path / "curve.csv").open(newline="") as file:
        assert [float(row["lr"]) for row in csv.DictReader(file)] == list(curve.lrs)
    assert LossCurve.from_dict(json.loads((tmp_path / "curve.json").read_text())) == curve


@scenario("torch-lr-finder", "`plot(log_lr=True)`")
def _():
    assert ramped()[0].plot().axes[0].get_xscale() == "log"


@scenario("torch-lr-finder", "`plot(suggest_lr=True)`: the steepest point")
def _():
    assert isinstance(Steepest().suggest(ramped()[0].curve), Suggestion)


@scenario("torch-lr-finder", "groups with LRs of their own")
def _():
    class Groups(Learner):
        def configure_optimizers(self):
            weight, bias = self.linear.parameters()
            return SGD([{"params": [weight], "lr": 0.1}, {"params": [bias], "lr": 0.01}], lr=0.1)

    test, _, run = ramped(Groups())
    high, low = (group["lr"] for group in run.optimizers[0].param_groups)
    assert (high, low) == (pytest.approx(test.suggestion.lr), pytest.approx(test.suggestion.lr / 10))


@scenario("torch-lr-finder", "`accumulation_steps`")
def _():
    test = LRRangeTest(10)
    fit(Learner(batches=20), test, max_epochs=1, accumulate_grad_batches=2)
    assert LEDGER["steps"] >= 2 * 10 + 20


@scenario("torch-lr-finder", "`reset()` restores model and optimizer, also after an error")
def _():
    class Fails(Learner):
        def training_step(self, batch, batch_idx):
            if self.optimizers().param_groups[0]["lr"] > 2 * START:
                raise KeyboardInterrupt
            return super().training_step(batch, batch_idx)

    module = Fails()
    before = copy.deepcopy(module.state_dict())
    with pytest.raises(SystemExit):
        fit(module, LRRangeTest(min_lr=1e-4, max_lr=1.0), max_epochs=1)
    assert all(torch.equal(module.state_dict()[name], before[name]) for name in before)


@scenario("fastai", "`start_lr`, `end_lr`, `num_it`")
def _():
    test, *_ = ramped(num_steps=30, min_lr=1e-7, max_lr=10.0, early_stop=False)
    assert (len(test.curve.lrs), test.curve.lrs[-1]) == (30, pytest.approx(10))


@scenario("fastai", "`stop_div=False`")
def _():
    assert len(ramped(num_steps=30, min_lr=1e-4, max_lr=1e8, early_stop=False)[0].curve.lrs) == 30


@scenario("fastai", "`suggest_funcs=(minimum, steep, valley)`")
def _():
    found = read_all(ramped()[0].curve)
    assert {"MinimumOver", "Steepest", "Valley"} <= set(found)


@scenario("fastai", "a function of one's own choice decides")
def _():
    for rule in (Valley(), MinimumOver(10)):
        test, *_ = ramped(rule=rule)
        assert test.suggestion.rule == type(rule).__name__


@scenario("fastai", "the learner is as it was before")
def _():
    plain, module = Learner(), Learner()
    fit(plain, max_epochs=1)
    fit(module, LRRangeTest(apply=False), max_epochs=1)
    assert all(map(torch.equal, plain.parameters(), module.parameters()))


@scenario("ignite", "`attach(trainer, to_save)`: to look before the run, and end")
def _():
    test, _, run = ramped(apply=False, stop_after=True)
    assert (run.global_step, test.curve is not None) == (0, True)


@scenario("ignite", "`get_results()`")
def _():
    curve = ramped()[0].curve
    assert all(map(math.isfinite, curve.lrs))


@scenario("ignite", "`lr_suggestion()` and `apply_suggested_lr(optimizer)` for every group")
def _():
    test, _, run = ramped(ManualLearner())
    found = [group["lr"] for optimizer in run.optimizers for group in optimizer.param_groups]
    assert sorted(test.lrs.values()) == pytest.approx(sorted(found))
    assert found[0] / found[1] == pytest.approx(10)


@scenario("ignite", "`plot()` to a file")
def _(tmp_path):
    ramped()[0].plot().savefig(tmp_path / "test.png")
    assert (tmp_path / "test.png").stat().st_size > 1000


@scenario("ignite", "several runs, each from the same weights")
def _():
    once, again = (ramped()[0].suggestion for _ in range(2))
    assert once == again


@scenario("ignite", "then a schedule from the LR found")
def _(tmp_path):
    test = LRRangeTest()
    fit(Learner(), test, LRDecay(Constant(0.5)), LRLogger(), root=tmp_path, max_epochs=1)
    lrs = [lr for _, lr in scalars(tmp_path)["lr/SGD"]]
    assert lrs == pytest.approx([test.suggestion.lr / 2] * 10)


@pytest.mark.parametrize("case", [pytest.param(key, id=": ".join(key)) for key in SCENARIOS])
def test_scenario(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    function = SCENARIOS[case]
    function(*[tmp_path] * function.__code__.co_argcount)
