"""Every callback of ours beside every callback and mode of Lightning: fit, fit again, resume, with known LRs.

Each LR is compared with the formula: the base LR that was found, times the decay, times what the plateau
detector did, whatever else is in the Trainer.
"""

from contextlib import nullcontext
from datetime import timedelta
from functools import partial

import pytest
import torch
from helpers.coexistence import (
    BATCHES,
    COMPANIONS,
    EPOCHS,
    OURS,
    RATIO,
    START,
    Net,
    assert_as_planned,
    each_of_ours,
    fit,
    found,
    halving,
    saver,
)
from helpers.scripted import Verdicts
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import (
    BackboneFinetuning,
    BatchSizeFinder,
    LearningRateFinder,
    ModelCheckpoint,
    StochasticWeightAveraging,
)
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.tuner import batch_size_scaling

from lightning_lr import PlateauDetector

pytestmark = [
    pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`"),
    pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty"),
    pytest.mark.filterwarnings("ignore:Experiment logs directory .* exists"),
]


@pytest.mark.filterwarnings("ignore:You requested to overfit")
@each_of_ours
@pytest.mark.parametrize("companion", COMPANIONS)
def test_fit_twice_and_resume(companion, ours, tmp_path):
    make, (beside, settings, steps_of) = OURS[ours][0], COMPANIONS[companion]
    steps, saved = sum(steps_of), tmp_path / "saved"
    callbacks = make()

    once, first = fit(tmp_path / "1", [*callbacks, *beside(), saver(saved)], **settings)
    assert len(first.lrs) == steps
    if companion == "nothing":
        assert (found(once) != START) == (ours in ("range test", "search", "all"))
    assert_as_planned(first, ours, base=found(once), steps=steps)

    again, second = fit(tmp_path / "2", [*callbacks, *beside()], **settings)
    assert (second.lrs, found(again)) == (first.lrs, found(once))

    resumed, rest = fit(
        tmp_path / "3", [*make(), *beside(), saver(saved)], ckpt_path=saved / "epoch=1.ckpt", **settings
    )
    assert rest.lrs == {step: lrs for step, lrs in first.lrs.items() if first.epochs[step] >= 2}
    assert found(resumed) == found(once)


class Crash(Callback):
    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step == 10:
            raise RuntimeError("The power is gone.")


SAVERS = {
    "every_n_train_steps": {"every_n_train_steps": 3, "save_top_k": -1},
    "save_last": {"save_last": True, "every_n_train_steps": 5, "save_top_k": 0},
    "monitor": {"monitor": "val_loss", "save_top_k": 2},
    "on exception": {"save_on_exception": True, "save_top_k": 0},
    "in the validation": {"save_on_train_epoch_end": False, "save_top_k": -1},
    "at the end of an epoch": {"save_on_train_epoch_end": True, "save_top_k": -1},
    "link": {"save_last": "link", "save_top_k": -1, "save_on_train_epoch_end": True},
    "train_time_interval": {"train_time_interval": timedelta(microseconds=1), "save_top_k": -1},
}


@each_of_ours
@pytest.mark.parametrize("mode", SAVERS)
def test_whatever_a_model_checkpoint_saves_can_be_resumed(mode, ours, tmp_path):
    def keeper():
        return ModelCheckpoint(tmp_path / "saved", filename="{step}", **SAVERS[mode])

    make = OURS[ours][0]
    _, whole = fit(tmp_path / "1", make())
    if mode == "on exception":
        with pytest.raises(RuntimeError, match="The power is gone"):
            fit(tmp_path / "2", [*make(), Crash(), keeper()])
    else:
        _, trace = fit(tmp_path / "2", [*make(), keeper()])
        assert trace.lrs == whole.lrs
    paths = sorted((tmp_path / "saved").glob("*.ckpt"))
    assert paths
    for path in paths[-2:]:
        step = torch.load(path, weights_only=True)["global_step"]
        if mode in ("every_n_train_steps", "train_time_interval") and step % BATCHES == 0:
            continue  # See `test_lightning_never_makes_up_for_a_validation`.
        _, rest = fit(tmp_path / "3", [*make(), keeper()], ckpt_path=path)
        assert rest.lrs == {each: lrs for each, lrs in whole.lrs.items() if each >= step}


def test_lightning_never_makes_up_for_a_validation(tmp_path):
    """A checkpoint of the last batch of an epoch precedes its validation, which a resumed fit leaves out.

    No callback of ours can judge what is not there: the detector goes on with the validations that there are.
    """
    keeper = ModelCheckpoint(tmp_path / "saved", filename="{step}", every_n_train_steps=4, save_top_k=-1)
    fit(tmp_path / "1", [keeper])
    detector = halving()
    _, rest = fit(tmp_path / "2", [detector, keeper], ckpt_path=tmp_path / "saved" / "step=12.ckpt")
    assert (sorted(rest.lrs), len(detector.verdicts)) == ([12, 13, 14, 15], 1)


# --- Those that write learning rates or run fits of their own.


def lr_finder():
    return LearningRateFinder(min_lr=1e-5, max_lr=0.1, num_training_steps=20)


def batch_size_finder():
    return BatchSizeFinder(steps_per_trial=1, init_val=4, max_trials=2)


@each_of_ours
@pytest.mark.parametrize("tuner", [lr_finder, batch_size_finder])
def test_the_tuners_of_lightning(tuner, ours, tmp_path, monkeypatch):
    """What they find is what a test of ours starts from. Lightning's LR is the base of every group."""
    # It takes most of the time, and there is nothing to collect.
    monkeypatch.setattr(batch_size_scaling, "garbage_collection_cuda", lambda: None)
    make, saved, callbacks, modules = OURS[ours][0], tmp_path / "saved", OURS[ours][0](), [Net(), Net()]
    once, first = fit(tmp_path / "1", [*callbacks, tuner(), saver(saved)], module=modules[0])
    finder = next(each for each in once.callbacks if isinstance(each, BatchSizeFinder | LearningRateFinder))
    base, ratio = found(once), RATIO
    if tuner is lr_finder:
        base, ratio = (finder.optimal_lr.suggestion() if base == START else base), 1.0
        assert modules[0].lr == base
    steps = EPOCHS * (BATCHES * 8 // modules[0].batch_size)
    assert len(first.lrs) == steps
    assert_as_planned(first, ours, base=base, steps=steps, ratio=ratio)

    again, second = fit(tmp_path / "2", [*callbacks, tuner()], module=modules[1], enable_checkpointing=True)
    assert (second.lrs, found(again)) == (first.lrs, found(once))

    resumed = partial(fit, tmp_path / "3", [*make(), tuner(), saver(saved)], ckpt_path=saved / "epoch=1.ckpt")
    if ours == "logger":
        # Lightning begins anew, and LRLogger shows that.
        assert resumed()[1].lrs == first.lrs
    else:
        told = f"{type(finder).__name__} has taken the resumed fit back to step 0.*To resume, take"
        with pytest.raises(MisconfigurationException, match=told):
            resumed()


@pytest.mark.filterwarnings("ignore:LRDecay. a parameter group with lr")
@each_of_ours
def test_a_backbone_that_thaws(ours, tmp_path):
    def thaw():
        return BackboneFinetuning(1, backbone_initial_ratio_lr=0.25, lambda_func=lambda epoch: 1.0)

    # BackboneFinetuning sets the LR of its group anew at every epoch, which LRDecay has to tell of.
    decays = "decay" in ours or ours == "all"
    told = partial(pytest.warns, UserWarning, match="Other code changed a learning rate")
    make, saved, callbacks = OURS[ours][0], tmp_path / "saved", OURS[ours][0]()

    with told() if decays else nullcontext():
        once, first = fit(tmp_path / "1", [*callbacks, thaw(), saver(saved)])
    assert_as_planned(first, ours, base=found(once), steps=16)
    assert [len(lrs) for _, lrs in sorted(first.lrs.items())] == [2] * 4 + [3] * 12
    assert all(0 <= lrs[2] <= lrs[0] for lrs in first.lrs.values() if len(lrs) == 3)
    # As Lightning gave it, from an LR that is on its way down.
    assert first.lrs[BATCHES][2] == pytest.approx(0.25 * first.lrs[BATCHES][0])

    with told() if decays else nullcontext():
        again, second = fit(tmp_path / "2", [*callbacks, thaw()])
    assert (second.lrs, found(again)) == (first.lrs, found(once))

    with told() if decays else nullcontext():
        _, rest = fit(tmp_path / "3", [*make(), thaw(), saver(saved)], ckpt_path=saved / "epoch=1.ckpt")
    assert rest.lrs == {step: lrs for step, lrs in first.lrs.items() if first.epochs[step] >= 2}


@each_of_ours
def test_stochastic_weight_averaging(ours, tmp_path):
    """Until it starts the LR is ours; then it is the one that it was given, times what a plateau did."""

    def average():
        return StochasticWeightAveraging(swa_lrs=2.0**-10, swa_epoch_start=2, annealing_epochs=1)

    make, saved, callbacks = OURS[ours][0], tmp_path / "saved", OURS[ours][0]()
    if "decay" in ours or ours == "all":
        with pytest.raises(MisconfigurationException, match="StochasticWeightAveraging brings"):
            fit(tmp_path, [*callbacks, average()])
        return
    # Two epochs more, since SWA would take back what it does not know of.
    once, first = fit(tmp_path / "1", [*callbacks, average(), saver(saved)], max_epochs=EPOCHS + 2)
    base, averaged = found(once), 2.0**-10
    wanted = {0: [base, RATIO * base], 1: [base, RATIO * base], 2: [averaged] * 2}
    wanted |= {epoch: [averaged * OURS[ours][1](epoch, 0, 16)] * 2 for epoch in (3, 4, 5)}
    for step, lrs in first.lrs.items():
        assert lrs == pytest.approx(wanted[first.epochs[step]]), step

    again, second = fit(tmp_path / "2", [*callbacks, average()], max_epochs=EPOCHS + 2)
    assert (second.lrs, found(again)) == (first.lrs, found(once))

    for epoch in (0, 3):
        _, rest = fit(
            tmp_path / f"3{epoch}",
            [*make(), average(), saver(saved)],
            ckpt_path=saved / f"epoch={epoch}.ckpt",
            max_epochs=EPOCHS + 2,
        )
        assert rest.lrs == {step: lrs for step, lrs in first.lrs.items() if first.epochs[step] > epoch}


def test_beside_an_averaging_the_default_of_a_detector_is_to_report(tmp_path):
    """SWA sets the LR by plan, also before the epoch that brings its scheduler."""
    detector = PlateauDetector("loss/val", detector=Verdicts("ip"))
    swa = StochasticWeightAveraging(swa_lrs=2.0**-10, swa_epoch_start=3, annealing_epochs=1)
    _, trace = fit(tmp_path, [detector, swa])
    assert [verdict.state for verdict in detector.verdicts][:2] == ["improving", "plateau"]
    assert trace.first_group()[:12] == [START] * 12


@pytest.mark.filterwarnings("ignore:Guards may run slower on Python 3.13.0")
def test_a_compiled_module(tmp_path):
    def compiled():
        return torch.compile(Net(), backend="eager")

    make, saved = OURS["all"][0], tmp_path / "saved"
    callbacks = make()
    plain, wanted = fit(tmp_path / "0", make())
    for attempt in "12":
        once, trace = fit(tmp_path / attempt, [*callbacks, saver(saved / attempt)], module=compiled())
        assert (trace.lrs, found(once)) == (wanted.lrs, found(plain))
    path = saved / "1" / "epoch=1.ckpt"
    _, rest = fit(tmp_path / "3", [*make(), saver(saved / "1")], module=compiled(), ckpt_path=path)
    assert rest.lrs == {step: lrs for step, lrs in wanted.lrs.items() if wanted.epochs[step] >= 2}


@pytest.mark.filterwarnings("ignore:You are running in `Trainer")
@each_of_ours
def test_barebones(ours, tmp_path):
    class Silent(Net):
        """Lightning warns of each `self.log` in this mode."""

        def log(self, *args, **kwargs):
            pass

    bare = {"barebones": True, "enable_progress_bar": None, "logger": None, "log_every_n_steps": None}
    bare |= {"enable_model_summary": None, "num_sanity_val_steps": None, "enable_checkpointing": None}
    if ours in ("logger", "all"):
        with pytest.raises(MisconfigurationException, match="LRLogger has nowhere to write"):
            fit(tmp_path, OURS[ours][0](), module=Silent(), **bare)
        return
    make, saved, callbacks = OURS[ours][0], tmp_path / "saved", OURS[ours][0]()
    for _ in range(2):
        once, trace = fit(tmp_path, callbacks, module=Silent(), **bare)
        assert len(trace.lrs) == 16
        assert_as_planned(trace, ours, base=found(once), steps=16)
    # It saves no checkpoint, but goes on from that of another Trainer.
    fit(tmp_path, [*make(), saver(saved)])
    _, rest = fit(tmp_path, make(), module=Silent(), ckpt_path=saved / "epoch=1.ckpt", **bare)
    assert rest.lrs == {step: lrs for step, lrs in trace.lrs.items() if trace.epochs[step] >= 2}


@each_of_ours
def test_fast_dev_run(ours, tmp_path):
    """A run of two batches: nothing is searched for, and the decay is over with it."""
    make, saved, callbacks = OURS[ours][0], tmp_path / "saved", OURS[ours][0]()
    lr = START * (0.5 if ours in ("decay by step", "all") else 1.0)
    for _ in range(2):
        run, trace = fit(tmp_path, callbacks, fast_dev_run=2)
        assert found(run) == START
        assert trace.first_group() == [START, lr]
    # A checkpoint of a whole run is beyond its end: it makes no step, and nothing is searched for.
    fit(tmp_path / "1", [*make(), saver(saved)])
    _, rest = fit(tmp_path / "2", make(), fast_dev_run=2, ckpt_path=saved / "epoch=1.ckpt")
    assert rest.lrs == {}


@each_of_ours
@pytest.mark.parametrize("entry", ["validate", "test", "predict"])
def test_without_a_fit(entry, ours, tmp_path):
    trainer = Trainer(
        callbacks=OURS[ours][0](),
        accelerator="cpu",
        logger=CSVLogger(tmp_path, name="", version="run"),
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    module = Net()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    for _ in range(2):
        getattr(trainer, entry)(module, **({} if entry == "predict" else {"verbose": False}))
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())
    assert trainer.optimizers == []
