"""The shape of a run's LR, and the trials that have it."""

import math

import pytest
from helpers.finders import Learner
from helpers.toy import Notes, Stream, fit
from lightning.pytorch.callbacks import StochasticWeightAveraging
from torch.optim import lr_scheduler as torch_schedulers
from torch.utils.data import DataLoader

from lightning_lr import LRDecay, LRSearch, PlateauDetector
from lightning_lr.finders.trials.proposal import trial_factors
from lightning_lr.finders.trials.shape import is_flat, shape_of_run
from lightning_lr.plateau import Patience
from lightning_lr.policies import Constant, Cosine, CosineRestarts, InverseSqrt, Linear, WarmupStableDecay

NOTES = Notes()


class Tried(Learner):
    """Notes the LR of every step, those of trials too."""

    def __init__(self, schedule=None, interval="step", **kwargs):
        super().__init__(**kwargs)
        self.schedule, self.interval = schedule, interval

    def training_step(self, batch, batch_idx):
        NOTES.append(self.optimizers().param_groups[0]["lr"])
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch, batch_idx):
        loss = super().validation_step(batch, batch_idx)
        self.log("val_loss", loss)

    def configure_optimizers(self):
        optimizer = super().configure_optimizers()
        if self.schedule is None:
            return optimizer
        scheduler = {"scheduler": self.schedule(optimizer), "interval": self.interval, "monitor": "val_loss"}
        return [optimizer], [scheduler]


def search(**kwargs):
    return LRSearch(1e-3, 1.0, steps_per_trial=8, final_steps=8, score="train", **kwargs)


def factors_of_trials(finder, module, *callbacks, **kwargs):
    """Return the factors of the first trial that was finished."""
    NOTES.all.clear()
    fit(module, finder, *callbacks, **kwargs)
    # After the control, whose LR is 0.
    lrs = [lr for lr in NOTES.all[8:] if lr][:8]
    assert finder.trials.trials[0].steps == 8
    return [lr / finder.trials.trials[0].lr for lr in lrs]


USUAL = pytest.approx(trial_factors(8, 0.1))
KEPT = [1.0] * 8
RUNS = {
    "no plan": (lambda: Tried(batches=40), [], KEPT),
    "a constant": (lambda: Tried(batches=40), [LRDecay(Constant())], KEPT),
    "a constant after a warm-up": (
        lambda: Tried(batches=40),
        [LRDecay(Constant(), interval="step", warmup=0.25)],
        pytest.approx([0.225, 0.725, *[1.0] * 6]),
    ),
    "a slow decay": (
        lambda: Tried(batches=40),
        [LRDecay(InverseSqrt(timescale=100), interval="step")],
        pytest.approx([(100 / (105 + 10 * each - 0.5)) ** 0.5 for each in range(8)], rel=1e-3),
    ),
    "a linear decay": (lambda: Tried(batches=40), [LRDecay(Linear(), interval="step")], USUAL),
    "a cosine": (lambda: Tried(batches=40), [LRDecay(Cosine(), interval="step", warmup=0.05)], USUAL),
    "restarts": (lambda: Tried(batches=40), [LRDecay(CosineRestarts(10), interval="step")], USUAL),
    "WSD": (lambda: Tried(batches=40), [LRDecay(WarmupStableDecay(0.2), interval="step")], USUAL),
    "a PlateauDetector": (
        lambda: Tried(batches=40),
        [PlateauDetector("val_loss", detector=Patience(9))],
        USUAL,
    ),
    "one that only reports": (
        lambda: Tried(batches=40),
        [
            PlateauDetector(
                "val_loss", detector=Patience(9), on_plateau=[], on_overfitting=[], on_divergence=[]
            )
        ],
        KEPT,
    ),
    "an average": (lambda: Tried(batches=40), [StochasticWeightAveraging(0.01)], USUAL),
    "a scheduler that keeps it": (
        lambda: Tried(lambda o: torch_schedulers.ConstantLR(o, 0.25, total_iters=20), batches=40),
        [],
        [0.25] * 2 + [1.0] * 6,
    ),
    "a scheduler by epochs": (
        lambda: Tried(lambda o: torch_schedulers.StepLR(o, 1, 0.75), "epoch", batches=40),
        [],
        [1.0] * 4 + [0.75] * 4,
    ),
    "one that lowers it": (
        lambda: Tried(lambda o: torch_schedulers.CosineAnnealingLR(o, 80), batches=40),
        [],
        USUAL,
    ),
    "one cycle": (
        lambda: Tried(
            lambda o: torch_schedulers.OneCycleLR(o, 0.1, total_steps=80, cycle_momentum=False), batches=40
        ),
        [],
        USUAL,
    ),
    "one for plateaus": (
        lambda: Tried(torch_schedulers.ReduceLROnPlateau, "epoch", batches=40),
        [],
        USUAL,
    ),
}


@pytest.mark.parametrize("name", RUNS)
def test_trials_have_the_shape_of_a_run_that_keeps_its_lr_high(name):
    make, callbacks, wanted = RUNS[name]
    assert factors_of_trials(search(), make(), *callbacks) == wanted


def test_a_warmup_that_is_given_is_that_of_the_usual_shape():
    usual = pytest.approx(trial_factors(8, 0.5))
    assert factors_of_trials(search(warmup=0.5), Tried(batches=40)) == usual
    assert factors_of_trials(search(warmup=0.1), Tried(batches=40)) == USUAL


def test_a_run_without_an_end_has_no_shape():
    class Streamed(Tried):
        def train_dataloader(self):
            return DataLoader(Stream(40), batch_size=None)

    assert factors_of_trials(search(), Streamed()) == USUAL


def test_a_later_search_has_the_shape_of_the_rest():
    """Of a warm-up that is over nothing is left."""
    decay = LRDecay(Constant(), interval="step", warmup=0.25)
    NOTES.all.clear()
    fit(Tried(batches=40), search(milestones=[0.5]), decay)
    lrs = [lr for lr in NOTES.all[48:] if lr][:8]
    assert len(set(lrs)) == 1


def test_the_module_steps_its_scheduler_as_it_does():
    class Slow(Tried):
        def lr_scheduler_step(self, scheduler, metric):
            if self.global_step % 2:
                scheduler.step()

    module = Slow(lambda o: torch_schedulers.LambdaLR(o, lambda step: 1 - step / 80), batches=40)
    factors = factors_of_trials(search(), module)
    assert factors == pytest.approx([1 - (each + 0.45) / 16 for each in range(8)], rel=0.02)


def test_what_the_trials_were_like_is_told(tmp_path):
    for callbacks, told in ([], True), ([LRDecay(Linear(), interval="step")], False):
        root = tmp_path / str(told)
        fit(Tried(batches=40), search(), *callbacks, root=root)
        assert (
            "The trials kept their LR, as the run does." in (root / "run" / "decisions.jsonl").read_text()
        ) == told


@pytest.mark.parametrize(("length", "count"), [(1, 10), (3, 10), (15, 1), (15, 1000), (150, 40)])
def test_a_shape_is_squeezed_or_stretched(length, count):
    shape = [(index + 1) / count for index in range(count)]
    factors = trial_factors(length, shape=shape)
    assert len(factors) == length
    assert list(factors) == sorted(factors)
    assert 0 < factors[0] <= factors[-1] <= 1
    if count >= length:
        assert math.fsum(factors) / length == pytest.approx(math.fsum(shape) / count, rel=0.15)


def test_flat():
    assert is_flat([1.0])
    assert is_flat([0.0, 1.0, 0.5])
    assert not is_flat([0.0, 1.0, 0.49])
    assert not is_flat([1.0, 0.4, 1.0])
    assert not is_flat([])
    assert shape_of_run.__doc__
