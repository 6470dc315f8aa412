"""PlateauDetector on values of training, without any validation."""

import math

import pytest
import torch
from helpers.judged import exact, sgd, two_groups
from helpers.scripted import ManualStalling, Stalling, Verdicts
from helpers.toy import LRTrace, fit, lrs_of, scalars
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils._python_dispatch import TorchDispatchMode

from lightning_lr import LRLogger, PlateauDetector
from lightning_lr.plateau import Patience, Progress, ReduceLR, RestoreBest
from lightning_lr.plateau.monitored import _Mean

UNVALIDATED = {"limit_val_batches": 0, "max_epochs": 4}


class Logging(Stalling):
    """Logs a script of its steps in training."""

    def training_step(self, batch, batch_idx):
        self.log("stall", torch.tensor(self.script(self.trainer.global_step)))
        return super().training_step(batch, batch_idx)


def judge_of(monitor="loss/train", **options):
    options = {"every_n_steps": 3, "detector": Patience(patience=0), "on_plateau": ReduceLR(0.3)} | options
    return PlateauDetector(monitor, **options)


def test_the_value_is_the_mean_loss_of_the_steps(tmp_path):
    judge = judge_of(on_plateau=[])
    fit(Stalling(sgd, batches=4), judge, LRLogger(), root=tmp_path, **UNVALIDATED)
    losses = [loss for _, loss in scalars(tmp_path)["loss/train"]]
    assert len(losses) == 16
    means = [sum(losses[first : first + 3]) / 3 for first in range(0, 15, 3)]
    assert [record.value for record in judge.records] == pytest.approx(means)
    assert [record.step for record in judge.records] == [2, 5, 8, 11, 14]
    assert len(scalars(tmp_path)["plateau/loss/train/verdict"]) == 5


def test_the_value_is_the_mean_of_what_the_steps_log():
    judge = judge_of("stall")
    module = Logging(sgd, batches=4)
    fit(module, judge, **UNVALIDATED)
    means = [sum(module.script(step) for step in range(first, first + 3)) / 3 for first in range(0, 15, 3)]
    assert [record.value for record in judge.records] == pytest.approx(means)


def test_accumulated_batches_are_one_step():
    judge = judge_of(every_n_steps=2, on_plateau=[])
    fit(Stalling(sgd, batches=4), judge, accumulate_grad_batches=2, **UNVALIDATED)
    assert [record.step for record in judge.records] == [1, 3, 5, 7]


def test_the_length_of_the_run_is_known():
    totals = []

    class Noting(Patience):
        def judge(self, state, observation, *, mode):
            totals.append(observation.total)
            return super().judge(state, observation, mode=mode)

    fit(Stalling(sgd, batches=4), judge_of(every_n_steps=2, detector=Noting()), **UNVALIDATED)
    assert totals == [8] * 8


@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended")
@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
@pytest.mark.filterwarnings("ignore:Using ModelCheckpoint with manual optimization")
@pytest.mark.parametrize("monitor", ["loss/train", "stall"])
@pytest.mark.parametrize("kind", [Logging, ManualStalling])
def test_a_run_resumed_after_any_step_has_the_same_verdicts_lrs_and_weights(kind, monitor, tmp_path):
    if kind is ManualStalling:
        monitor = "loss/train"

    def run(*more, ckpt_path=None):
        module = ManualStalling(batches=4) if kind is ManualStalling else Logging(two_groups, batches=4)
        judge = judge_of(
            monitor,
            every_n_steps=2,
            detector=Verdicts("iipiipip"),
            on_plateau=[ReduceLR(0.3), RestoreBest(0.9)],
        )
        trace = LRTrace()
        fitted = fit(
            module,
            judge,
            trace,
            *more,
            ckpt_path=ckpt_path,
            enable_checkpointing=bool(more),
            **UNVALIDATED,
        )
        return judge, trace.lrs, lrs_of(fitted), [each.detach().clone() for each in module.parameters()]

    each = ModelCheckpoint(tmp_path / "saved", filename="{step}", save_top_k=-1, every_n_train_steps=1)
    judge, lrs, end, weights = run(each)
    assert sum(bool(record.effects) for record in judge.records) >= 2
    paths = sorted((tmp_path / "saved").iterdir())
    assert len(paths) >= 15
    for path in paths:
        again, lrs_again, end_again, weights_again = run(ckpt_path=path)
        assert exact(again.records) == exact(judge.records), path.name
        assert lrs_again == {step: lr for step, lr in lrs.items() if step in lrs_again}
        assert end_again == end
        assert all(map(torch.equal, weights_again, weights))


def test_a_value_that_training_does_not_give_is_an_error_after_the_first_steps():
    judge = judge_of("val_loss")
    with pytest.raises(
        MisconfigurationException, match=r"training gave no 'val_loss'.*'loss/train', 'stall'"
    ):
        fit(Logging(sgd, batches=4), judge, **UNVALIDATED)


def test_train_loss_is_the_loss_that_is_returned_unless_it_is_logged():
    judges = [judge_of("train_loss"), judge_of("loss/train")]
    fit(Stalling(sgd, batches=4), *judges, **UNVALIDATED)
    values = [[record.value for record in judge.records] for judge in judges]
    assert values[0] == values[1]
    assert all(map(math.isfinite, values[0]))


def test_several_detectors_on_several_values_judge_and_act_in_one_trainer(tmp_path):
    class Both(Logging):
        def validation_step(self, batch, batch_idx):
            super().validation_step(batch, batch_idx)
            self.log("accuracy", 0.5)

    judges = [
        PlateauDetector(detector=Patience(patience=0), on_plateau=ReduceLR(0.5)),
        PlateauDetector("accuracy", mode="max", detector=Patience(patience=1), on_plateau=ReduceLR(0.3)),
        judge_of("stall", on_plateau=[]),
    ]
    run = fit(Both(sgd, batches=4), *judges, LRLogger(), root=tmp_path, max_epochs=4)
    assert [len(judge.records) for judge in judges] == [4, 4, 5]
    factors = [0.5, 0.3, 1.0]
    acts = [sum("->" in effect for record in judge.records for effect in record.effects) for judge in judges]
    assert acts[1] >= 1
    # The first one also lowers the LR to the end of the run; the others act on what is there.
    reductions = [effect for judge in judges for record in judge.records for effect in record.effects]
    assert len(reductions) == sum(acts)
    assert lrs_of(run) == pytest.approx(
        [0.1 * math.prod(factor**acted for factor, acted in zip(factors, acts, strict=True))]
    )
    tags = scalars(tmp_path)
    assert {"plateau/val_loss/verdict", "plateau/accuracy/verdict", "plateau/stall/verdict"} <= tags.keys()


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [(0, ValueError, "at least 1"), (1.5, TypeError, "whole number"), ("epoch", TypeError, "whole number")],
)
def test_a_wrong_number_of_steps_is_refused(wrong, error, message):
    with pytest.raises(error, match=rf"PlateauDetector\(every_n_steps=...\).*{message}"):
        PlateauDetector(every_n_steps=wrong)


@pytest.mark.parametrize("monitor", ["loss/train", "stall"])
def test_a_training_value_that_is_nan_is_judged_and_not_taken_for_missing(monitor):
    class Breaking(Logging):
        def script(self, step):
            return math.nan

        def training_step(self, batch, batch_idx):
            return super().training_step(batch, batch_idx) * math.nan

    judge = judge_of(monitor, detector=Progress(), on_divergence=[])
    fit(Breaking(sgd, batches=4), judge, **UNVALIDATED)
    assert [math.isnan(record.value) for record in judge.records] == [True] * 5
    assert judge.verdict.state == "diverging"


def test_a_module_that_returns_no_loss_is_not_told_that_there_is_one():
    class Silent(ManualStalling):
        def training_step(self, batch, batch_idx):
            super().training_step(batch, batch_idx)

    with pytest.raises(MisconfigurationException, match=r"training gave no 'loss/train'\. There is nothing"):
        fit(Silent(batches=4), judge_of(), **UNVALIDATED)


class NoDoubles(TorchDispatchMode):
    """A device that has no double precision, such as Apple's."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        assert not (isinstance(made, torch.Tensor) and made.dtype == torch.float64), func
        return made


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_mean_of_losses_needs_no_doubles_of_the_device_and_rounds_nothing(dtype):
    mean = _Mean()
    with NoDoubles():
        for step in range(3):
            mean.add(torch.tensor([1.0 + step / 128], dtype=dtype), scale=4)
        state = mean.state_dict()

    assert state == {"sum": 4 * (3 + 3 / 128), "count": 3}
