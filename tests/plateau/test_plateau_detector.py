"""PlateauDetector in real fits: what it judges, what follows, and that a resumed run does the same."""

import json
import math
import re
import sys

import pytest
import torch
from helpers.scripted import ManualStalling, Stalling, Verdicts, saver
from helpers.toy import LRTrace, Toy, fit, loader, lrs_of, scalars
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningCLI
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.optim import SGD, AdamW
from torch.optim import lr_scheduler as schedulers
from torch.utils.data import DataLoader

from lightning_lr import LRDecay, LRLogger, PlateauDetector
from lightning_lr.plateau import (
    Escape,
    Patience,
    ReduceLR,
    ReportOnly,
    RestoreBest,
    Retune,
    SlopeTest,
    StartCooldown,
    StopTraining,
)
from lightning_lr.policies import Constant, Cosine, Linear, WarmupStableDecay


def sgd(parameters):
    return SGD(parameters, lr=0.1, momentum=0.9)


def two_groups(parameters):
    weight, bias = parameters
    return AdamW([{"params": [weight]}, {"params": [bias], "lr": 0.02}], lr=0.1)


def scheduled(make, interval="step"):
    def make_optimizer(parameters):
        optimizer = sgd(parameters)
        scheduler = {"scheduler": make(optimizer), "interval": interval, "monitor": "val_loss"}
        return {"optimizer": optimizer, "lr_scheduler": scheduler}

    return make_optimizer


def warm_then_cosine(optimizer):
    parts = [schedulers.LinearLR(optimizer, 0.1, total_iters=7), schedulers.CosineAnnealingLR(optimizer, 20)]
    return schedulers.SequentialLR(optimizer, parts, [7])


def chained(optimizer):
    parts = [schedulers.StepLR(optimizer, 6), schedulers.ExponentialLR(optimizer, 0.95)]
    return schedulers.ChainedScheduler(parts)


STEPS = 28
SCHEDULERS = {
    "LambdaLR": lambda o: schedulers.LambdaLR(o, lambda step: 1 / (1 + step)),
    "StepLR": lambda o: schedulers.StepLR(o, 9, 0.5),
    "MultiStepLR": lambda o: schedulers.MultiStepLR(o, [5, 17], 0.5),
    "ExponentialLR": lambda o: schedulers.ExponentialLR(o, 0.9),
    "CosineAnnealingLR": lambda o: schedulers.CosineAnnealingLR(o, STEPS),
    "CosineAnnealingWarmRestarts": lambda o: schedulers.CosineAnnealingWarmRestarts(o, 6),
    "OneCycleLR": lambda o: schedulers.OneCycleLR(o, 0.2, STEPS),
    "CyclicLR": lambda o: schedulers.CyclicLR(o, 0.01, 0.2, 5),
    "SequentialLR": warm_then_cosine,
    "ChainedScheduler": chained,
    "PolynomialLR": lambda o: schedulers.PolynomialLR(o, STEPS),
}
FITS = {
    "constant": (sgd, [], {}),
    "two groups": (two_groups, [], {}),
    "LR in a tensor": (lambda parameters: AdamW(parameters, lr=torch.tensor(0.1)), [], {}),
    "LRDecay in epochs": (sgd, [lambda: LRDecay(Linear())], {}),
    "LRDecay in steps": (sgd, [lambda: LRDecay(Cosine(), interval="step", warmup=5)], {}),
    "LRDecay first": (sgd, [lambda: LRDecay(Constant(), interval="step", warmup=9)], {}),
    "accumulation": (sgd, [], {"accumulate_grad_batches": 2, "max_epochs": 14}),
    "every other epoch": (sgd, [], {"check_val_every_n_epoch": 2, "max_epochs": 14}),
    "within epochs": (sgd, [], {"val_check_interval": 2}),
    "LRDecay in epochs, within epochs": (sgd, [lambda: LRDecay(Linear())], {"val_check_interval": 2}),
    "LRDecay within epochs": (sgd, [lambda: LRDecay(Cosine(), interval="step")], {"val_check_interval": 2}),
    "StepLR within epochs": (scheduled(SCHEDULERS["StepLR"]), [], {"val_check_interval": 2}),
    "two optimizers, manual": (None, [], {}),
}
FITS |= {name: (scheduled(make), [], {}) for name, make in SCHEDULERS.items()}
FITS |= {
    f"{name} in epochs": (scheduled(SCHEDULERS[name], "epoch"), [], {})
    for name in ("StepLR", "LambdaLR", "CosineAnnealingLR")
}
ON_PLATEAU = scheduled(lambda o: schedulers.ReduceLROnPlateau(o, factor=0.5, patience=0), "epoch")


# No power of two: products with it are rounded, and a resumed run has to round alike.
FACTOR = 0.3


def detector(**kwargs):
    return PlateauDetector(detector=Patience(patience=0), on_plateau=ReduceLR(FACTOR, cooldown=1), **kwargs)


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended")
@pytest.mark.parametrize("name", FITS)
def test_a_run_resumed_after_any_validation_has_the_same_verdicts_and_lrs(name, tmp_path):
    make, others, options = FITS[name]

    def run(*more, ckpt_path=None):
        module = ManualStalling(batches=4) if make is None else Stalling(make, batches=4)
        judge, trace = detector(), LRTrace()
        callbacks = [judge, *(other() for other in others), trace, *more]
        settings = {"max_epochs": 7, "enable_checkpointing": bool(more)} | options
        fitted = fit(module, *callbacks, ckpt_path=ckpt_path, **settings)
        return judge, trace.lrs, lrs_of(fitted), [each.detach().clone() for each in module.parameters()]

    judge, lrs, end, weights = run(saver(tmp_path / "saved"))
    assert any("->" in effect for record in judge._records for effect in record.effects)
    saved = sorted((tmp_path / "saved").iterdir())
    assert len(saved) == len(judge.verdicts) >= 7
    for path in saved:
        again, lrs_again, end_again, weights_again = run(ckpt_path=path)
        # As text, since no NaN equals another.
        assert repr(again._records) == repr(judge._records)
        assert lrs_again == {step: lr for step, lr in lrs.items() if step in lrs_again}
        assert not lrs_again or max(lrs_again) == max(lrs)
        assert end_again == end
        assert all(map(torch.equal, weights_again, weights))


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended")
def test_a_run_resumed_between_validations_has_the_same_training_loss(tmp_path):
    def run(*more, ckpt_path=None):
        judge = detector()
        settings = {"max_epochs": 4, "enable_checkpointing": bool(more)}
        fit(Stalling(two_groups, batches=4), judge, *more, ckpt_path=ckpt_path, **settings)
        return judge

    each = ModelCheckpoint(tmp_path / "saved", filename="{step}", save_top_k=-1, every_n_train_steps=1)
    whole = run(each)
    # After the last batch of an epoch, Lightning resumes with the next epoch and without the validation.
    within = [path for path in (tmp_path / "saved").iterdir() if int(path.stem.partition("=")[2]) % 4]
    assert len(within) == 12
    for path in within:
        assert repr(run(ckpt_path=path)._records) == repr(whole._records), path.name


def traced(make, *callbacks, **options):
    trace = LRTrace()
    settings = {"max_epochs": 7} | options
    fit(Stalling(make, batches=4), *callbacks, trace, **settings)
    return trace.lrs


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
def test_beside_reduce_lr_on_plateau_the_multiplier_survives_a_resume(tmp_path):
    # Lightning resumes this scheduler one step short where a validation was the last thing before the
    # checkpoint (PL#19865): what is compared is the ratio to the resumed run without PlateauDetector.
    traced(ON_PLATEAU, saver(tmp_path / "bare"), enable_checkpointing=True)
    judge = detector()
    traced(ON_PLATEAU, judge, saver(tmp_path / "judged"), enable_checkpointing=True)
    for path in (tmp_path / "judged").iterdir():
        again = detector()
        lrs = traced(ON_PLATEAU, again, ckpt_path=path)
        bare = traced(ON_PLATEAU, ckpt_path=tmp_path / "bare" / path.name)
        assert repr(again.verdicts) == repr(judge.verdicts)
        reduced = {record.step + 1 for record in judge._records if record.effects}
        assert reduced
        for step, [lr] in lrs.items():
            assert lr == pytest.approx(bare[step][0] * FACTOR ** sum(step >= each for each in reduced))


@pytest.mark.parametrize("name", [name for name in FITS if FITS[name][0] is not None])
def test_a_reduction_multiplies_whatever_the_schedule_is(name):
    make, others, options = FITS[name]
    bare = traced(make, *(other() for other in others), **options)
    judge = detector()
    reduced = traced(make, *(other() for other in others), judge, **options)
    at = [record.step + 1 for record in judge._records if record.effects]
    assert at
    assert reduced.keys() == bare.keys()
    # A tensor LR is one of single precision; what a scheduler computes recursively, it rounds.
    precision = 1e-6 if "tensor" in name else 1e-12
    for step, lrs in reduced.items():
        multiplier = FACTOR ** sum(step >= each for each in at)
        assert lrs == pytest.approx([lr * multiplier for lr in bare[step]], rel=precision), step


def test_the_lr_after_a_reduction_is_the_one_that_a_resumed_run_computes():
    def make(parameters):
        return SGD(parameters, lr=0.07)

    trace = LRTrace()
    judge = PlateauDetector(detector=Verdicts("ip"), on_plateau=ReduceLR(0.3))
    module = Stalling(make, batches=4)
    fit(module, judge, LRDecay(Constant(0.9)), trace, max_epochs=2, val_check_interval=1)
    # The rounding of these numbers depends on their order.
    assert trace.lrs[2] == trace.lrs[3] == [0.07 * 0.3 * 0.9] != [0.07 * 0.9 / 0.07 * (0.07 * 0.3)]


ACTIONS = {
    "RestoreBest": ([RestoreBest(0.5)], [], sgd),
    "RestoreBest, AdamW": ([RestoreBest(1.0)], [], two_groups),
    "RestoreBest, then stop": ([RestoreBest(1.0), StopTraining()], [], sgd),
    "Escape": ([Escape(2.0, duration=1, patience=3, attempts=2)], [], sgd),
    "Escape by momentum": ([Escape(2.0, quantity="momentum", duration=2, patience=4)], [], two_groups),
    "Escape under LRDecay": (
        [Escape(2.0, duration=1, patience=2)],
        [lambda: LRDecay(Cosine(), interval="step")],
        sgd,
    ),
    "StartCooldown in epochs": (
        [StartCooldown()],
        [lambda: LRDecay(WarmupStableDecay(0.2))],
        sgd,
    ),
    "StartCooldown in steps": (
        [StartCooldown()],
        [lambda: LRDecay(WarmupStableDecay(11, floor=0.1), interval="step", warmup=2)],
        sgd,
    ),
}


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
@pytest.mark.parametrize("name", ACTIONS)
def test_a_resumed_run_goes_on_with_what_an_action_has_begun(name, tmp_path):
    actions, others, make = ACTIONS[name]

    def run(*more, ckpt_path=None):
        judge, trace = PlateauDetector(detector=Verdicts("uiiuupuupuuu"), on_plateau=actions), LRTrace()
        module = Stalling(make, batches=4)
        callbacks = [*(other() for other in others), judge, trace, *more]
        settings = {"max_epochs": 14, "enable_checkpointing": bool(more)}
        fitted = fit(module, *callbacks, ckpt_path=ckpt_path, **settings)
        groups = [
            {key: value for key, value in group.items() if key != "params"}
            for group in fitted.optimizers[0].param_groups
        ]
        weights = [each.detach().clone() for each in module.parameters()]
        return judge, trace.lrs, repr(groups), weights, fitted.global_step

    judge, lrs, end, weights, steps = run(saver(tmp_path / "saved"))
    assert [bool(record.effects) for record in judge._records][5]
    saved = sorted((tmp_path / "saved").iterdir(), key=lambda path: int(path.stem.partition("=")[2]))
    assert len(saved) == len(judge.verdicts)
    for path in saved:
        if path == saved[-1] and "stop" in name:
            continue  # what follows an end is another run
        again, lrs_again, end_again, weights_again, steps_again = run(ckpt_path=path)
        assert repr(again._records) == repr(judge._records)
        assert lrs_again == {step: lr for step, lr in lrs.items() if step in lrs_again}
        assert steps_again == steps
        assert end_again == end
        assert all(map(torch.equal, weights_again, weights))


def judged(*callbacks, module=None, judge=None, **options):
    judge = judge or PlateauDetector(detector=Verdicts("i"), on_plateau=[])
    settings = {"max_epochs": 4} | options
    module = module or Stalling(sgd, batches=4)
    return judge, fit(module, *callbacks, judge, **settings)


def values_of(judge):
    return [record.value for record in judge._records]


class Sometimes(Stalling):
    """Logs its value only in every second validation, and another one only in training."""

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        self.log("train_loss", loss, on_step=True, on_epoch=True)
        return loss

    def validation_step(self, batch, batch_idx):
        if self.trainer.current_epoch % 2 == 0:
            super().validation_step(batch, batch_idx)
        self.log("other", 1.0)


def test_a_stale_value_is_never_counted():
    module = Sometimes(sgd, batches=4)
    judge, run = judged(module=module, max_epochs=6)
    assert values_of(judge) == pytest.approx([module.script(step) for step in (4, 12, 20)])
    assert [record.step for record in judge._records] == [3, 11, 19]
    assert "val_loss" in run.callback_metrics


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({"val_check_interval": 0.5}, [1, 3, 5, 7]),
        ({"check_val_every_n_epoch": 2, "max_epochs": 4}, [7, 15]),
        ({"check_val_every_n_epoch": None, "val_check_interval": 3}, [2, 5]),
        ({"num_sanity_val_steps": 2}, [3, 7]),
        ({"accumulate_grad_batches": 2}, [1, 3]),
        ({"fast_dev_run": True}, [0]),
    ],
)
def test_time_is_counted_in_validations(options, steps):
    module = Stalling(sgd, batches=4)
    judge, _ = judged(module=module, **({"max_epochs": 2} | options))
    assert [record.step for record in judge._records] == steps
    assert values_of(judge) == pytest.approx([module.script(step + 1) for step in steps])
    assert [record.validation for record in judge._records] == list(range(1, len(steps) + 1))


@pytest.mark.parametrize("monitor", ["val_loss", "loss/val"])
def test_a_loss_that_is_only_returned_is_found(monitor, tmp_path):
    judge, _ = judged(LRLogger(), module=Toy(), judge=PlateauDetector(monitor), root=tmp_path)
    steps, losses = zip(*scalars(tmp_path)["loss/val"], strict=True)
    assert tuple(record.step for record in judge._records) == steps
    assert values_of(judge) == pytest.approx(losses)


def test_what_is_logged_comes_before_what_is_returned():
    class Both(Toy):
        def validation_step(self, batch, batch_idx):
            self.log("val_loss", 7.0)
            return super().validation_step(batch, batch_idx)

    judge, _ = judged(module=Both())
    assert values_of(judge) == [7.0] * 4
    judge, _ = judged(module=Both(), judge=PlateauDetector("loss/val"))
    assert 7.0 not in values_of(judge)


class TwoLoaders(Toy):
    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        self.log("accuracy", float(dataloader_idx))

    def val_dataloader(self):
        return [loader(2), loader(1)]


def test_of_two_loaders_one_is_monitored():
    name = "accuracy/dataloader_idx_1"
    judge, _ = judged(module=TwoLoaders(), judge=PlateauDetector(name, mode="max"))
    assert values_of(judge) == [1.0] * 4


def test_the_training_loss_is_the_mean_since_the_last_validation():
    losses, means = [], []

    class Noted(Stalling):
        def training_step(self, batch, batch_idx):
            losses.append(super().training_step(batch, batch_idx))
            return losses[-1]

    class Note(Callback):
        def on_validation_end(self, trainer, pl_module):
            means.append(sum(map(float, losses)) / len(losses))
            losses.clear()

    for options in ({}, {"accumulate_grad_batches": 2}, {"precision": "bf16-mixed"}):
        means.clear()
        judge = PlateauDetector(detector=Verdicts(""), on_plateau=[])
        judged(Note(), module=Noted(sgd, batches=4), judge=judge, val_check_interval=2, **options)
        assert len(means) == 8
        assert judge._state["training_losses"] == pytest.approx(means, rel=1e-6)
        assert [record.training_loss for record in judge._records] == judge._state["training_losses"]


def test_without_a_training_loss_there_is_none():
    class Silent(ManualStalling):
        def training_step(self, batch, batch_idx):
            super().training_step(batch, batch_idx)

    judge, _ = judged(module=Silent(batches=4))
    assert all(math.isnan(record.training_loss) for record in judge._records)


@pytest.mark.parametrize(
    ("module", "monitor", "message"),
    [
        (
            lambda: Stalling(sgd),
            "val_acc",
            r"'val_acc' is nothing that .* gave.* It gave 'loss/val', 'val_loss'\.",
        ),
        (lambda: Sometimes(sgd), "train_loss", r"logged, but not by this validation. It gave .*'other'"),
        (TwoLoaders, "val_loss", r"It gave 'accuracy/dataloader_idx_0', 'accuracy/dataloader_idx_1'"),
    ],
)
def test_a_monitor_that_is_not_there_is_an_error_at_the_first_validation(module, monitor, message):
    judge = PlateauDetector(monitor)
    with pytest.raises(MisconfigurationException, match=message):
        judged(module=module(), judge=judge)
    assert judge.verdict is None


@pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no `val_dataloader`")
@pytest.mark.filterwarnings("ignore:You passed in a `val_dataloader` but have no `validation_step`")
@pytest.mark.filterwarnings("ignore:Total length of .* across ranks is zero")
@pytest.mark.parametrize(
    ("attributes", "options"),
    [
        ({"val_dataloader": LightningModule.val_dataloader}, {}),
        ({"validation_step": LightningModule.validation_step}, {}),
        ({"val_dataloader": lambda self: DataLoader([], batch_size=1)}, {}),
        ({"val_dataloader": lambda self: []}, {}),
        ({}, {"limit_val_batches": 0}),
    ],
    ids=["no loader", "no step", "empty loader", "no loaders", "limit"],
)
def test_a_fit_without_validation_is_refused(attributes, options):
    module = type("Unvalidated", (Toy,), attributes)()
    with pytest.raises(MisconfigurationException, match="PlateauDetector has no validation to judge"):
        judged(module=module, **options)


class Broken(Stalling):
    values = ()

    def script(self, step):
        return self.values[step // 4 - 1]


@pytest.mark.parametrize("judge", [SlopeTest(), Patience(patience=1)])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_values_that_are_no_numbers_are_judged_and_nothing_breaks(bad, judge, tmp_path):
    module = Broken(sgd, batches=4)
    module.values = [bad, 1.0, bad, 0.9, 0.8, bad]
    judge = PlateauDetector(detector=judge, on_plateau=RestoreBest(), on_divergence=RestoreBest())
    judged(module=module, judge=judge, max_epochs=6, root=tmp_path)
    assert values_of(judge) == pytest.approx(module.values, nan_ok=True)
    assert judge._reactions.best.value == pytest.approx(0.8)
    assert all(record.effects == () or "->" in record.effects[-1] for record in judge._records)


@pytest.mark.parametrize("judge", [SlopeTest(), Patience(patience=0)])
def test_one_validation_is_no_plateau(judge):
    judge = PlateauDetector(detector=judge)
    _, run = judged(judge=judge, max_epochs=1)
    assert len(judge.verdicts) == 1
    assert judge.verdict.state in {"undecided", "improving"}
    assert lrs_of(run) == [0.1]


def test_a_second_fit_starts_afresh():
    judge = PlateauDetector(detector=Verdicts("iip"), on_plateau=ReduceLR(0.5))
    fits = []
    for _ in range(2):
        torch.manual_seed(0)
        judged(judge=judge)
        fits.append(repr(judge._records))
    assert fits[0] == fits[1]


@pytest.mark.parametrize(
    ("make", "others", "schedule"),
    [
        (sgd, list, None),
        (sgd, lambda: [LRDecay(Constant(), interval="step", warmup=2)], None),
        (sgd, lambda: [LRDecay(Linear())], r"LRDecay\(Linear\)"),
        (scheduled(SCHEDULERS["StepLR"]), list, "StepLR"),
    ],
)
def test_with_a_schedule_the_default_is_to_report_and_an_action_given_acts(make, others, schedule, caplog):
    judge = PlateauDetector(detector=Verdicts("iipod"))
    judged(*others(), module=Stalling(make, batches=4), judge=judge, max_epochs=6)
    acted = [bool(record.effects) for record in judge._records]
    said = [line for line in caplog.messages if "changes the LR by itself" in line]
    if schedule is None:
        assert acted == [False, False, True, True, True, False]
        assert not said
    else:
        assert not any(acted)
        assert len(said) == 1
        assert re.search(schedule, said[0])
    given = PlateauDetector(detector=Verdicts("iipod"), on_plateau=ReduceLR(0.5))
    judged(*others(), module=Stalling(make, batches=4), judge=given, max_epochs=6)
    assert given._records[2].effects


def test_the_console_tells_changes_of_the_verdict_and_actions(caplog):
    judge = PlateauDetector(detector=Verdicts("uiiuipouuod"), on_plateau=ReduceLR(0.5), on_overfitting=[])
    judged(judge=judge, max_epochs=11)
    lines = [line for line in caplog.messages if line.startswith("PlateauDetector")]
    assert [line.split(",")[0] for line in lines[:3]] == [
        "PlateauDetector: val_loss improves",
        "PlateauDetector: val_loss has reached a plateau",
        "PlateauDetector: val_loss gets worse while the training loss still falls: overfitting",
    ]
    assert lines[1].endswith("at validation 6. Validation 6. (LR 0.1 -> 0.05)")
    assert lines[2].endswith("(LR stays 0.05)")
    assert "diverging" in lines[3]
    counts = "4 undecided, 3 improving, 1 plateau, 2 overfitting, 1 diverging"
    assert lines[4].startswith(f"PlateauDetector: Of 11 validations of val_loss: {counts}. The last: Validat")
    assert lines[4].endswith("(2 actions, LR 0.015 at the end)")
    assert len(lines) == 5


def test_tensorboard_shows_verdicts_numbers_and_a_figure(tmp_path):
    judge = PlateauDetector(detector=Verdicts("uipod"), on_plateau=ReduceLR(0.5), on_overfitting=[])
    judged(judge=judge, max_epochs=5, root=tmp_path)
    curves = scalars(tmp_path)
    xs = [3, 7, 11, 15, 19]
    assert curves["plateau/val_loss/verdict"] == list(zip(xs, [0, 1, 2, 3, 4], strict=True))
    assert curves["plateau/val_loss/slope"] == [(x, -0.25) for x in xs]
    assert curves["plateau/val_loss/noise"] == [(x, 0.5) for x in xs]
    assert curves["plateau/val_loss/threshold"] == [(x, 0.125) for x in xs]
    assert curves["plateau/val_loss/upper_threshold"] == [(x, 0.375) for x in xs]
    events = EventAccumulator(str(tmp_path / "run"), size_guidance={"images": 0}).Reload()
    [image] = events.Images("plateau/val_loss")
    assert (image.width, image.height) > (400, 300)
    lines = [json.loads(line) for line in (tmp_path / "run" / "decisions.jsonl").read_text().splitlines()]
    kinds = [line["kind"] for line in lines if line["source"] == "PlateauDetector"]
    assert kinds == ["verdict", "action", "verdict", "action", "summary"]
    action = lines[kinds.index("action")]
    assert action["effect"] == "LR 0.1 -> 0.05"
    assert action["evidence"]["verdict"]["state"] == "plateau"
    assert action["evidence"]["value"] == pytest.approx(judge._records[2].value)


def test_the_figure_can_be_had_without_a_logger():
    judge = PlateauDetector(detector=Verdicts("uipod"))
    with pytest.raises(RuntimeError, match="before the first validation"):
        judge.plot()
    judged(judge=judge, max_epochs=6)
    curve, rates = judge.plot().axes
    labels = [text.get_text() for text in curve.get_legend().get_texts()]
    assert labels == ["undecided", "improving", "plateau", "overfitting", "diverging"]
    assert (curve.get_ylabel(), rates.get_ylabel()) == ("val_loss", "LR (log scale)")


def test_only_the_last_thousand_validations_are_remembered(monkeypatch):
    monkeypatch.setattr("lightning_lr.plateau.plateau_detector._REMEMBERED", 3)
    judge, _ = judged(max_epochs=5)
    assert [record.validation for record in judge._records] == [3, 4, 5]


def test_a_fit_that_is_only_judged_is_the_plain_one():
    def end(*callbacks):
        torch.manual_seed(0)
        module = Toy(lambda parameters: AdamW(parameters, lr=0.1))
        fit(module, *callbacks, max_epochs=5)
        return [*module.parameters(), torch.rand(3)]

    judge = PlateauDetector(detector=Patience(patience=0), on_plateau=ReportOnly())
    assert all(map(torch.equal, end(), end(judge)))


def test_two_detectors_with_two_monitors(tmp_path):
    class Two(Stalling):
        def validation_step(self, batch, batch_idx):
            super().validation_step(batch, batch_idx)
            self.log("accuracy", 0.5)

    def both():
        return [
            PlateauDetector(detector=Verdicts("ip"), on_plateau=ReportOnly()),
            PlateauDetector("accuracy", mode="max", detector=Patience(patience=0)),
        ]

    first = both()
    fit(Two(sgd, batches=4), *first, saver(tmp_path / "saved"), max_epochs=3, enable_checkpointing=True)
    assert first[0].state_key != first[1].state_key
    second = both()
    with pytest.warns(UserWarning, match="Be aware that when using `ckpt_path`"):
        fit(Two(sgd, batches=4), *second, max_epochs=3, ckpt_path=tmp_path / "saved" / "step=8.ckpt")
    assert [repr(each._records) for each in second] == [repr(each._records) for each in first]


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
def test_a_checkpoint_of_another_detector_is_refused(tmp_path):
    judged(saver(tmp_path / "saved"), enable_checkpointing=True)
    other = PlateauDetector(detector=Patience())
    with pytest.raises(MisconfigurationException, match="cannot go on from this checkpoint"):
        fit(Stalling(sgd, batches=4), other, ckpt_path=tmp_path / "saved" / "step=8.ckpt")


def test_validation_alone_is_not_judged():
    judge, run = judged()
    run.validate(Stalling(sgd), verbose=False)
    assert len(judge.verdicts) == 4


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"monitor": None}, TypeError, "monitor"),
        ({"mode": "auto"}, ValueError, "'min' or 'max', got 'auto'"),
        ({"detector": "SlopeTest"}, TypeError, "must be a Detector"),
        ({"on_plateau": "ReduceLR"}, TypeError, r"on_plateau=.*got 'ReduceLR'"),
        ({"on_overfitting": [ReduceLR(), 3]}, TypeError, r"on_overfitting=.*got 3"),
        ({"on_divergence": ReduceLR}, TypeError, "on_divergence="),
    ],
)
def test_bad_arguments_are_errors_that_name_them(arguments, error, message):
    with pytest.raises(error, match=message):
        PlateauDetector(**arguments)


def test_it_is_configured_in_yaml(tmp_path, monkeypatch):
    config = tmp_path / "run.yaml"
    config.write_text("""
trainer:
  accelerator: cpu
  logger: false
  callbacks:
    - class_path: lightning_lr.PlateauDetector
    - class_path: lightning_lr.PlateauDetector
      init_args:
        monitor: val_acc
        mode: max
        detector:
          class_path: lightning_lr.plateau.Patience
          init_args: {patience: 3}
        on_plateau:
          class_path: lightning_lr.plateau.ReduceLR
          init_args: {factor: 0.2, min_lr: 1e-5}
        on_overfitting:
          - class_path: lightning_lr.plateau.RestoreBest
          - class_path: lightning_lr.plateau.StopTraining
        on_divergence: []
    - class_path: lightning_lr.PlateauDetector
      init_args:
        monitor: third
        detector: {class_path: lightning_lr.plateau.SlopeTest}
        on_plateau: {class_path: lightning_lr.plateau.StartCooldown}
        on_overfitting: {class_path: lightning_lr.plateau.Escape, init_args: {quantity: momentum}}
        on_divergence:
          - class_path: lightning_lr.plateau.Retune
          - class_path: lightning_lr.plateau.ReportOnly
""")
    monkeypatch.setenv("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
    monkeypatch.setattr(sys, "argv", ["run.py", "--config", str(config)])
    cli = LightningCLI(Toy, run=False, save_config_callback=None, seed_everything_default=False)
    plain, full, other = (each for each in cli.trainer.callbacks if isinstance(each, PlateauDetector))
    assert (plain.monitor, plain.mode, plain.detector) == ("val_loss", "min", SlopeTest())
    assert plain.on_plateau is plain.on_overfitting is plain.on_divergence is None
    assert (full.monitor, full.mode, full.detector) == ("val_acc", "max", Patience(patience=3))
    assert full.on_plateau == (ReduceLR(0.2, min_lr=1e-5),)
    assert full.on_overfitting == (RestoreBest(), StopTraining())
    assert full.on_divergence == ()
    assert other.on_plateau == (StartCooldown(),)
    assert other.on_overfitting == (Escape(quantity="momentum"),)
    assert other.on_divergence == (Retune(), ReportOnly())
