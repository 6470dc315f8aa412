"""The LR that is told is the LR that is used; where it cannot be, that is said before a step is spent."""

import json

import pytest
import torch
from helpers.finders import START, Learner
from helpers.toy import LEDGER, LRTrace, fit, lrs_of, trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import LearningRateFinder, ModelCheckpoint
from torch.optim import SGD, AdamW
from torch.utils.data import DataLoader, IterableDataset

from lightning_lr import LRDecay, LRRangeTest, LRSearch, PlateauDetector, preview
from lightning_lr.finders import MidDescent
from lightning_lr.finders.doubts import NO_WARMUP
from lightning_lr.plateau import Patience
from lightning_lr.policies import Constant, Cosine, Exponential, Linear, OneCycle, Step, WarmupStableDecay

FINDERS = {
    "LRRangeTest": lambda **kwargs: LRRangeTest(24, **kwargs),
    "LRSearch": lambda **kwargs: LRSearch(1e-4, 1.0, budget=60, **kwargs),
    "live": lambda: LRRangeTest(10, min_lr=1e-4, max_lr=1.0, live=True),
}


def told(root):
    return [json.loads(line) for line in (root / "run" / "decisions.jsonl").read_text().splitlines()]


class WarmsUpAfter(Learner):
    """Lightning's own recipe: the LR of the next step is set after each step."""

    def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure):
        optimizer.step(closure=optimizer_closure)
        for group in optimizer.param_groups:
            group["lr"] = min(1.0, (self.trainer.global_step + 1) / 500) * 0.05

    recipe = "`optimizer_step` of the module sets LRs"


class WarmsUpBefore(WarmsUpAfter):
    def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure):
        for group in optimizer.param_groups:
            group["lr"] = 0.05
        optimizer.step(closure=optimizer_closure)


class InTrainingStep(Learner):
    def training_step(self, batch, batch_idx):
        for group in self.optimizers().param_groups:
            group["lr"] = 0.05
        return super().training_step(batch, batch_idx)

    recipe = "a hook of the module or SGD itself sets LRs"


class InHook(InTrainingStep):
    training_step = Learner.training_step

    def on_train_batch_start(self, batch, batch_idx):
        for group in self.optimizers().param_groups:
            group["lr"] = 0.05


class ByHand(Learner):
    def __init__(self):
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        optimizer = self.optimizers()
        for group in optimizer.param_groups:
            group["lr"] = 0.05
        loss = super().training_step(batch, batch_idx)
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()
        return loss

    recipe = "`training_step`, or a scheduler that it steps, sets LRs"


class SetsItsOwn(SGD):
    """Sets its LR in its step, as optimizers with a schedule of their own do."""

    def step(self, closure=None):
        loss = super().step(closure)
        for group in self.param_groups:
            group["lr"] = 0.05
        return loss


class OwnLR(InTrainingStep):
    training_step = Learner.training_step
    recipe = "SetsItsOwn itself sets LRs"

    def configure_optimizers(self):
        return SetsItsOwn(self.parameters(), lr=0.01)


@pytest.mark.parametrize("kind", [WarmsUpAfter, WarmsUpBefore, InTrainingStep, InHook, ByHand, OwnLR])
@pytest.mark.parametrize("finder", FINDERS)
def test_a_test_whose_lrs_other_code_sets_ends_with_an_error(finder, kind):
    module = kind()
    before = [parameter.tolist() for parameter in module.parameters()]
    with pytest.raises(MisconfigurationException, match="The test has set the LR") as refused:
        fit(module, FINDERS[finder]())
    assert kind.recipe in str(refused.value)
    assert "has made it 0.05" in str(refused.value) or kind is WarmsUpAfter
    assert [parameter.tolist() for parameter in module.parameters()] == before


class Scheduled(ByHand):
    """Steps its scheduler by hand, after its optimizer: every step of a test has the LR of the test."""

    def training_step(self, batch, batch_idx):
        optimizer, loss = self.optimizers(), self.loss(batch)
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()
        self.lr_schedulers().step()
        return loss

    def configure_optimizers(self):
        optimizer = SGD(self.parameters(), lr=START)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 5)]


@pytest.mark.parametrize("finder", FINDERS)
def test_a_scheduler_that_is_stepped_by_hand_is_no_hindrance(finder):
    test = FINDERS[finder]()
    fit(Scheduled(), test)
    assert test.suggestion is not None


class SetsAtStart(Learner):
    def on_train_start(self):
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = 0.05


class SetsLater(Learner):
    """Sets its LR only when training has begun, so that no test can meet with it."""

    def on_train_batch_end(self, outputs, batch, batch_idx):
        if self.trainer.global_step == 1:
            for group in self.trainer.optimizers[0].param_groups:
                group["lr"] = 0.05


class WithSchedule(SetsLater):
    def configure_optimizers(self):
        optimizer = SGD(self.parameters(), lr=START)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 5)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


@pytest.mark.parametrize("kind", [SetsLater, WithSchedule])
def test_an_lr_that_other_code_sets_after_the_test_is_told(kind, tmp_path):
    test = LRRangeTest(24)
    with pytest.warns(UserWarning, match="LRRangeTest has told that the LR is .* is made with 0.05"):
        fit(kind(), test, root=tmp_path)
    [line] = [line for line in told(tmp_path) if line["kind"] == "LR changed"]
    assert line["evidence"] == {"expected": test.suggestion.lr, "found": 0.05}


def test_an_lr_that_a_start_hook_sets_is_told(tmp_path):
    with pytest.raises(MisconfigurationException, match="a hook of the module"):
        fit(InHook(), LRRangeTest(24))
    test = LRRangeTest(24)
    with pytest.warns(UserWarning, match="is made with 0.05"):
        fit(SetsAtStart(), test, root=tmp_path)


class WritesItsLR(Learner):
    """Has an LR of its own, which every fit writes again."""

    def configure_optimizers(self):
        return SGD(self.parameters(), lr=START)


@pytest.mark.parametrize("apply", [True, False])
@pytest.mark.parametrize("finder", ["LRRangeTest", "LRSearch"])
def test_a_second_fit_keeps_the_lr_found_and_says_so(finder, apply, tmp_path):
    test = FINDERS[finder](apply=apply)
    module, run = WritesItsLR(), trainer(test, root=tmp_path, max_epochs=1)
    run.fit(module)
    found = test.suggestion.lr
    assert found != START
    trace = LRTrace()
    run.callbacks.append(trace)
    run.fit_loop.max_epochs = 2
    run.fit(module)
    assert trace.first_group() == [found if apply else START] * module.batches
    kept = [line["effect"] for line in told(tmp_path) if line["kind"] == "LR kept"]
    assert kept == ([f"LR {START:.3g} -> {found:.3g}"] if apply else [])


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
def test_a_resumed_fit_that_was_never_tested_is_not_and_says_so(tmp_path):
    fit(Learner(), ModelCheckpoint(tmp_path, "saved"), max_epochs=1, enable_checkpointing=True)
    test = LRRangeTest(24)
    fit(Learner(), test, ckpt_path=tmp_path / "saved.ckpt", max_epochs=2, root=tmp_path)
    assert test.suggestion is None
    [line] = told(tmp_path)
    assert (line["kind"], line["effect"]) == ("no test", "LR stays 0.002")


class Stream(IterableDataset):
    def __iter__(self):
        generator = torch.Generator().manual_seed(0)
        while True:
            features = torch.randn(16, 4, generator=generator)
            yield features, features.sum(1, keepdim=True)


class Endless(Learner):
    def train_dataloader(self):
        return DataLoader(Stream(), batch_size=None)


REFUSED = {
    "a share of a stream": (lambda: [LRDecay(Constant(), interval="step", warmup=0.05)], "warm-up"),
    "a policy without end": (lambda: [LRDecay(Cosine(), interval="step")], "no end"),
}


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("finder", ["LRRangeTest", "LRSearch"])
def test_a_fit_that_a_callback_refuses_costs_no_test(finder, name, order):
    make, reason = REFUSED[name]
    callbacks = [FINDERS[finder](), *make()]
    with pytest.raises(MisconfigurationException, match=reason):
        fit(Endless(), *callbacks[::order], max_epochs=-1)
    assert LEDGER["steps"] == 0


@pytest.mark.parametrize("order", [1, -1])
def test_a_budget_without_an_end_costs_no_test(order):
    with pytest.raises(MisconfigurationException, match="no end"):
        fit(Endless(), *[LRRangeTest(24), LRSearch(budget=0.1)][::order], max_epochs=-1)
    assert LEDGER["steps"] == 0


@pytest.mark.filterwarnings("ignore:Total length of")
def test_a_test_is_not_made_for_validations_that_nobody_can_judge():
    class Empty(Learner):
        def val_dataloader(self):
            return DataLoader([], batch_size=4)

    with pytest.raises(MisconfigurationException, match="no validation to judge"):
        fit(Empty(), LRRangeTest(24), PlateauDetector(detector=Patience(2)))
    assert LEDGER["steps"] == 0


DOUBTS = {
    "longer than the run": (LRDecay(Linear(), warmup=1000), "The warm-up takes 1,000 steps and the run 48"),
    "as long as the run": (LRDecay(Linear(), warmup=48), "The warm-up takes 48 steps and the run 48"),
    "a second ramp": (LRDecay(OneCycle(), interval="step", warmup=5), "rises by itself"),
    "a second ramp of WSD": (
        LRDecay(WarmupStableDecay(warmup=0.1), interval="step", warmup=0.1),
        "begins at 0 of the base LR and rises by itself",
    ),
    "over at once": (LRDecay(Exponential(0.5), interval="step"), "is below 0.001 of the base LR for 7"),
    "steps instead of epochs": (LRDecay(Step(3), interval="step"), "count in epochs"),
    "one epoch": (LRDecay(Cosine()), "counts epochs, and this run has one"),
}


@pytest.mark.parametrize("name", DOUBTS)
def test_a_setting_without_the_effect_that_one_expects_is_told_once(name, tmp_path, caplog):
    decay, sentence = DOUBTS[name]
    epochs = 1 if name == "one epoch" else 2
    fit(Learner(batches=48 // epochs), decay, root=tmp_path, max_epochs=epochs)
    [line] = [line for line in told(tmp_path) if line["kind"] == "settings"]
    assert sentence in line["summary"]
    assert caplog.text.count(sentence) == 1
    shown = preview(
        decay.policy,
        max_epochs=epochs,
        steps_per_epoch=48 // epochs,
        interval=decay.interval,
        warmup=decay.warmup,
    )
    assert str(shown).count(sentence) == 1


@pytest.mark.parametrize(
    "decay",
    [LRDecay(Cosine(), interval="step", warmup=0.05), LRDecay(), LRDecay(Step(30)), LRDecay(Constant())],
)
def test_a_usual_setting_is_not_doubted(decay, tmp_path):
    fit(Learner(), decay, root=tmp_path, max_epochs=2)
    assert not (tmp_path / "run" / "decisions.jsonl").exists() or {"settings"}.isdisjoint(
        line["kind"] for line in told(tmp_path)
    )


def test_one_number_is_told_for_the_length_of_a_warm_up(tmp_path):
    decay = LRDecay(Linear(), interval="step", warmup=0.05)
    fit(Learner(batches=69), decay, root=tmp_path, max_epochs=5)
    assert decay.plan.ramp_steps == 18
    assert "warm-up 18 of 345" in str(preview(Linear(), max_steps=345, interval="step", warmup=0.05))
    [line] = [line["summary"] for line in told(tmp_path) if line["kind"] == "warm-up end"]
    assert line == "The warm-up of 18 steps is over."


@pytest.mark.parametrize(
    "other",
    [
        LRDecay(Cosine(), warmup=4),
        LRDecay(Linear(), warmup=5),
        LRDecay(Linear(), interval="step", warmup=4),
    ],
)
@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
def test_a_resume_under_another_plan_is_told(other, tmp_path):
    saver = ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1)
    fit(Learner(), LRDecay(Linear(), warmup=4), saver, max_epochs=2, enable_checkpointing=True)
    saved = tmp_path / "epoch=0.ckpt"
    with pytest.warns(UserWarning, match="was LRDecay.Linear.*warmup=4. when the checkpoint was saved"):
        fit(Learner(), other, ckpt_path=saved, max_epochs=2, root=tmp_path)
    assert next(line["kind"] for line in told(tmp_path)) == "new plan"


def test_a_costly_test_and_a_second_finder_are_told(tmp_path):
    first, second = LRRangeTest(24), LRSearch(1e-4, 1.0, budget=60)
    module = Learner()
    module.lr = START
    finder = LearningRateFinder(num_training_steps=8, update_attr=True)
    run = fit(module, first, second, finder, root=tmp_path)
    settings = {line["source"]: line["summary"] for line in told(tmp_path) if line["kind"] == "settings"}
    # A ramp, and three trials without a warm-up of 11 steps each.
    assert "The test takes about 57 steps and the run 20: 285% more." in settings["LRRangeTest"]
    assert "LRSearch will look for an LR too, and that of LRSearch is used." in settings["LRRangeTest"]
    assert "LearningRateFinder of Lightning looks for an LR too" in settings["LRSearch"]
    assert lrs_of(run) == [second.suggestion.lr]


@pytest.mark.parametrize(
    ("first", "second", "used"),
    [
        (True, True, ", and that of LRSearch is used"),
        (True, False, ", and that of LRRangeTest is used"),
        (False, False, ""),
    ],
)
def test_of_two_finders_the_one_whose_lr_is_used_is_told(first, second, used, caplog):
    test = LRRangeTest(24, apply=first)
    search = LRSearch(steps_per_trial=3, final_steps=3, budget=40, apply=second)
    run = fit(Learner(), test, search)
    assert f"LRSearch will look for an LR too{used}. One will do." in caplog.text
    expected = search.suggestion.lr if second else test.suggestion.lr if first else START
    assert lrs_of(run) == [expected]


@pytest.mark.parametrize(
    ("options", "callbacks", "steps"),
    [
        ({}, [], 24 + 3 * 11),
        ({}, [LRDecay(Linear(), interval="step", warmup=4)], 24),
        ({"rule": MidDescent()}, [], 24),
        ({"rule": MidDescent(), "steps_per_trial": 10}, [], 24 + 3 * 10),
        ({"steps_per_trial": 50}, [], 24 + 3 * 20),
        ({"live": True, "min_lr": 1e-4, "max_lr": 1.0}, [], 24),
    ],
)
def test_the_cost_that_is_told_counts_the_trials_to_be_made(options, callbacks, steps, caplog):
    fit(Learner(), LRRangeTest(24, **options), *callbacks)
    assert f"The test takes about {steps} steps and the run 20: " in caplog.text


@pytest.mark.parametrize(
    ("decay", "warns"),
    [
        (None, True),
        (LRDecay(Linear(), interval="step"), True),
        (LRDecay(Linear(), interval="step", warmup=0.1), False),
        (LRDecay(OneCycle(), interval="step"), False),
    ],
)
@pytest.mark.parametrize("order", [1, -1])
def test_another_rule_without_a_warm_up_after_it_says_so(decay, warns, order, tmp_path):
    callbacks = [LRRangeTest(24, rule=MidDescent()), *([decay] if decay else [])]
    fit(Learner(), *callbacks[::order], root=tmp_path)
    [line] = [line for line in told(tmp_path) if line["kind"] == "range test"]
    assert line["summary"].endswith(NO_WARMUP) == warns


def test_torch_schedules_that_warm_up_are_known(tmp_path):
    def warming(parameters):
        optimizer = AdamW(parameters, lr=START)
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 0.1, total_iters=5)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]

    fit(Learner(warming), LRRangeTest(24), root=tmp_path)
    [line] = [line for line in told(tmp_path) if line["kind"] == "range test"]
    assert not line["summary"].endswith(NO_WARMUP)
