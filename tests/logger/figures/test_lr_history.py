"""The figure of the LRs as planned and as used."""

import math
import sys

import pytest
from helpers.finders import Learner
from helpers.scripted import Verdicts
from helpers.toy import LRTrace, ManualToy, Stream, Toy, trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.optim import SGD, AdamW

from lightning_lr import LRDecay, LRLogger, LRRangeTest, PlateauDetector
from lightning_lr.plateau import ReduceLR
from lightning_lr.policies import Constant, Cosine, Linear

TAG = "lr"


def two_groups(parameters):
    weight, bias = parameters
    return SGD([{"params": [weight]}, {"params": [bias], "lr": 0.02}], lr=0.1)


def drawn(logger):
    """Return what the figure shows by label: x and LRs of the plan, and of the points."""
    history = logger._history
    used = {tag: (group.used.x, group.used.y) for tag, group in history._groups.items()}
    [axes] = history._plan.figure(used).axes
    return {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines}


def images(root):
    events = EventAccumulator(str(root / "run"), size_guidance={"images": 0}).Reload()
    return [image.step for image in events.Images(TAG)] if TAG in events.Tags()["images"] else []


def test_points_and_plan_are_one_where_nothing_interferes(tmp_path):
    log, trace = LRLogger(), LRTrace()
    decay = LRDecay(Cosine(0.1), interval="step", warmup=4)
    trainer(log, decay, trace, root=tmp_path).fit(Toy(two_groups))
    assert images(tmp_path) == [0, 19]
    lines = drawn(log)
    for index, (name, highest) in enumerate({"lr/SGD/pg1": "0.1", "lr/SGD/pg2": "0.02"}.items()):
        steps, used = lines[f"{name}, used"]
        assert used == [lrs[index] for lrs in trace.lrs.values()]
        planned = lines[f"{name}, planned, at most {highest}"]
        # The plan has one point more: the last LR holds until the run ends.
        assert planned == ([*steps, 20], [*used, used[-1]])


def test_the_plan_is_from_the_lr_that_a_range_test_has_found_wherever_it_stands_in_the_list(tmp_path):
    log, test = LRLogger(), LRRangeTest(30)
    module = Learner(lambda parameters: AdamW(parameters, lr=0.002))
    trainer(log, LRDecay(Linear(), interval="step"), test, root=tmp_path).fit(module)
    lines = drawn(log)
    [planned] = [lrs for label, (_, lrs) in lines.items() if "planned" in label]
    assert planned[0] == test.suggestion.lr
    assert lines["lr/AdamW, used"][1] == planned[:-1]


def test_after_a_ramp_over_real_batches_the_plan_begins_with_what_that_has_found(tmp_path):
    log = LRLogger()
    test = LRRangeTest(60, min_lr=1e-5, max_lr=10.0, live=True)
    trainer(log, LRDecay(Constant()), test, root=tmp_path).fit(Learner(batches=80))
    [planned] = [lrs for label, (_, lrs) in drawn(log).items() if "planned" in label]
    assert set(planned) == {test.suggestion.lr}


def run(root, log, *, ckpt_path=None):
    detector = PlateauDetector(detector=Verdicts("uupuuu"), on_plateau=ReduceLR(0.5))
    saver = ModelCheckpoint(root / "saved", "{epoch}", save_top_k=-1)
    callbacks = [LRDecay(Linear(), interval="step"), detector, log, saver]
    fit = trainer(*callbacks, root=root, max_epochs=6, enable_checkpointing=True)
    fit.fit(Toy(two_groups), ckpt_path=ckpt_path)


@pytest.mark.filterwarnings("ignore:The dirpath has changed")
def test_a_plateau_leaves_the_plan_and_shows_in_the_points_also_of_a_resumed_run(tmp_path):
    whole, resumed = LRLogger(), LRLogger()
    run(tmp_path / "whole", whole)
    planned = drawn(whole)["lr/SGD/pg1, planned, at most 0.1"][1]
    used = drawn(whole)["lr/SGD/pg1, used"][1]
    assert used[:30] == planned[:30]
    assert used[30:] == pytest.approx([lr / 2 for lr in planned[30:-1]])

    run(tmp_path / "resumed", resumed, ckpt_path=tmp_path / "whole/saved/epoch=3.ckpt")
    assert images(tmp_path / "resumed") == [40, 59]
    assert drawn(resumed) == drawn(whole)


class Endless(Toy):
    def train_dataloader(self):
        return Stream()


@pytest.mark.parametrize(
    ("callbacks", "module", "options"),
    [
        ([], Toy(), {}),
        ([LRDecay(Constant())], Toy(), {"max_epochs": -1, "max_time": {"seconds": 1}}),
        ([LRDecay(Constant())], Endless(), {}),
        ([LRDecay(Constant())], ManualToy(), {"max_epochs": -1, "max_steps": 10}),
    ],
    ids=["no LRDecay", "no end", "no length of an epoch", "steps that are the module's affair"],
)
def test_without_a_plan_in_steps_there_is_no_figure(callbacks, module, options, tmp_path):
    log = LRLogger()
    trainer(log, *callbacks, root=tmp_path, **options).fit(module)
    assert log.state_dict()["lrs"] == []
    assert images(tmp_path) == []


def test_no_figure_is_made_where_no_logger_takes_any(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    trainer(LRLogger(), LRDecay(Linear()), logger=CSVLogger(tmp_path)).fit(Toy())


def test_manual_optimization_is_drawn_over_batches(tmp_path):
    log = LRLogger()
    trainer(log, LRDecay(Linear(), interval="step"), root=tmp_path).fit(ManualToy())
    steps, lrs = drawn(log)["lr/SGD, used"]
    assert steps == list(range(20))
    assert lrs == [0.1 * (1 - step / 20) for step in steps]
    assert math.isclose(drawn(log)["lr/Adam, used"][1][0], 0.01)
