"""Tests in the middle of a run: when they come, and what the LR that they find means for its rest."""

import json
import math
import sys

import pytest
from helpers.finders import START, Learner, LossByLR, ManualLearner, adamw
from helpers.schedules import planned_fit, sgd, trained
from helpers.toy import LEDGER, LRTrace, Notes, Stream, fit, trainer
from helpers.twin import Net, assert_same, run
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningCLI
from torch.optim import SGD, AdamW
from torch.optim import lr_scheduler as torch_schedulers
from torch.utils.data import DataLoader

from lightning_lr import LRDecay, LRRangeTest, LRSearch
from lightning_lr.finders import Abstention, Suggestion
from lightning_lr.finders.milestones import check_milestones
from lightning_lr.peaks import lrs_left, peak_lr, peak_lrs
from lightning_lr.policies import Constant, Cosine, CosineRestarts, Exponential, Linear, WarmupStableDecay

NOTES = Notes()
KINDS = {
    "LRRangeTest": lambda *milestones: LRRangeTest(24, milestones=milestones),
    "LRSearch": lambda *milestones: LRSearch(
        steps_per_trial=6, final_steps=12, budget=80, score="train", milestones=milestones
    ),
}


def changes(trace):
    """Return the steps from which another LR holds."""
    lrs = trace.first_group()
    return [step for step in range(1, len(lrs)) if lrs[step] != lrs[step - 1]]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("share", "step"), [(0.25, 5), (0.21, 5), (0.5, 10), (0.0001, 1), (0.8, 16)])
def test_a_share_of_the_run_is_tested_once_it_is_over(kind, share, step):
    finder, trace = KINDS[kind](share), LRTrace()
    fit(Learner(), finder, trace)
    assert isinstance(finder.suggestion, Suggestion)
    assert trace.first_group() == [START] * step + [finder.suggestion.lr] * (20 - step)


def test_shares_and_epochs_are_tested_once_each():
    finder, trace, found = LRRangeTest(24, milestones=(0, 2, 0.25, 0.5)), LRTrace(), []
    finder.run_test = lambda *args: (type(finder).run_test(finder, *args), found.append(finder.suggestion))
    fit(Learner(), finder, trace, max_epochs=4)
    # Half of the run is the start of epoch 2.
    assert len(found) == 3
    assert changes(trace) == [10, 20]
    assert finder.state_dict()["tested"] == [0, 0.25, 1, 2, 0.5]


def test_a_share_counts_optimizer_steps():
    """Of 14 steps of up to 3 batches, at the first batch of the fourth."""
    finder, seen = LRRangeTest(24, milestones=(0.25,)), []
    finder.run_test = lambda trainer, module: seen.append(
        (trainer.global_step, trainer.fit_loop.epoch_loop.batch_idx)
    )
    fit(Learner(batches=20), finder, accumulate_grad_batches=3)
    assert seen == [(4, 12)]


def test_under_manual_optimization_batches_are_counted():
    finder, seen = LRRangeTest(24, milestones=(0.25,)), []
    finder.run_test = lambda trainer, module: seen.append(trainer.fit_loop.epoch_loop.batch_idx)
    fit(ManualLearner(), finder)
    assert seen == [5]


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_without_an_end_is_refused_before_any_step(kind):
    for milestones in [(0, 0.3), (0.3,)]:
        LEDGER["steps"] = 0
        with pytest.raises(MisconfigurationException, match=r"0\.3, a share of the run, and this run has no"):
            trainer(KINDS[kind](*milestones), max_epochs=-1, max_steps=-1).fit(Learner())
        assert LEDGER["steps"] == 0


def test_a_stream_has_shares_only_with_a_bound_in_steps():
    class Streamed(Learner):
        def train_dataloader(self):
            return DataLoader(Stream(10), batch_size=None)

    finder, seen = LRRangeTest(24, milestones=(0.5,)), []
    finder.run_test = lambda trainer, module: seen.append(trainer.global_step)
    fit(Streamed(), finder, max_steps=12)
    assert seen == [6]
    with pytest.raises(MisconfigurationException, match=r"Set `Trainer\(max_steps"):
        fit(Streamed(), LRRangeTest(milestones=(0.5,)))


def test_a_fast_dev_run_is_not_tested():
    fit(Learner(), LRRangeTest(milestones=(0, 0.5)), fast_dev_run=True)
    assert LEDGER["steps"] == 1
    fit(Learner(), LRRangeTest(milestones=(0, 0.5)), fast_dev_run=4, max_epochs=-1)
    assert LEDGER["steps"] == 4


@pytest.mark.parametrize(
    ("milestones", "error", "message"),
    [
        ((0, True), TypeError, "whole number, got True"),
        ((float("nan"),), ValueError, r"in \[0, 1\), got nan"),
        ((1.0,), ValueError, r"in \[0, 1\), got 1.0"),
        ((-0.1,), ValueError, "got -0.1"),
        ((-1,), ValueError, "at least 0, got -1"),
        ((0, 0.0), ValueError, "each moment once, got 0.0 twice"),
        ((3, 0.3, 3), ValueError, "got 3 twice"),
        ((0.3, 0.3), ValueError, "got 0.3 twice"),
        (("0.3",), TypeError, "got '0.3'"),
        (0.3, TypeError, r"list of epochs \(int\) and shares of the run \(float\), got 0.3"),
    ],
)
@pytest.mark.parametrize("kind", [LRRangeTest, LRSearch])
def test_bad_milestones_are_refused(kind, milestones, error, message):
    with pytest.raises(error, match=rf"{kind.__name__}\(milestones=...\).*{message}"):
        kind(milestones=milestones)


def test_numbers_of_numpy_are_taken():
    np = pytest.importorskip("numpy")
    assert check_milestones("x", [np.int64(2), np.float64(0.25)]) == (2, 0.25)


@pytest.mark.parametrize("text", ["[0, 0.3]", "[0, 3, 0.5]"])
def test_yaml(text, tmp_path, monkeypatch):
    config = tmp_path / "config.yaml"
    config.write_text(
        f"""
seed_everything: 1
trainer:
  accelerator: cpu
  logger: false
  callbacks:
    - class_path: lightning_lr.LRSearch
      init_args: {{milestones: {text}}}
    - class_path: lightning_lr.LRRangeTest
      init_args: {{milestones: {text}}}
"""
    )
    monkeypatch.setenv("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
    monkeypatch.setattr(sys, "argv", ["fit", "--config", str(config)])
    cli = LightningCLI(Learner, run=False, save_config_callback=None)
    finders = [each for each in cli.trainer.callbacks if isinstance(each, LRSearch | LRRangeTest)]
    assert len(finders) == 2
    for finder in finders:
        assert list(finder.milestones) == json.loads(text)
        assert [type(each) for each in finder.milestones] == [type(each) for each in json.loads(text)]


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("step", [5, 10, 15])
def test_a_run_that_was_cut_off_goes_on_as_it_would_have(kind, step, tmp_path):
    """Before the test of the middle, right before it, and after it."""

    def callbacks():
        return [KINDS[kind](0, 0.5), LRDecay(Linear(end=0.1), interval="step"), LRTrace()]

    saver = ModelCheckpoint(tmp_path, filename="{step}", save_top_k=-1, every_n_train_steps=5)
    finder, _, trace = whole = callbacks()
    fit(Learner(batches=5), *whole, saver, max_epochs=4, enable_checkpointing=True)
    again, _, trace_again = resumed = callbacks()
    module = Learner(batches=5)
    fit(module, *resumed, ckpt_path=tmp_path / f"step={step}.ckpt", max_epochs=4)
    assert trace_again.lrs == {at: lrs for at, lrs in trace.lrs.items() if at >= step}
    assert again.suggestion == finder.suggestion
    assert (LEDGER["steps"] == 20 - step) == (step == 15)


def test_a_share_that_was_over_before_a_resume_is_not_made_up_for(tmp_path):
    saver = ModelCheckpoint(tmp_path, filename="{step}", save_top_k=-1, every_n_train_steps=10)
    fit(Learner(), LRRangeTest(24, milestones=()), saver, enable_checkpointing=True)
    finder = LRRangeTest(24, milestones=(0.2, 0.8))
    with pytest.warns(UserWarning, match="Be aware that when"):
        fit(Learner(), finder, ckpt_path=tmp_path / "step=10.ckpt")
    assert finder.state_dict()["tested"] == [0.8, 1]


@pytest.mark.parametrize("tested", [[], [0], [0, 2]])
def test_a_state_of_epochs_alone_is_read(tested):
    """As versions before the shares have written it."""
    for finder in (LRRangeTest(), LRSearch()):
        old = {**finder.state_dict(), "tested": tested}
        del old["peak"]
        finder.load_state_dict(old)
        assert finder.state_dict()["tested"] == tested
        finder.load_state_dict({**finder.state_dict(), "tested": [0, 0.3], "peak": 0.5})
        assert finder.state_dict()["peak"] == 0.5
        with pytest.raises(MisconfigurationException, match="tested"):
            finder.load_state_dict({**old, "tested": ["0.3"]})


POLICIES = {
    "linear": (LRDecay(Linear(), interval="step"), 0.5),
    "linear, in epochs": (LRDecay(Linear()), 0.5),
    "cosine after a warm-up": (LRDecay(Cosine(), interval="step", warmup=4), 0.5),
    "during the warm-up": (LRDecay(Linear(), interval="step", warmup=12), 0.25),
    "exponential": (LRDecay(Exponential(0.8)), 0.5),
    "WSD": (LRDecay(WarmupStableDecay(8), interval="step"), 0.5),
    "restarts": (LRDecay(CosineRestarts(10), interval="step"), 0.3),
    "a floor": (LRDecay(Exponential(0.7), interval="step", min_lr=1e-4), 0.5),
    "constant": (LRDecay(Constant(), interval="step"), 0.5),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("name", POLICIES)
def test_under_a_plan_it_is_the_highest_lr_of_the_rest(name, order, kind, tmp_path):
    decay, share = POLICIES[name]
    finder, trace = KINDS[kind](share), LRTrace()
    fit(Learner(batches=5), *[finder, decay][::order], trace, root=tmp_path, max_epochs=4)
    step, lrs = int(20 * share), trace.first_group()
    assert max(lrs[step:]) == pytest.approx(finder.suggestion.lr, rel=1e-6)
    assert finder.lrs == {"SGD": pytest.approx(finder.suggestion.lr, rel=1e-6)}
    # The plan is the same, times a number.
    peak = finder.state_dict()["peak"]
    targets = [decay.plan.target(step=each, epoch=each // 5) for each in range(step, 20)]
    assert lrs[step:] == pytest.approx([target.lr(peak) for target in targets], rel=1e-6)
    lines = map(json.loads, (tmp_path / "run" / "decisions.jsonl").read_text().splitlines())
    [told] = [each for each in lines if each["source"] == kind]
    assert f"-> {finder.suggestion.lr:.3g}" in told["effect"]
    is_lower = finder.state_dict()["peak"] > 1.01 * finder.suggestion.lr
    assert ("the highest of the rest of the run" in told["effect"]) == is_lower


def test_a_floor_above_what_is_found_is_told(tmp_path):
    module = LossByLR(lambda lr: 1 + 0.1 * (math.log10(lr) + 2) ** 2, batches=20)
    module.make_optimizer = lambda parameters: SGD(parameters, lr=10.0)
    decay, trace = LRDecay(Linear(), interval="step", min_lr=4.0), LRTrace()
    finder = LRRangeTest(24, min_lr=1e-4, max_lr=10.0, milestones=(0.75,))
    fit(module, finder, decay, trace, root=tmp_path, max_epochs=1)
    told = (tmp_path / "run" / "decisions.jsonl").read_text()
    assert finder.suggestion.lr < 1
    assert trace.lrs[14] == [4.0]
    assert f"LR 4 -> {finder.suggestion.lr:.3g}" in told
    assert f"but a floor keeps it at {trace.lrs[15][0]:.3g}" in told


def test_groups_that_have_come_down_differently_are_tried_as_they_will_be():
    class TwoGroups(Learner):
        def configure_optimizers(self):
            weight, bias = self.linear.parameters()
            return SGD([{"params": weight, "name": "a"}, {"params": bias, "name": "b"}], lr=START)

        def training_step(self, batch, batch_idx):
            NOTES.append([group["lr"] for group in self.optimizers().param_groups])
            return super().training_step(batch, batch_idx)

    NOTES.all.clear()
    decay = LRDecay(Linear(), policies={"b": Constant()}, interval="step")
    finder, trace = LRRangeTest(24, milestones=(0.75,)), LRTrace()
    fit(TwoGroups(), finder, decay, trace)
    tried = [lrs for lrs in NOTES.all[15:-5] if lrs[1]]
    assert len(tried) > 20
    assert all(a / b == pytest.approx(0.25) for a, b in tried)
    assert trace.lrs[15] == pytest.approx([finder.suggestion.lr / 4, finder.suggestion.lr])
    assert finder.lrs == pytest.approx({"SGD/a": finder.suggestion.lr / 4, "SGD/b": finder.suggestion.lr})


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended")
def test_the_module_and_a_resumed_one_are_told_the_lr_of_the_whole_plan(tmp_path):
    class Named(Learner):
        def __init__(self, lr=START):
            super().__init__(lambda parameters: SGD(parameters, lr=self.hparams.lr))
            self.save_hyperparameters()

    def callbacks():
        return [LRRangeTest(24, milestones=(0.5,)), LRDecay(Linear(), interval="step")]

    module, saver = Named(), ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=15)
    finder, _ = found = callbacks()
    fit(module, *found, saver, enable_checkpointing=True)
    assert module.hparams.lr == pytest.approx(2 * finder.suggestion.lr)
    again = Named()
    fit(again, *callbacks(), ckpt_path=tmp_path / "step=15.ckpt")
    assert again.hparams.lr == module.hparams.lr


def test_where_a_plan_has_all_but_ended_there_is_no_test(tmp_path):
    finder, trace = LRRangeTest(24, milestones=(0.99,)), LRTrace()
    fit(Learner(batches=400), finder, LRDecay(Cosine(), interval="step"), trace, root=tmp_path, max_epochs=1)
    assert isinstance(finder.suggestion, Abstention)
    assert LEDGER["steps"] == 400
    assert "The schedule has come down: the highest LR of the rest" in finder.suggestion.reason
    [told] = (tmp_path / "run" / "decisions.jsonl").read_text().splitlines()[-1:]
    assert f"LR stays {trace.lrs[396][0]:.3g}" in told


def test_a_later_search_goes_on_from_the_weights_and_the_optimizer_of_then():
    class Counted(Learner):
        def training_step(self, batch, batch_idx):
            [state, *_] = self.optimizers().optimizer.state.values() or [{"step": 0}]
            NOTES.append((self.trainer.global_step, int(state["step"])))
            return super().training_step(batch, batch_idx)

    NOTES.all.clear()
    finder = LRSearch(steps_per_trial=6, final_steps=500, score="train", milestones=(0.8,))
    module = Counted(lambda parameters: AdamW(parameters, lr=0.2), batches=100)
    fit(module, finder, max_epochs=1)
    at_test = [made for step, made in NOTES.all if step == 80]
    assert min(at_test) == 80
    # 30 at LR 0, where Adam counts its steps as well.
    assert max(at_test) < 80 + 30
    assert finder.trials.start_loss < 5
    # The rest of the run has 20 steps.
    assert {trial.length for trial in finder.trials} == {6, 20}


def test_a_budget_that_is_too_small_later_ends_no_run(tmp_path):
    finder = LRSearch(1e-9, 1.0, budget=10, score="train", milestones=(0.5,))
    fit(Learner(), finder, root=tmp_path)
    assert isinstance(finder.suggestion, Abstention)
    assert "is too small" in finder.suggestion.reason


@pytest.mark.usefixtures("quick_figures")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "options", [{}, {"accumulate_grad_batches": 4}, {"val_check_interval": 0.25}], ids=str
)
def test_in_the_middle_of_an_epoch_it_leaves_no_trace(kind, options, tmp_path):
    results = []
    for name, finders in (("tested", [KINDS[kind](0.4)]), ("plain", [])):
        for finder in finders:
            finder.apply = False
        results.append(
            run(tmp_path / name, lambda: Net(lambda parameters: adamw(parameters, 0.01)), *finders, **options)
        )
    assert finder.suggestion is not None
    assert_same(*results)


SCHEDULES = {
    "a cosine": lambda o: torch_schedulers.CosineAnnealingLR(o, 20),
    "steps": lambda o: torch_schedulers.StepLR(o, 4, 0.5),
    "one cycle, before its peak": lambda o: torch_schedulers.OneCycleLR(
        o, 0.3, total_steps=20, pct_start=0.8, cycle_momentum=False
    ),
    "one cycle, after its peak": lambda o: torch_schedulers.OneCycleLR(
        o, 0.3, total_steps=20, pct_start=0.1, cycle_momentum=False
    ),
    "a chain": lambda o: torch_schedulers.SequentialLR(
        o,
        [torch_schedulers.LinearLR(o, 0.1, total_iters=5), torch_schedulers.ExponentialLR(o, 0.8)],
        [5],
    ),
    "none": None,
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_highest_left_is_what_trains_from_now_on(name):
    optimizer = sgd(0.1, 0.02)
    make = SCHEDULES[name]
    schedulers = [make(optimizer)] if make else []
    planned = planned_fit([optimizer], schedulers, epochs=2, batches=10)
    assert lrs_left(planned) == peak_lrs(planned)
    planned.max_epochs = 1
    trained(planned)
    planned.max_epochs = 2
    assert planned.global_step == 10
    left, whole = lrs_left(planned), peak_lr(planned)
    used = trained(planned)
    # The maximum of a cycle may lie between two steps.
    assert left == [pytest.approx([*map(max, *used)], rel=0.02 if "before" in name else 1e-6)]
    assert max(left[0]) <= whole * (1 + 1e-6)
