"""The LR that PlateauDetector tells is the one that the next steps are made with, or it is said."""

import pytest
from helpers.judged import SCHEDULERS, scheduled, sgd
from helpers.scripted import Stalling, Verdicts, saver
from helpers.toy import LRTrace, fit
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch.optim import lr_scheduler as schedulers

from lightning_lr import PlateauDetector
from lightning_lr.plateau import Escape, ReduceLR, RestoreBest, StopTraining

SAYS = "PlateauDetector has told that the LR is 0.03, and a step is made with 0.1: other code sets it"


class SetsInEpochs(Stalling):
    def on_train_epoch_start(self):
        for group in self.optimizers().param_groups:
            group["lr"] = 0.1


class SetsInSteps(Stalling):
    def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure):
        for group in optimizer.param_groups:
            group["lr"] = 0.1
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)


def judge_of(letters="ipi", action=None, **options):
    return PlateauDetector(
        detector=Verdicts(letters), on_plateau=action or ReduceLR(0.3, final_decay=0), **options
    )


@pytest.mark.parametrize("kind", [SetsInEpochs, SetsInSteps])
def test_an_lr_that_other_code_sets_after_an_action_is_told_once(kind):
    with pytest.warns(UserWarning, match=SAYS) as caught:
        fit(kind(sgd, batches=4), judge_of(), max_epochs=3)
    assert len([each for each in caught if "PlateauDetector has told" in str(each.message)]) == 1


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
def test_an_lr_that_other_code_sets_after_a_resume_is_told(tmp_path):
    fit(Stalling(sgd, batches=4), judge_of(), saver(tmp_path), max_epochs=3, enable_checkpointing=True)
    [last] = [path for path in tmp_path.iterdir() if path.stem == "step=12"]
    with pytest.warns(UserWarning, match=SAYS):
        fit(SetsInEpochs(sgd, batches=4), judge_of(), max_epochs=4, ckpt_path=last)


@pytest.mark.filterwarnings("ignore:A `OneCycleLR` scheduler is using 'interval'")
@pytest.mark.parametrize("interval", ["step", "epoch"])
@pytest.mark.parametrize("name", SCHEDULERS)
def test_beside_schedulers_nothing_is_told(name, interval):
    # Warnings are errors.
    fit(Stalling(scheduled(SCHEDULERS[name], interval), batches=4), judge_of(), max_epochs=4)


def test_a_scheduler_that_steps_after_the_validation_of_an_action_is_no_other_code():
    def make(optimizer):
        return schedulers.ReduceLROnPlateau(optimizer, factor=0.5, patience=0, threshold=0.5)

    trace = LRTrace()
    # Warnings are errors.
    fit(Stalling(scheduled(make, "epoch"), batches=4), judge_of(), trace, max_epochs=3)
    before, after = trace.lrs[7][0], trace.lrs[8][0]
    assert after == pytest.approx(before * 0.3 * 0.5)


class Own(schedulers.LRScheduler):
    """Follows nothing but its own clock."""

    def get_lr(self):
        return [0.1 / (1 + self.last_epoch) for _ in self.optimizer.param_groups]


@pytest.mark.parametrize("action", [ReduceLR(), RestoreBest(0.5), Escape()])
def test_a_scheduler_that_would_not_follow_an_action_is_refused_before_the_first_step(action):
    module = Stalling(scheduled(Own), batches=4)
    with pytest.raises(MisconfigurationException, match=r"Own .*PlateauDetector\(on_plateau=\[\], ...\)"):
        fit(module, judge_of(action=action), max_epochs=3)
    assert module.trainer.global_step == 0


@pytest.mark.parametrize("action", [RestoreBest(1.0), StopTraining()])
def test_actions_that_leave_the_lr_alone_work_beside_any_scheduler(action):
    # Warnings are errors.
    fit(Stalling(scheduled(Own), batches=4), judge_of(action=action), max_epochs=3)
