"""The plan before the run: the numbers of the fit, from arguments, from a Trainer and from a command line."""

import math
import os
import runpy
import shutil
import subprocess
import sys
from dataclasses import FrozenInstanceError
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
import torch
from helpers.toy import LRTrace, ManualToy, Stream, Toy, trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import GradientAccumulationScheduler, ModelCheckpoint, Timer

import lightning_lr
from lightning_lr import LRDecay, LRLogger, LRRangeTest, LRSearch, preview
from lightning_lr.policies import (
    Constant,
    Cosine,
    CosineRestarts,
    Exponential,
    Function,
    Linear,
    MultiStep,
    OneCycle,
    WarmupStableDecay,
)
from lightning_lr.preview.figure import planned_figure
from lightning_lr.preview.of_fit import preview_of_fit
from lightning_lr.preview.table import as_text, shortened
from lightning_lr.preview.timeline import lay_out

EXAMPLES = Path(__file__).parents[2] / "examples"


def two_groups(parameters):
    weight, bias = parameters
    return torch.optim.SGD([{"params": [weight], "lr": 0.3}, {"params": [bias], "name": "bias"}], lr=0.007)


def traced(module, *callbacks, **kwargs):
    """Return the LRs of every step of a real fit, one list per step."""
    trace = LRTrace()
    trainer(trace, *callbacks, **kwargs).fit(module)
    return [lrs for _, lrs in sorted(trace.lrs.items())]


def planned(preview):
    return [list(step.lrs.values()) for step in preview.every_step()]


RUNS = {
    "linear": (Linear(), {}),
    "cosine": (Cosine(floor=0.01), {"warmup": 5}),
    "restarts": (CosineRestarts(period=2), {"warmup": 0.25}),
    "one cycle": (OneCycle(), {}),
    "multi step": (MultiStep([1, 3]), {"warmup": 0.05}),
    "endless": (Exponential(gamma=0.9), {"warmup": 7}),
    "wsd": (WarmupStableDecay(cooldown=0.25), {"warmup": 1}),
    "function": (Function(lambda time: 1 / (1 + time)), {"warmup": 0.33}),
}


@pytest.mark.parametrize("interval", ["epoch", "step"])
@pytest.mark.parametrize("name", RUNS)
def test_every_lr_is_that_of_the_fit_bit_for_bit(name, interval):
    policy, options = RUNS[name]
    plan = preview(
        policy,
        max_epochs=4,
        steps_per_epoch=10,
        interval=interval,
        base_lr={"lr/SGD/pg1": 0.3, "lr/SGD/bias": 0.007},
        **options,
    )
    used = traced(Toy(two_groups), LRDecay(policy, interval=interval, **options), max_epochs=4)
    assert len(used) == 40
    assert planned(plan) == used
    assert plan.timeline.horizon.steps == 40


@pytest.mark.parametrize("interval", ["epoch", "step"])
@pytest.mark.parametrize(
    "settings",
    [
        {"max_epochs": 4},
        {"max_epochs": 3, "accumulate_grad_batches": 4},
        {"max_epochs": 9, "max_steps": 25},
        {"max_steps": 25},
        {"max_epochs": 3, "limit_train_batches": 7},
        {"max_epochs": 3, "limit_train_batches": 0.5},
        {"max_epochs": 3, "overfit_batches": 2},
        {"fast_dev_run": 3},
    ],
    ids=str,
)
def test_the_plan_of_a_trainer_has_the_steps_and_lrs_of_its_fit(settings, interval):
    decay = {"policy": Cosine(floor=0.1), "interval": interval, "warmup": 0.2}
    plan = preview_of_fit(trainer(LRDecay(**decay), **settings), Toy(two_groups))
    used = traced(Toy(two_groups), LRDecay(**decay), **settings)
    assert list(plan.base_lrs) == ["lr/SGD/pg1", "lr/SGD/bias"]
    assert planned(plan) == used


@pytest.mark.filterwarnings("ignore:When using .* to accumulate gradients:UserWarning")
def test_an_accumulation_schedule_moves_the_starts_of_the_epochs():
    schedule = GradientAccumulationScheduler({1: 4, 3: 2})
    decay = LRDecay(Linear(), warmup=4)
    plan = preview_of_fit(trainer(decay, schedule, max_epochs=5), Toy())
    assert plan.timeline.epoch_starts == (0, 10, 13, 16, 21)
    used = traced(
        Toy(), LRDecay(Linear(), warmup=4), GradientAccumulationScheduler({1: 4, 3: 2}), max_epochs=5
    )
    assert planned(plan) == used


@pytest.mark.parametrize("bounds", [{"max_epochs": 2}, {"max_steps": 14}], ids=["batches", "steps"])
def test_manual_optimization_is_counted_as_lrdecay_counts_it(bounds):
    decay = {"policy": Linear(), "interval": "step", "warmup": 0.5}
    plan = preview_of_fit(trainer(LRDecay(**decay), **bounds), ManualToy())
    batches = traced(ManualToy(), LRDecay(**decay), **bounds)
    # The Trainer counts a step of each of the two optimizers.
    every = 2 if "max_steps" in bounds else 1
    assert planned(plan)[::every] == batches
    assert plan.unit == ("batch" if every == 1 else "optimizer step")
    assert list(plan.base_lrs.values()) == [0.1, 0.01]
    assert plan.figure().axes[0].get_xlabel() == plan.unit


def test_a_stream_is_shown_in_epochs_where_only_they_bound_it():
    class Streamed(Toy):
        def train_dataloader(self):
            return torch.utils.data.DataLoader(Stream(), batch_size=None)

    plan = preview_of_fit(trainer(LRDecay(Linear()), max_epochs=4), Streamed())
    assert [(each.step, each.epoch, each.factor) for each in plan.every_step()] == [
        (None, 0, 1.0),
        (None, 1, 0.75),
        (None, 2, 0.5),
        (None, 3, 0.25),
    ]
    assert "step" not in str(plan).splitlines()[2]
    with pytest.raises(
        MisconfigurationException, match=r"how many steps an epoch makes.*limit_train_batches"
    ):
        preview_of_fit(trainer(LRDecay(Exponential(0.9)), max_steps=40), Streamed())
    with pytest.raises(MisconfigurationException, match="how many steps an epoch makes"):
        preview_of_fit(trainer(LRDecay(Linear(), warmup=3), max_epochs=4), Streamed())


def test_each_of_several_processes_gets_its_share_of_the_data():
    # 10 batches of 4 for one process, 10 samples for each of four.
    alone = preview_of_fit(trainer(LRDecay(), max_epochs=2), Toy())
    of_four = trainer(LRDecay(), max_epochs=2, devices=4, strategy="ddp")
    assert of_four.world_size == 4
    assert (alone.timeline.length, preview_of_fit(of_four, Toy()).timeline.length) == (20, 6)
    own_sampler = trainer(LRDecay(), max_epochs=2, devices=4, strategy="ddp", use_distributed_sampler=False)
    assert preview_of_fit(own_sampler, Toy()).timeline.length == 20


def test_nothing_is_trained_logged_or_saved(tmp_path):
    calls = []

    class Loud(Callback):
        def __getattribute__(self, name):
            if name.startswith(("on_", "setup", "teardown")):
                calls.append(name)
            return super().__getattribute__(name)

    class Careful(Toy):
        def training_step(self, batch, batch_idx):
            raise AssertionError

        validation_step = on_before_optimizer_step = on_train_end = training_step

        def configure_callbacks(self):
            return [ModelCheckpoint(tmp_path / "more"), Loud(), LRDecay(Cosine(), interval="step")]

        def on_fit_start(self):
            self.logger.experiment.add_text("started", "yes")

    run = trainer(
        LRRangeTest(), Loud(), ModelCheckpoint(), LRLogger(), root=tmp_path, enable_checkpointing=True
    )
    module = Careful()
    before = {name: each.clone() for name, each in module.state_dict().items()}
    plan = preview_of_fit(run, module)
    assert (plan.plan.policy, plan.found_by) == (Cosine(), "LRRangeTest")
    assert calls == []
    assert list(tmp_path.iterdir()) == []
    assert all(torch.equal(each, before[name]) for name, each in module.state_dict().items())


@pytest.mark.parametrize("finder", [LRRangeTest(), LRSearch()], ids=["LRRangeTest", "LRSearch"])
def test_an_lr_that_is_going_to_be_found_is_not_guessed(finder):
    plan = preview_of_fit(trainer(finder, LRDecay()), Toy())
    assert f"base LR: found at fit start by {type(finder).__name__}, in place of 0.1" in str(plan)
    assert all(step.lrs == {} for step in plan.every_step())
    assert type(finder).__name__ in plan.figure().axes[0].get_ylabel()
    assert max(plan.figure().axes[0].lines[0].get_ydata()) == 1


@pytest.mark.parametrize(
    ("finder", "settings"),
    [(LRRangeTest(apply=False), {}), (LRRangeTest(), {"fast_dev_run": True})],
    ids=["to look only", "fast_dev_run"],
)
def test_an_lr_that_stays_is_shown(finder, settings):
    assert preview_of_fit(trainer(finder, LRDecay(), **settings), Toy()).every_step()[0].lrs == {
        "lr/SGD": 0.1
    }


class Scheduled(Toy):
    def configure_optimizers(self):
        optimizer = super().configure_optimizers()
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1)]


@pytest.mark.parametrize(
    ("module", "callbacks", "settings", "message"),
    [
        (Toy, [], {}, "There is no LRDecay among the callbacks.*Add `lightning_lr.LRDecay`"),
        (Scheduled, [], {}, "scheduler StepLR of `configure_optimizers`, which is not previewed"),
        (Scheduled, [LRDecay()], {}, "two writers of one learning rate"),
        (Toy, [LRDecay()], {"max_epochs": -1}, r"has to know when the run ends.*Set `Trainer\(max_epochs"),
        (Toy, [LRDecay(Constant())], {"max_epochs": -1}, r"has no end.*Set `Trainer\(max_epochs=\.\.\.\)`"),
        (Toy, [LRDecay(Constant()), Timer("00:01:00:00")], {"max_epochs": None}, "has no end"),
        (Toy, [LRDecay()], {"limit_train_batches": 0}, "trains nothing"),
        (Toy, [LRDecay()], {"max_epochs": 0}, "trains nothing"),
    ],
    ids=["no LRDecay", "scheduler", "both", "needs end", "no end", "max_time", "no batches", "no epochs"],
)
def test_what_cannot_be_previewed_says_what_to_do(module, callbacks, settings, message):
    with pytest.raises(MisconfigurationException, match=message):
        preview_of_fit(trainer(*callbacks, **settings), module())


def test_a_policy_that_fails_late_in_the_run_fails_here():
    late = Function(lambda epoch: math.nan if epoch == 3 else 1.0)
    with pytest.raises(ValueError, match="nan"):
        preview_of_fit(trainer(LRDecay(late), max_epochs=5), Toy())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "Linear.*has to know when the run ends.*`max_epochs`"),
        ({"policy": Constant()}, "has no end.*`max_epochs`"),
        ({"max_epochs": 3, "interval": "step"}, "has to know.*with `steps_per_epoch`"),
        ({"max_epochs": 3, "warmup": 2}, "how many steps an epoch makes.*`steps_per_epoch`"),
        ({"max_epochs": 3, "warmup": 0.1}, "needs the number of steps.*`steps_per_epoch`"),
        ({"max_steps": 30, "policy": Constant()}, "how many steps an epoch makes.*`steps_per_epoch`"),
        ({"max_epochs": 0}, r"`preview\(max_epochs=...\)` must be at least 1"),
        ({"max_epochs": 3, "base_lr": math.nan}, r"`preview\(base_lr=...\)` must be in \[0, inf\), got nan"),
        ({"max_epochs": 3, "base_lr": {"head": -1}}, r"must be in \[0, inf\), got -1"),
        ({"max_epochs": 3, "interval": "batch"}, "must be 'epoch' or 'step'"),
        ({"max_epochs": 3, "warmup": 1.5}, r"`preview\(warmup=...\)` must be a count"),
    ],
    ids=str,
)
def test_a_missing_length_or_a_bad_argument_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        preview(**({"policy": Linear()} | arguments))


def test_a_bad_type_is_named():
    with pytest.raises(TypeError, match=r"`preview\(policy=...\)` must be a Policy.*got 'cosine'"):
        preview("cosine", max_epochs=3)
    with pytest.raises(TypeError, match="max_steps"):
        preview(Linear(), max_steps=3.5)


def test_a_preview_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        preview(Linear(), max_epochs=3).unit = "batch"


@pytest.mark.parametrize(
    ("bounds", "moments"),
    [
        ({"max_epochs": 2, "steps_per_epoch": 3}, [(0, 0), (1, 0), (2, 0), (3, 1), (4, 1), (5, 1)]),
        ({"max_epochs": 2, "max_steps": 4, "steps_per_epoch": 3}, [(0, 0), (1, 0), (2, 0), (3, 1)]),
        ({"max_steps": 4, "steps_per_epoch": 3}, [(0, 0), (1, 0), (2, 0), (3, 1)]),
        ({"max_steps": 3}, [(0, None), (1, None), (2, None)]),
    ],
    ids=str,
)
def test_a_moment_has_its_step_and_epoch(bounds, moments):
    plan = preview(Linear(), interval="step", **bounds)
    assert [(each.step, each.epoch) for each in plan.every_step()] == moments


def test_a_timeline_of_epochs_that_begin_after_the_last_step_ends_with_the_run():
    plan = preview(Linear(), max_epochs=100, max_steps=7, steps_per_epoch=3, interval="step")
    assert plan.timeline.epoch_starts == (0, 3, 6)
    assert lay_out(plan.timeline.horizon, batches_per_epoch=math.inf, accumulation={0: 1}).epoch_starts == ()


def test_the_table_shows_the_turns_and_not_every_step():
    plan = preview(Cosine(), max_epochs=100, steps_per_epoch=1000, interval="step", warmup=1234)
    table = plan.table(rows=10)
    assert [each.step for each in table] == [0, 1234, *range(10_000, 100_000, 10_000), 99_999]
    assert table[1].factor == 1
    assert [each.epoch for each in table][:3] == [0, 1, 10]
    steps = plan.every_step()
    assert table == [steps[each.step] for each in table]
    with pytest.raises(ValueError, match="at least 2"):
        plan.table(rows=1)


def test_the_table_of_a_short_run_is_the_run():
    for length in (1, 2, 19):
        plan = preview(Linear(), max_steps=length, interval="step")
        assert plan.table() == plan.every_step()


def test_a_warmup_longer_than_the_run_has_no_end_to_show():
    plan = preview(Linear(), max_steps=5, interval="step", warmup=20)
    assert [each.factor for each in plan.table()] == [0, 0.05, 0.1, 0.15, 0.2]
    assert plan.figure().axes[0].get_xlim() == (0, 5)


def test_a_long_run_is_drawn_from_few_points():
    plan = preview(Cosine(), max_steps=10**7, interval="step", warmup=12_345)
    [(x, lrs)] = plan.curves().values()
    assert len(x) <= 5_002
    assert (x[0], x[-1]) == (0, 10**7 - 1)
    assert (12_345, 1.0) in zip(x, lrs, strict=True)


def test_the_text_lists_groups_by_their_base_lr():
    text = as_text("T", [(0, 0, 0.5)], {"a": 0.1, "b": 0.1, "head": 1.0}).splitlines()
    assert text[1:3] == ["base LR 0.1: a, b", "base LR 1: head"]
    assert text[4].split("  ")[-2:] == ["a (+1)", "head"]
    assert text[5].split()[-2:] == ["0.05", "0.5"]
    layers = {f"layer {n}": 0.5**n for n in range(24)}
    assert shortened(layers) == {"layer 0": "layer 0", "layer 23": "layer 23"}


def axes_of(**kwargs):
    return planned_figure(**kwargs).axes[0]


def test_the_line_is_the_plan_and_the_points_are_what_was_used():
    lrs = {"lr/SGD": ([0, 1, 2, 3], [0.4, 0.3, 0.2, 0.1])}
    axes = axes_of(planned=lrs, used={"lr/SGD": ([0, 1], [0.4, 0.3])}, epoch_starts=[0, 2])
    line, points = axes.lines
    # The last LR holds to the end of its step.
    assert [list(map(float, each)) for each in line.get_data()] == [
        [0, 1, 2, 3, 4],
        [0.4, 0.3, 0.2, 0.1, 0.1],
    ]
    assert [list(map(float, each)) for each in points.get_data()] == [[0, 1], [0.4, 0.3]]
    assert points.get_linestyle() == "None"
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "lr/SGD, planned, at most 0.4",
        "lr/SGD, used",
    ]


@pytest.mark.parametrize(
    ("lrs", "warmup", "scale"),
    [
        ([1.0, 0.5, 0.1], 0, "linear"),
        ([1.0, 0.5, 0.09], 0, "log"),
        ([0.0, 1.0, 0.5], 1, "linear"),
        ([0.001, 1.0, 0.5], 1, "linear"),
        ([0.001, 1.0, 0.5], 0, "log"),
        ([0.0, 0.0], 0, "linear"),
        ([1.0, 0.0], 0, "linear"),
    ],
)
def test_the_lr_axis_is_logarithmic_beyond_a_decade(lrs, warmup, scale):
    axes = axes_of(planned={"lr": (range(len(lrs)), lrs)}, warmup=warmup)
    assert axes.get_yscale() == scale
    assert ("log scale" in axes.get_ylabel()) == (scale == "log")
    low, high = axes.get_ylim()
    assert low <= min((lr for lr in lrs if lr > 0), default=0)
    assert high > max(lrs)


def test_a_decay_to_zero_leaves_room_for_its_body():
    plan = preview(Linear(), max_steps=100_000, interval="step")
    bottom, _ = plan.figure().axes[0].get_ylim()
    assert 1e-3 < bottom < 0.1


def test_the_epochs_stand_along_the_top(tmp_path):
    figure = preview(Linear(), max_epochs=300, steps_per_epoch=7).figure()
    figure.savefig(tmp_path / "plan.png")
    [top] = figure.axes[0].child_axes
    assert [tick.get_text() for tick in top.get_xticklabels()] == ["0", "50", "100", "150", "200", "250"]
    assert list(top.get_xticks()) == [0, 350, 700, 1050, 1400, 1750]


def test_nothing_to_draw_is_refused():
    for planned in ({}, {"lr": ([], [])}):
        with pytest.raises(ValueError, match="at least one curve"):
            planned_figure(planned)


def test_a_figure_opens_no_window_and_keeps_no_state(tmp_path):
    preview(Cosine(), max_epochs=30, base_lr=0.1).save_png(tmp_path / "plan.png")
    assert (tmp_path / "plan.png").read_bytes().startswith(b"\x89PNG\r\n")
    assert plt.get_fignums() == []


def test_the_name_is_the_function_also_when_the_module_is_run():
    assert lightning_lr.preview is preview
    assert callable(lightning_lr.preview)


SCRIPT = """
import sys
import torch
from lightning.pytorch import Trainer
from lightning_lr import LRDecay, preview
from beside import Module

assert __name__ == "__main__" and callable(preview)
print("arguments", sys.argv[1:])
trainer = Trainer(max_epochs=int(sys.argv[1]), callbacks=[LRDecay(warmup=5)])
try:
    trainer.fit(Module())
except Exception:
    print("swallowed")
print("trained")
"""
MODULE = """
import torch
from lightning.pytorch import LightningModule

class Module(LightningModule):
    def __init__(self, lr: float = 0.5):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.lr = lr

    def training_step(self, batch, batch_idx):
        raise AssertionError

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.lr)

    def train_dataloader(self):
        return torch.utils.data.DataLoader(torch.zeros(12, 1), batch_size=4)
"""
CONFIG = """
seed_everything: false
trainer:
  max_epochs: 2
  accelerator: cpu
  callbacks:
    - class_path: lightning_lr.LRDecay
      init_args: {interval: step}
model:
  class_path: beside.Module
  init_args: {lr: 0.25}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a script, the module that it imports, and a config; the process works in it."""
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts/train.py").write_text(SCRIPT)
    (tmp_path / "scripts/beside.py").write_text(MODULE)
    (tmp_path / "run.yaml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    # Put back what the command changes in a process that is its own.
    monkeypatch.setattr(sys, "argv", ["preview"])
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.setenv("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
    yield tmp_path
    sys.modules.pop("beside", None)


@pytest.fixture
def shown(folder, capsys):  # noqa: ARG001 (where it is run)
    """The command in this process: what it printed and its exit code."""
    main = runpy.run_module("lightning_lr.preview.__main__", run_name="preview")["main"]
    fit = Trainer.fit

    def run(*arguments):
        try:
            main(list(arguments))
            code = 0
        except SystemExit as ended:
            code = ended.code
        assert Trainer.fit is fit
        return code, *capsys.readouterr()

    return run


@pytest.mark.filterwarnings("ignore:You defined a")
def test_a_script_runs_up_to_its_fit(shown, folder):
    code, out, _ = shown("scripts/train.py", "3", "--flag")
    assert code == 0
    lines = out.splitlines()
    assert lines[0] == "arguments ['3', '--flag']"
    assert "trained" not in out
    assert "swallowed" not in out
    assert lines[1] == "Linear(end=0.0, start=1.0) per epoch, warm-up 5 of 9 steps"
    assert [line.split() for line in lines[3:]] == [
        ["epoch", "step", "factor", "lr/SGD"],
        *(
            [str(step // 3), str(step), f"{factor:.4g}", f"{factor * 0.5:.4g}"]
            for step, factor in enumerate((1 - step // 3 / 3) * min(1, step / 5) for step in range(9))
            if step in {0, 3, 5, 6, 8}
        ),
    ]
    assert sorted(each.name for each in folder.iterdir()) == ["run.yaml", "scripts"]


@pytest.mark.filterwarnings("ignore:You defined a")
def test_a_config_with_class_paths_needs_no_script(shown, folder, monkeypatch):
    monkeypatch.syspath_prepend(folder / "scripts")
    code, out, _ = shown("--config", "run.yaml", "--png", "plan.png", "--trainer.max_epochs=4")
    assert code == 0
    assert out.splitlines()[0] == "Linear(end=0.0, start=1.0) per step, 12 steps"
    assert out.splitlines()[3].split() == ["0", "0", "1", "0.25"]
    assert out.endswith("The figure is in plan.png.\n")
    assert (folder / "plan.png").read_bytes().startswith(b"\x89PNG\r\n")
    assert sorted(each.name for each in folder.iterdir()) == ["plan.png", "run.yaml", "scripts"]


@pytest.mark.filterwarnings("ignore:You defined a")
def test_a_resumed_fit_is_told(shown, folder, monkeypatch):
    monkeypatch.syspath_prepend(folder / "scripts")
    code, out, _ = shown("--config", "run.yaml", "--ckpt_path", "last.ckpt")
    assert code == 0
    assert out.endswith("The fit resumes from last.ckpt; this is the plan of a run from the start.\n")


ONE_LINE = {
    "missing config": (["--config", "nowhere.yaml"], "There is no file `nowhere.yaml`."),
    "missing config of a script": (["scripts/train.py", "--config=no.yml"], "There is no file `no.yml`."),
    "missing script": (["nowhere.py", "fit"], "There is no file `nowhere.py`."),
    "no fit": (["scripts/beside.py"], "The script ended without calling `Trainer.fit`."),
    "no LRDecay": (["--config", "run.yaml", "--trainer.callbacks=null"], "There is no LRDecay"),
    "no end": (["--config", "run.yaml", "--trainer.max_epochs=-1"], "Set `Trainer(max_steps=...)`"),
    "misspelt": (["--config", "run.yaml", "--trainer.max_epocks=3"], "max_epocks"),
    "no class": (["--config", "flat.yaml"], "put it first: `python -m lightning_lr.preview train.py fit"),
    "no folder for the figure": (
        ["--config", "run.yaml", "--png", "nowhere/plan.png"],
        "The figure could not be saved: ",
    ),
}


@pytest.mark.filterwarnings("ignore:You defined a")
@pytest.mark.parametrize("name", ONE_LINE)
def test_a_mistake_is_one_line_that_says_what_to_do(name, shown, folder, monkeypatch):
    monkeypatch.syspath_prepend(folder / "scripts")
    (folder / "flat.yaml").write_text(CONFIG.partition("model:")[0] + "model: {lr: 0.25}\n")
    arguments, message = ONE_LINE[name]
    code, _, err = shown(*arguments)
    assert code == 1
    [line] = err.splitlines()
    assert line.startswith("python -m lightning_lr.preview: ")
    assert message in line


def test_without_arguments_the_usage_is_told(shown):
    code, _, err = shown()
    assert code == 2
    assert "--config RUN.YAML" in err


@pytest.fixture
def digits(tmp_path):
    """The repository's example in a folder of its own, and the command on it."""
    shutil.copytree(EXAMPLES, tmp_path / "examples", ignore=shutil.ignore_patterns("__pycache__"))

    def run(*arguments):
        result = subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        return result

    return tmp_path, run


def test_the_example_of_the_repository(digits):
    folder, run = digits
    command = ["examples/digits.py", "fit", "--config", "examples/digits.yaml"]
    result = run("-m", "lightning_lr.preview", *command, "--png", "plan.png")
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    # 1,437 images in batches of 64, 15 times.
    assert lines[0] == "Cosine(floor=0.01) per step, warm-up 17 of 345 steps"
    assert lines[1] == "base LR: found at fit start by LRRangeTest, in place of 0.003"
    assert lines[3].split() == ["epoch", "step", "factor"]
    assert lines[4].split() == ["0", "0", "0"]
    assert lines[-3].split() == ["14", "344", "0.01002"]
    assert sorted(each.name for each in folder.iterdir()) == ["examples", "plan.png"]


def test_the_config_that_a_run_has_saved(digits):
    folder, run = digits
    # No epoch: the config is saved all the same.
    run("examples/digits.py", "fit", "--config", "examples/digits.yaml", "--trainer.max_epochs=0")
    saved = ["--config", "logs/digits/version_0/config.yaml", "--trainer.max_epochs=2"]
    result = run("-m", "lightning_lr.preview", "examples/digits.py", "fit", *saved)
    assert result.stdout.splitlines()[0] == "Cosine(floor=0.01) per step, warm-up 2 of 46 steps"
    assert [each.name for each in (folder / "logs/digits").iterdir()] == ["version_0"]
