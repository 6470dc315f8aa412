"""A finder beside the schedulers and optimizers that people use: what it tells is what trains."""

import pytest
import torch
from helpers.finders import TESTS_OF_LRS, Learner
from helpers.schedules import Hidden, WarmupRestarts
from helpers.toy import LEDGER, LRTrace, fit, trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch.optim import SGD, AdamW, Optimizer
from torch.optim import lr_scheduler as torch_schedulers

from lightning_lr import LRLogger, LRRangeTest, LRSearch
from lightning_lr.finders import Abstention, Suggestion

TESTS = {**TESTS_OF_LRS, "live": lambda: LRRangeTest(24, min_lr=1e-4, max_lr=10, live=True)}


class Scheduled(Learner):
    def __init__(self, schedule, *, interval="step", **kwargs):
        super().__init__(**kwargs)
        self.schedule, self.interval = schedule, interval

    def configure_optimizers(self):
        optimizer = super().configure_optimizers()
        return [optimizer], [{"scheduler": self.schedule(optimizer), "interval": self.interval}]


def noam(step):
    """As chemprop has it: from the base LR to ten times of it and back."""
    return 1 + 9 * step / 5 if step <= 5 else 10 * 0.9 ** (step - 5)


SCHEDULES = {
    "a LambdaLR above 1": lambda o: torch_schedulers.LambdaLR(o, noam),
    "absolute LRs": lambda o: WarmupRestarts(o, 8, warmup=3),
    "a warm-up": lambda o: torch_schedulers.SequentialLR(
        o,
        [torch_schedulers.LinearLR(o, 0.1, total_iters=4), torch_schedulers.CosineAnnealingLR(o, 16)],
        [4],
    ),
    "one cycle": lambda o: torch_schedulers.OneCycleLR(
        o, 0.1, pct_start=0.1, total_steps=100, cycle_momentum=False
    ),
    "steps": lambda o: torch_schedulers.StepLR(o, 30),
}


@pytest.mark.parametrize("test", TESTS)
@pytest.mark.parametrize("name", SCHEDULES)
def test_the_lr_that_is_told_is_the_highest_that_trains(name, test):
    finder, trace = TESTS[test](), LRTrace()
    fit(Scheduled(SCHEDULES[name]), finder, trace, max_epochs=4 if test == "live" else 2)
    assert isinstance(finder.suggestion, Suggestion)
    steps = sorted(trace.lrs)
    # Those of a live ramp are not the run's.
    used = [trace.lrs[step][0] for step in steps if test != "live" or step > 24]
    assert max(used) == pytest.approx(finder.suggestion.lr, rel=0.01 if name == "one cycle" else 1e-6)


@pytest.mark.parametrize("test", TESTS)
def test_a_schedule_that_does_not_follow_is_refused_before_any_step(test):
    LEDGER["steps"] = 0
    module = Scheduled(lambda o: Hidden(o, [0.02, 0.05, 0.03]))
    with pytest.raises(
        MisconfigurationException, match="Hidden of `configure_optimizers` keeps LRs of its own"
    ):
        trainer(TESTS[test]()).fit(module)
    assert LEDGER["steps"] == 0


def test_who_only_looks_is_not_refused():
    finder = LRRangeTest(24, apply=False)
    run = fit(Scheduled(lambda o: Hidden(o, [0.02, 0.05, 0.03])), finder)
    assert isinstance(finder.suggestion, Suggestion)
    assert run.optimizers[0].param_groups[0]["lr"] == 0.01
    fit(Scheduled(lambda o: Hidden(o, [0.02, 0.05, 0.03])), LRSearch(), fast_dev_run=True)


def test_a_floor_above_the_lr_found_is_told(tmp_path):
    """The schedule then rises to it."""

    def start_high(parameters):
        return SGD(parameters, lr=1000.0)

    module = Scheduled(
        lambda o: torch_schedulers.CosineAnnealingLR(o, 20, eta_min=100.0), optimizer=start_high
    )
    finder, trace = LRRangeTest(24), LRTrace()
    with pytest.warns(UserWarning, match=r"the highest LR of this fit will be 99\.\d"):
        fit(module, finder, trace, root=tmp_path)
    assert max(trace.first_group()) == pytest.approx(99.4, rel=0.01)
    assert "but the highest LR will be 9" in (tmp_path / "run" / "decisions.jsonl").read_text()


def test_a_base_that_the_run_does_not_reach_is_told(tmp_path):
    finder = LRRangeTest(24)
    fit(Scheduled(lambda o: torch_schedulers.LambdaLR(o, lambda step: step / 190)), finder, root=tmp_path)
    [told] = (tmp_path / "run" / "decisions.jsonl").read_text().splitlines()[-1:]
    assert f"the base LR {10 * finder.suggestion.lr:.3g} is not reached" in told


def test_an_lr_that_is_found_later_is_the_highest_of_the_rest(tmp_path):
    finder, trace = LRRangeTest(24, milestones=[1]), LRTrace()
    fit(Scheduled(lambda o: torch_schedulers.StepLR(o, 5, 0.5)), finder, trace, root=tmp_path)
    assert isinstance(finder.suggestion, Suggestion)
    found = finder.suggestion.lr
    assert trace.first_group()[10:] == pytest.approx([found] * 5 + [found / 2] * 5)
    [told] = (tmp_path / "run" / "decisions.jsonl").read_text().splitlines()[-1:]
    assert f"the highest of the rest of the run: that of the whole schedule is {4 * found:.3g} now" in told


def test_what_a_schedule_makes_of_an_lr_that_is_found_later_is_told(tmp_path):
    """It rises again only later."""
    finder, trace = LRRangeTest(24, milestones=[1]), LRTrace()
    fit(
        Scheduled(lambda o: torch_schedulers.LambdaLR(o, lambda step: 1.0 if step in (0, 15) else 0.25)),
        finder,
        trace,
        root=tmp_path,
    )
    found = finder.suggestion.lr
    assert trace.first_group()[14:17] == pytest.approx([found / 4, found, found / 4])
    [told] = (tmp_path / "run" / "decisions.jsonl").read_text().splitlines()[-1:]
    assert f"of which the schedule makes {found / 4:.3g} now" in told


class OwnLR(SGD):
    """Keeps in its groups what optimizers with an LR of their own keep."""

    def __init__(self, parameters, **entries):
        super().__init__(parameters, lr=1.0)
        for group in self.param_groups:
            group.update(entries)


class Warming(SGD):
    """Sets its LR at every step, as Ranger21 does."""

    def __init__(self, parameters):
        super().__init__(parameters, lr=0.1)
        self.starting_lr = 0.1

    def step(self, closure=None):
        for group in self.param_groups:
            group["lr"] = self.starting_lr / 2
        return super().step(closure)


class Around(Optimizer):
    """Wraps another optimizer, as SAM and Lookahead do."""

    def __init__(self, inner):
        super().__init__(inner.param_groups, {})
        self.inner, self.param_groups = inner, inner.param_groups

    def step(self, closure=None):
        return self.inner.step(closure)


OWN = {
    "Prodigy": (lambda p: OwnLR(p, d=1e-6, d0=1e-6, d_coef=1.0), "estimates the length of its steps"),
    "D-Adaptation": (lambda p: OwnLR(p, d=1e-6, k=0), "estimates the length of its steps"),
    "DoG": (lambda p: OwnLR(p, init_eta=None, reps_rel=1e-6), "estimates the length of its steps"),
    "Adafactor": (lambda p: OwnLR(p, relative_step=True), "takes no notice of `lr`"),
    "Ranger21": (Warming, "sets its LR itself at every step"),
    "a wrapped one": (lambda p: Around(OwnLR(p, d=1e-6)), "estimates the length of its steps"),
}


@pytest.mark.parametrize("test", TESTS)
@pytest.mark.parametrize("name", OWN)
def test_an_optimizer_with_an_lr_of_its_own_is_not_tested_and_said(name, test, tmp_path):
    make, reason = OWN[name]
    finder = TESTS[test]()
    run = fit(Learner(make, batches=10), finder, max_epochs=1, root=tmp_path)
    assert LEDGER["steps"] == run.global_step == 10
    assert isinstance(finder.suggestion, Abstention)
    assert "has an LR of its own" in finder.suggestion.reason
    assert reason in finder.suggestion.reason
    [told] = (tmp_path / "run" / "decisions.jsonl").read_text().splitlines()
    assert "LR stays the optimizer's own" in told


def test_an_optimizer_whose_lr_is_none_is_not_tested_and_said(tmp_path):
    class Adafactor(OwnLR):
        def step(self, closure=None):
            for group in self.param_groups:
                group["lr"] = 0.01
            loss = super().step(closure)
            for group in self.param_groups:
                group["lr"] = None
            return loss

    finder = LRSearch()
    with pytest.warns(UserWarning, match="LRLogger shows no learning rate of Adafactor"):
        fit(Learner(lambda p: Adafactor(p, lr=None)), finder, LRLogger(), max_epochs=1, root=tmp_path)
    assert "Its `lr` is None" in finder.suggestion.reason


@pytest.mark.parametrize("test", TESTS)
def test_groups_that_share_one_tensor_train_with_the_lr_that_is_told(test):
    """As torch's recipe for compiled optimizers has it; each group changed the tensor once more."""

    def make(parameters):
        weight, bias = parameters
        return AdamW([{"params": [weight]}, {"params": [bias]}], lr=torch.tensor(1e-3))

    finder = TESTS[test]()
    run = fit(Learner(make), finder, max_epochs=4)
    first, second = [group["lr"] for group in run.optimizers[0].param_groups]
    assert first is second
    assert isinstance(finder.suggestion, Suggestion)
    assert first.item() == pytest.approx(finder.suggestion.lr)
