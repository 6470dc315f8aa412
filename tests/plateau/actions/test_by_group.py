"""Reductions of single parameter groups."""

import pytest
import torch
from helpers.scripted import Stalling, Verdicts, saver
from helpers.toy import LRTrace, fit, lrs_of
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch.optim import SGD
from torch.optim import lr_scheduler as schedulers

from lightning_lr import LRDecay, PlateauDetector
from lightning_lr.plateau import ReduceLR
from lightning_lr.policies import Cosine


def named(parameters):
    weight, bias = parameters
    return SGD([{"params": [weight], "name": "body"}, {"params": [bias], "lr": 0.02, "name": "head"}], lr=0.1)


def scheduled(make):
    def make_optimizer(parameters):
        optimizer = named(parameters)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": make(optimizer), "interval": "step"}}

    return make_optimizer


def run(action, letters, *callbacks, make=named, **options):
    judge = PlateauDetector(detector=Verdicts(letters), on_plateau=action)
    trace = LRTrace()
    settings = {"max_epochs": len(letters)} | options
    fitted = fit(Stalling(make, batches=4), *callbacks, judge, trace, **settings)
    return judge, trace.lrs, lrs_of(fitted)


@pytest.mark.parametrize("name", ["head", "SGD/head", "lr-SGD/head", "lr/SGD/head"])
def test_only_the_named_groups_are_reduced(name):
    action = ReduceLR(0.5, final_decay=0, groups=[name])
    judge, _, lrs = run(action, "ppi")
    assert lrs == pytest.approx([0.1, 0.005])
    assert [record.effects for record in judge.records] == [
        ("base LR of head 0.02 -> 0.01",),
        ("base LR of head 0.01 -> 0.005",),
        (),
    ]


def test_every_group_has_a_lowest_lr_of_its_own_as_in_torch():
    action = ReduceLR(0.1, final_decay=0, min_lrs={"body": 1e-3, "head": 5e-3})
    _, lrs, end = run(action, "pppp")
    optimizer = named([torch.nn.Parameter(torch.zeros(1)) for _ in range(2)])
    plateau = schedulers.ReduceLROnPlateau(optimizer, factor=0.1, patience=0, min_lr=[1e-3, 5e-3])
    plateau.step(1.0)
    for epoch in range(1, 5):
        plateau.step(1.0)
        expected = [group["lr"] for group in optimizer.param_groups]
        assert (lrs[4 * epoch] if epoch < 4 else end) == pytest.approx(expected)


def test_the_end_of_the_run_leaves_every_group_at_its_lowest_lr():
    action = ReduceLR(min_lrs={"head": 0.004}, final_decay=0.5)
    judge, _, lrs = run(action, "iiiiiiiiii")
    assert lrs == pytest.approx([0.1 / 5, 0.004])
    [said] = [effect for record in judge.records for effect in record.effects]
    assert "and on to the lowest with the 4 validations that are left" in said


@pytest.mark.parametrize(
    "make",
    [
        lambda o: schedulers.CosineAnnealingLR(o, 12),
        lambda o: schedulers.OneCycleLR(o, [0.2, 0.05], total_steps=12),
        lambda o: schedulers.LambdaLR(o, lambda step: 1 / (1 + step)),
        lambda o: schedulers.SequentialLR(
            o, [schedulers.LinearLR(o, 0.1, total_iters=3), schedulers.CosineAnnealingLR(o, 9)], [3]
        ),
    ],
)
def test_each_group_goes_on_along_the_curve_of_its_scheduler(make):
    _, plain, _ = run([], "ipi", make=scheduled(make))
    _, lrs, _ = run(ReduceLR(0.5, final_decay=0, groups=["head"]), "ipi", make=scheduled(make))
    for step, (body, head) in plain.items():
        factor = 0.5 if step >= 8 else 1
        assert lrs[step] == pytest.approx([body, head * factor], rel=1e-5), step


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
def test_each_group_goes_on_along_the_curve_of_lr_decay_and_after_a_resume(tmp_path):
    def decayed(*callbacks, **options):
        decay = LRDecay(Cosine(), interval="step", warmup=2)
        return run(ReduceLR(0.5, groups=["head"]), "ipipi", decay, *callbacks, **options)

    _, plain, _ = run([], "ipipi", LRDecay(Cosine(), interval="step", warmup=2))
    _, lrs, end = decayed(saver(tmp_path), enable_checkpointing=True)
    for step, (body, head) in plain.items():
        assert lrs[step] == pytest.approx([body, head * 0.5 ** ((step >= 8) + (step >= 16))]), step
    for path in tmp_path.iterdir():
        _, again, end_again = decayed(ckpt_path=path)
        assert again == {step: lr for step, lr in lrs.items() if step in again}
        assert end_again == end


def test_a_name_that_no_group_has_is_refused_at_fit_start():
    with pytest.raises(
        MisconfigurationException, match=r"no parameter group is called 'had'.*'body', 'head'"
    ):
        run(ReduceLR(groups=["had"]), "p")
    with pytest.raises(MisconfigurationException, match="no parameter group is called 'tail'"):
        run(ReduceLR(min_lrs={"tail": 1e-3}), "p")


def test_groups_that_share_one_tensor_are_refused():
    def make(parameters):
        lr = torch.tensor(0.1)
        weight, bias = parameters
        return SGD([{"params": [weight], "lr": lr, "name": "a"}, {"params": [bias], "lr": lr, "name": "b"}])

    with pytest.raises(MisconfigurationException, match="share one tensor"):
        run(ReduceLR(groups=["a"]), "p", make=make)


def test_a_scheduler_with_one_lr_for_all_groups_is_refused():
    class Own(schedulers.LRScheduler):
        def __init__(self, optimizer):
            self.max_lr = 0.1
            super().__init__(optimizer)

        def get_lr(self):
            return [self.max_lr for _ in self.optimizer.param_groups]

    with pytest.raises(MisconfigurationException, match="Own holds one LR for all of them"):
        run(ReduceLR(groups=["head"]), "p", make=scheduled(Own))


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"min_lrs": {"head": -1.0}}, ValueError, r"min_lrs=\{'head': ...\}"),
        ({"min_lrs": {"head": "low"}}, TypeError, r"min_lrs=\{'head': ...\}"),
        ({"groups": "head"}, TypeError, "must be a list of names, got 'head'"),
    ],
)
def test_wrong_arguments_are_refused(wrong, error, message):
    with pytest.raises(error, match=message):
        ReduceLR(**wrong)
