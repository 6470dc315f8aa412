"""PlateauDetector in real fits: what it changes, and that a resumed run does the same."""

import pytest
import torch
from helpers.judged import SCHEDULERS, exact, judged, scheduled, sgd, two_groups
from helpers.scripted import ManualStalling, Stalling, Verdicts, saver
from helpers.toy import LRTrace, fit, lrs_of
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.optim import SGD, AdamW
from torch.optim import lr_scheduler as schedulers

from lightning_lr import LRDecay, PlateauDetector
from lightning_lr.plateau import (
    Escape,
    Patience,
    ReduceLR,
    ReportOnly,
    RestoreBest,
    StartCooldown,
    StopTraining,
)
from lightning_lr.policies import Constant, Cosine, Linear, WarmupStableDecay

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


def detector(final_decay=0.2):
    action = ReduceLR(FACTOR, cooldown=1, final_decay=final_decay)
    return PlateauDetector(detector=Patience(patience=0), on_plateau=action)


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
    assert any("->" in effect for record in judge.records for effect in record.effects)
    saved = sorted((tmp_path / "saved").iterdir())
    assert len(saved) == len(judge.verdicts) >= 7
    for path in saved:
        again, lrs_again, end_again, weights_again = run(ckpt_path=path)
        # As text, since no NaN equals another.
        assert exact(again.records) == exact(judge.records)
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
        assert exact(run(ckpt_path=path).records) == exact(whole.records), path.name


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
        assert exact(again.verdicts) == exact(judge.verdicts)
        reduced = {record.step + 1 for record in judge.records if record.effects}
        assert reduced
        for step, [lr] in lrs.items():
            assert lr == pytest.approx(bare[step][0] * FACTOR ** sum(step >= each for each in reduced))


@pytest.mark.parametrize("name", [name for name in FITS if FITS[name][0] is not None])
def test_a_reduction_multiplies_whatever_the_schedule_is(name):
    make, others, options = FITS[name]
    bare = traced(make, *(other() for other in others), **options)
    judge = detector(final_decay=0)
    reduced = traced(make, *(other() for other in others), judge, **options)
    at = [record.step + 1 for record in judge.records if record.effects]
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
        [lambda: LRDecay(WarmupStableDecay(11, end=0.1), interval="step", warmup=2)],
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
    assert [bool(record.effects) for record in judge.records][5]
    saved = sorted((tmp_path / "saved").iterdir(), key=lambda path: int(path.stem.partition("=")[2]))
    assert len(saved) == len(judge.verdicts)
    for path in saved:
        if path == saved[-1] and "stop" in name:
            continue  # what follows an end is another run
        again, lrs_again, end_again, weights_again, steps_again = run(ckpt_path=path)
        assert exact(again.records) == exact(judge.records)
        assert lrs_again == {step: lr for step, lr in lrs.items() if step in lrs_again}
        assert steps_again == steps
        assert end_again == end
        assert all(map(torch.equal, weights_again, weights))


def test_a_second_fit_starts_afresh():
    judge = PlateauDetector(detector=Verdicts("iip"), on_plateau=ReduceLR(0.5))
    fits = []
    for _ in range(2):
        torch.manual_seed(0)
        judged(judge=judge)
        fits.append(exact(judge.records))
    assert fits[0] == fits[1]


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
    assert [exact(each.records) for each in second] == [exact(each.records) for each in first]


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
def test_a_checkpoint_of_another_detector_is_refused(tmp_path):
    judged(saver(tmp_path / "saved"), enable_checkpointing=True)
    other = PlateauDetector(detector=Patience())
    with pytest.raises(MisconfigurationException, match="cannot go on from this checkpoint"):
        fit(Stalling(sgd, batches=4), other, ckpt_path=tmp_path / "saved" / "step=8.ckpt")
