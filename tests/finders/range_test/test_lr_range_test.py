"""LRRangeTest in real fits: each is compared, bit for bit, with one that had started with the LR found."""

import math
import sys
from pathlib import Path

import pytest
import rich
import torch
from helpers.finders import START, EasyNet, Learner, ManualLearner, adamw
from helpers.toy import LEDGER, LRTrace, Stream, Toy, fit, lrs_of, scalars, trainer
from helpers.twin import assert_same, run
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import (
    ModelCheckpoint,
    RichProgressBar,
    TQDMProgressBar,
)
from lightning.pytorch.cli import LightningCLI
from lightning.pytorch.loggers import CSVLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.optim import SGD
from torch.utils.data import DataLoader, TensorDataset

import lightning_lr.finders.range_test.dry_ramp as dry_ramp_module
from lightning_lr import LRDecay, LRRangeTest
from lightning_lr.finders import Abstention, Basin, GiveBack, MidDescent, MinimumOver, Rule, Suggestion
from lightning_lr.finders.range_test.curve import SmoothCurve


def test_the_lr_of_every_step_is_the_one_found():
    test, trace = LRRangeTest(40), LRTrace()
    fit(Learner(), test, trace)
    assert isinstance(test.suggestion, Suggestion)
    assert trace.first_group() == [test.suggestion.lr] * 20
    # Of the quadratic 9 |w|^2 with unit features, steps beyond 1 are unstable.
    assert 0.01 < test.suggestion.lr < 1


def test_without_a_lr_applied_the_fit_is_the_plain_one(tmp_path):
    def build():
        return EasyNet(lambda parameters: adamw(parameters, START))

    test = LRRangeTest(24, apply=False, milestones=(0, 1))
    plain = run(tmp_path / "plain", build)
    tested = run(tmp_path / "tested", build, test)
    assert_same(plain, tested)
    assert isinstance(test.suggestion, Suggestion)


def test_milestones_are_tested_once_each():
    test, trace = LRRangeTest(40, milestones=(0, 2)), LRTrace()
    found = []

    class Note(Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            found.append(test.suggestion.lr)

    fit(Learner(batches=3), test, trace, Note(), max_epochs=4)
    assert trace.first_group() == [lr for lr in found for _ in range(3)]
    assert found[0] == found[1] != found[2] == found[3]


def test_a_later_test_has_points_of_its_own(tmp_path):
    test, curves = LRRangeTest(20, milestones=(0, 3)), []

    class Note(Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            curves.append(test.curve)

    fit(Learner(), test, Note(), max_epochs=4, root=tmp_path)
    first, later = curves[0].lrs, curves[3].lrs
    points = [*enumerate(first), *enumerate(later, start=30)]
    assert scalars(tmp_path)["range_test/lr"] == [(x, pytest.approx(lr)) for x, lr in points]


@pytest.mark.parametrize("bounds", [{}, {"min_epochs": 2}, {"min_steps": 5}])
@pytest.mark.parametrize("milestone", [0, 1])
def test_to_look_only_ends_the_fit_at_once(milestone, bounds):
    test, trace, module = LRRangeTest(40, milestones=(milestone,), stop_after=True), LRTrace(), Learner()
    before = [each.detach().clone() for each in module.parameters()]
    fitted = fit(module, test, trace, max_epochs=3, **bounds)
    assert isinstance(test.suggestion, Suggestion)
    assert fitted.global_step == len(trace.lrs) == 10 * milestone
    if milestone == 0:
        assert all(map(torch.equal, before, module.parameters()))


def test_a_second_fit_is_tested_again_and_finds_the_same():
    test, found = LRRangeTest(40), []
    for _ in range(2):
        fit(Learner(), test)
        found.append((test.suggestion, test.curve))
    assert found[0] == found[1]
    assert LEDGER["steps"] > 60


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended")
@pytest.mark.parametrize(("milestones", "step"), [((0,), 10), ((0, 1), 15)])
def test_a_resumed_fit_is_not_tested_again_and_keeps_what_was_found(milestones, step, tmp_path):
    saver = ModelCheckpoint(tmp_path, filename="{step}", save_top_k=-1, every_n_train_steps=5)
    whole, module = LRRangeTest(40, milestones=milestones), Learner()
    fit(module, whole, saver, enable_checkpointing=True)
    resumed, trace, again = LRRangeTest(40, milestones=milestones), LRTrace(), Learner()
    LEDGER["steps"] = 0
    trainer(resumed, trace).fit(again, ckpt_path=tmp_path / f"step={step}.ckpt", weights_only=True)
    assert LEDGER["steps"] == 20 - step
    assert (resumed.suggestion, resumed.curve) == (whole.suggestion, whole.curve)
    assert trace.first_group() == [whole.suggestion.lr] * (20 - step)
    # Within an epoch, Lightning starts the loader over.
    if step == 10:
        assert all(map(torch.equal, module.parameters(), again.parameters()))


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
def test_a_milestone_after_a_resume_is_tested(tmp_path):
    saver = ModelCheckpoint(tmp_path, filename="first", save_top_k=-1)
    fit(Learner(), LRRangeTest(40), saver, max_epochs=1, enable_checkpointing=True)
    test = LRRangeTest(40, milestones=(0, 1), rule=GiveBack())
    LEDGER["steps"] = 0
    trainer(test).fit(Learner(), ckpt_path=tmp_path / "first.ckpt", weights_only=True)
    assert LEDGER["steps"] == 4 + len(test.curve.lrs) + 1 + 10


@pytest.mark.parametrize(
    ("error", "arrives"),
    [
        (ValueError("broken"), ValueError),
        (torch.OutOfMemoryError("full"), torch.OutOfMemoryError),
        (KeyboardInterrupt(), SystemExit),  # Lightning's
    ],
)
@pytest.mark.parametrize("at", [2, 10])
def test_an_error_inside_arrives_and_nothing_has_changed(at, error, arrives, tmp_path):
    class Breaks(Learner):
        def training_step(self, batch, batch_idx):
            if LEDGER["steps"] == at:
                raise error
            return super().training_step(batch, batch_idx)

    test, module = LRRangeTest(40), Breaks()
    before = [each.detach().clone() for each in module.parameters()]
    LEDGER["steps"] = 0
    run_of = trainer(test, LRTrace(), root=tmp_path, max_steps=7)
    callbacks, loggers = list(run_of.callbacks), list(run_of.loggers)
    with pytest.raises(arrives):
        run_of.fit(module)
    assert all(map(torch.equal, before, module.parameters()))
    assert (run_of.callbacks, run_of.loggers) == (callbacks, loggers)
    assert (run_of.global_step, run_of.max_steps) == (0, 7)
    assert lrs_of(run_of) == [START]
    assert not run_of.optimizers[0].state
    assert not {"log", "log_dict"} & vars(module).keys()
    assert test.suggestion is test.curve is None


def test_repeats_go_over_other_batches(monkeypatch):
    seen = []

    def combine(decisions):
        seen.append(decisions)
        return dry_ramp_module.combine.__wrapped__(decisions)

    combine.__wrapped__ = dry_ramp_module.combine
    monkeypatch.setattr(dry_ramp_module, "combine", combine)
    test = LRRangeTest(30, repeats=3, rule=GiveBack())
    fit(Learner(batches=100), test, max_epochs=1)
    lrs = [decision.lr for decision in seen[0]]
    assert len(set(lrs)) == 3
    assert math.log10(test.suggestion.lr) == pytest.approx(sum(map(math.log10, lrs)) / 3)
    assert "3 of 3 repeats" in test.suggestion.reason


def test_a_linear_ramp_has_even_steps():
    test = LRRangeTest(50, mode="linear", min_lr=0.001, max_lr=2.0, rule=MinimumOver())
    fit(Learner(), test)
    steps = [after - before for before, after in zip(test.curve.lrs, test.curve.lrs[1:], strict=False)]
    assert steps == pytest.approx([steps[0]] * len(steps))
    assert isinstance(test.suggestion, Suggestion)


@pytest.mark.parametrize(
    ("bounds", "first", "last"),
    [
        ({"min_lr": 1e-4, "max_lr": 0.05}, 1e-4, 0.05),
        ({"min_lr": 1e-4}, 1e-4, None),
        ({"max_lr": 0.05}, None, 0.05),
    ],
)
def test_the_ramp_keeps_to_the_bounds_given(bounds, first, last):
    test = LRRangeTest(40, rule=GiveBack(), **bounds)
    fit(Learner(), test)
    lrs = test.curve.lrs
    assert lrs[0] == (first or pytest.approx(lrs[0]))
    assert lrs[-1] == (last or pytest.approx(lrs[-1]))
    assert lrs[-1] >= 100 * lrs[0]
    if last:
        assert "raise `max_lr`" in test.suggestion.reason
        assert isinstance(test.suggestion, Abstention)
    else:
        assert isinstance(test.suggestion, Suggestion)


class Tenth(Rule):
    """A rule of one's own."""

    def read(self, curve: SmoothCurve):
        return 10 ** float(curve.log_lrs[-1]) / 10, "A tenth of the last one."


def test_a_rule_of_ones_own():
    test = LRRangeTest(40, rule=Tenth())
    fit(Learner(), test)
    assert (test.suggestion.rule, test.suggestion.reason) == ("Tenth", "A tenth of the last one.")


def test_no_test_in_a_fast_dev_run(caplog):
    test = LRRangeTest(40)
    fitted = fit(Learner(), test, fast_dev_run=True)
    assert "no test in a `fast_dev_run`" in caplog.text
    assert LEDGER["steps"] == 1
    assert lrs_of(fitted) == [START]
    assert test.suggestion is None


def test_micro_batches_are_one_step_of_undivided_loss():
    test, accumulated = LRRangeTest(40, rule=GiveBack()), LRRangeTest(40, rule=GiveBack())
    fit(Learner(batches=100), test, max_epochs=1)
    fit(Learner(batches=100), accumulated, max_epochs=1, accumulate_grad_batches=2)
    assert LEDGER["steps"] == 2 * (4 + len(accumulated.curve.lrs) + 1) + 100
    level, undivided = (sum(each.curve.losses[:8]) for each in (test, accumulated))
    assert undivided == pytest.approx(level, rel=0.2)


def test_ratios_of_groups_are_kept():
    def two(parameters):
        weight, bias = parameters
        return SGD([{"params": [weight], "lr": 1e-4}, {"params": [bias], "lr": 1e-3}])

    test = LRRangeTest(40)
    fitted = fit(Learner(two), test)
    assert isinstance(test.suggestion, Suggestion)
    assert lrs_of(fitted) == pytest.approx([test.suggestion.lr / 10, test.suggestion.lr], rel=1e-12)


def test_ratios_of_optimizers_are_kept_under_manual_optimization():
    test, trace = LRRangeTest(40), LRTrace()
    fit(ManualLearner(), test, trace)
    assert isinstance(test.suggestion, Suggestion)
    wanted = [test.suggestion.lr, test.suggestion.lr / 10]
    assert all(lrs == pytest.approx(wanted, rel=1e-12) for lrs in trace.lrs.values())


def test_tensorboard_shows_the_curve_and_the_reasons(tmp_path):
    test = LRRangeTest(40)
    fit(Learner(), test, root=tmp_path)
    events = EventAccumulator(str(tmp_path / "run"), size_guidance={"tensors": 0, "images": 0}).Reload()
    [image] = events.Images("range_test")
    assert (image.width, image.height) > (400, 300)
    [text] = events.Tensors("range_test/text_summary")
    shown = text.tensor_proto.string_val[0].decode()
    assert test.suggestion.reason in shown
    for rule in ("Basin", "GiveBack", "MidDescent", "Steepest", "Valley", "MinimumOver"):
        assert f"| {rule} |" in shown
    series = scalars(tmp_path)
    lrs, losses = (series[f"range_test/{name}"] for name in ("lr", "loss"))
    assert [step for step, _ in lrs] == list(range(len(test.curve.lrs)))
    assert [lr for _, lr in lrs] == pytest.approx(test.curve.lrs)
    assert [loss for _, loss in losses] == pytest.approx(test.curve.losses)


@pytest.mark.filterwarnings("ignore:Experiment logs directory")
def test_other_loggers_get_the_curve_and_the_lr_found(tmp_path):
    class NotedLearner(Learner):
        def __init__(self, lr):
            super().__init__(lambda parameters: SGD(parameters, lr=self.hparams.lr))
            self.save_hyperparameters("lr")

    test, logger = LRRangeTest(40), CSVLogger(tmp_path)
    fit(NotedLearner(START), test, logger=logger)
    assert "range_test/loss" in Path(logger.log_dir, "metrics.csv").read_text()
    assert f"lr: {test.suggestion.lr}" in Path(logger.log_dir, "hparams.yaml").read_text()


def test_the_figure_can_be_had_without_a_logger():
    test = LRRangeTest(40)
    with pytest.raises(RuntimeError, match=r"before `Trainer.fit` has run the test"):
        test.plot()
    fit(Learner(), test)
    title = test.plot().axes[0].get_title("left")
    assert title == f"LR range test: {test.suggestion.lr:.3g} by Basin"


def test_a_tqdm_bar_where_the_trainer_has_one(capsys):
    fit(Learner(), LRRangeTest(40), TQDMProgressBar(), enable_progress_bar=True)
    shown = "".join(capsys.readouterr())
    assert "LR range test" in shown
    assert "Epoch 1" in shown


@pytest.mark.parametrize("order", [1, -1])
def test_a_rich_bar_where_the_trainer_has_one(order, monkeypatch, capsys):
    # A console that takes what it writes to for a terminal.
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr(rich, "_console", None)
    fit(Learner(), *[LRRangeTest(40), RichProgressBar()][::order], enable_progress_bar=True)
    shown = capsys.readouterr().out
    assert "LR range test" in shown
    assert "Epoch 1/1" in shown
    assert shown.rindex("LR range test") < shown.index("Epoch 1/1")


def test_no_bar_where_that_is_off(capsys):
    fit(Learner(), LRRangeTest(40))
    assert "LR range test" not in "".join(capsys.readouterr())


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"num_steps": 1}, ValueError, "at least 2, got 1"),
        ({"num_steps": 10.0}, TypeError, "num_steps"),
        ({"min_lr": 0.0}, ValueError, r"min_lr=.*\(0, inf\), got 0.0"),
        ({"min_lr": -1.0}, ValueError, "got -1.0"),
        ({"max_lr": math.nan}, ValueError, "got nan"),
        ({"max_lr": math.inf}, ValueError, "got inf"),
        ({"min_lr": 0.1, "max_lr": 0.1}, ValueError, r"\(0.1, inf\), got 0.1"),
        ({"min_lr": 0.1, "max_lr": 0.01}, ValueError, r"\(0.1, inf\), got 0.01"),
        ({"mode": "cubic"}, ValueError, "cubic"),
        ({"repeats": 0}, ValueError, "got 0"),
        ({"milestones": (-1,)}, ValueError, "got -1"),
        ({"rule": "Basin"}, TypeError, "must be a Rule"),
    ],
)
def test_bad_arguments_are_errors_that_name_them(arguments, error, message):
    with pytest.raises(error, match=message):
        LRRangeTest(**arguments)


class Spoiled(Learner):
    """Its loss is made into something else."""

    def __init__(self, spoil, **kwargs):
        super().__init__(**kwargs)
        self.spoil = spoil

    def training_step(self, batch, batch_idx):
        return self.spoil(super().training_step(batch, batch_idx))


@pytest.mark.parametrize("bounds", [{}, {"min_lr": 1e-5, "max_lr": 1.0}])
@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda loss: loss * math.nan, "no finite number|Only 0 finite losses"),
        (lambda loss: loss * math.inf, "no finite number|Only 0 finite losses"),
        (lambda loss: loss * 0 + 1, "no scale|mean_descent|stayed at 1"),
        (lambda loss: loss * 0, "no scale|mean_descent|stayed at 0"),
    ],
)
def test_a_loss_that_says_nothing_leaves_the_lr_alone(spoil, reason, bounds, tmp_path, caplog):
    test = LRRangeTest(40, **bounds)
    fitted = fit(Spoiled(spoil), test, root=tmp_path)
    assert isinstance(test.suggestion, Abstention)
    assert lrs_of(fitted) == [START]
    [line] = [each for each in caplog.messages if each.startswith("LRRangeTest: LR stays 0.002. ")]
    assert any(part in line for part in reason.split("|"))


def test_a_loss_without_gradient_is_an_error():
    with pytest.raises(RuntimeError, match="does not require grad"):
        fit(Spoiled(torch.Tensor.detach), LRRangeTest(40))


def test_an_empty_stream_is_an_error():
    class Empty(Learner):
        def train_dataloader(self):
            return DataLoader(Stream(0), batch_size=None)

    with pytest.raises(MisconfigurationException, match="no batches"):
        fit(Empty(), LRRangeTest(40))


@pytest.mark.filterwarnings("ignore:Total length of .* across ranks is zero")
def test_an_empty_loader_is_no_fit_and_no_test():
    class Empty(Learner):
        def train_dataloader(self):
            return DataLoader(TensorDataset(torch.ones(0, 4), torch.ones(0, 1)), 4)

    test = LRRangeTest(40)
    fit(Empty(), test)
    assert test.suggestion is None


def test_it_is_configured_in_yaml(tmp_path, monkeypatch):
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")
    config = tmp_path / "run.yaml"
    config.write_text("""
trainer:
  accelerator: cpu
  logger: false
  callbacks:
    - class_path: lightning_lr.LRRangeTest
      init_args:
        num_steps: 40
        min_lr: 1e-4
        milestones: [0, 3]
        mode: linear
        rule:
          class_path: lightning_lr.finders.GiveBack
          init_args: {divisor: 4}
""")
    monkeypatch.setenv("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
    monkeypatch.setattr(sys, "argv", ["run.py", "--config", str(config)])
    cli = LightningCLI(Toy, run=False, save_config_callback=None)
    [test] = [each for each in cli.trainer.callbacks if isinstance(each, LRRangeTest)]
    assert (test.num_steps, test.min_lr, test.max_lr, test.mode) == (40, 1e-4, None, "linear")
    assert (tuple(test.milestones), test.rule) == ((0, 3), GiveBack(divisor=4))
    assert LRRangeTest().rule == Basin()


def test_in_a_long_run_the_lr_is_moved_as_the_optimizer_asks():
    found = []
    for optimizer in (None, lambda each: torch.optim.Adagrad(each, lr=START)):
        short, long = (LRRangeTest(40, steps_per_trial=0, stop_after=True) for _ in range(2))
        fit(Learner(optimizer), short, LRDecay(warmup=4), max_epochs=1)
        fit(Learner(optimizer), long, LRDecay(warmup=4), max_epochs=320)
        found.append((long.suggestion.lr / short.suggestion.lr, long.suggestion.reason))
    # 3,200 steps are four doublings of 200.
    assert [ratio for ratio, _ in found] == pytest.approx([2**-0.4, 2**0.6], rel=1e-6)
    assert "For the length of the run it is lowered 1.3x." in found[0][1]
    # The article's rule is a reading of the curve.
    plain = LRRangeTest(40, rule=MidDescent(), stop_after=True)
    fit(Learner(), plain, max_epochs=320)
    assert "length of the run" not in plain.suggestion.reason


def test_where_no_lr_does_harm_the_lr_stays_and_no_longer_ramp_is_made():
    class Bounded(Toy):
        """The larger a step, the lower the loss, which is between 0 and 1, but for its noise."""

        def training_step(self, batch, batch_idx):
            return torch.sigmoid(-self.linear.bias.sum()) + 0.01 * torch.randn(())

    torch.manual_seed(0)
    test = LRRangeTest(30)
    fitted = fit(Bounded(lambda parameters: SGD(parameters, lr=START)), test)
    assert isinstance(test.suggestion, Abstention)
    assert "has not risen again up to LR" in test.suggestion.reason
    assert len(test.curve.losses) < 3 * 30
    assert lrs_of(fitted) == [START]


def test_where_noise_hides_the_fall_a_longer_ramp_shows_it():
    class Noisy(Learner):
        def training_step(self, batch, batch_idx):
            noise = torch.randn((), generator=self.generator)
            return super().training_step(batch, batch_idx) + 15 * noise

        def on_train_start(self):
            self.generator = torch.Generator().manual_seed(0)

    test = LRRangeTest(20, min_lr=1e-6, max_lr=1.0)
    fit(Noisy(), test)
    assert len(test.curve.lrs) > 20
