"""LRDecay's momentum and weight decay: closed forms of time, beside everybody who reads or writes them."""

import csv
import math
from pathlib import Path

import pytest
import torch
from helpers.finders import Learner
from helpers.toy import ManualToy, Toy, scalars, trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch.optim import SGD, AdamW, Rprop
from torch.optim.lr_scheduler import CyclicLR, OneCycleLR

from lightning_lr import LRDecay, LRLogger, LRRangeTest, PlateauDetector
from lightning_lr.momentum import momentum_of
from lightning_lr.plateau import Escape, Patience, RestoreBest
from lightning_lr.policies import Constant, Cosine, Cyclic, Linear, OneCycle, Piecewise, Repeat

pytestmark = [
    pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`"),
    pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended"),
]

OPPOSITE = Piecewise([0.0, 0.3, 1.0], [0.95, 0.85, 0.95], shape="cosine")


class Values(Callback):
    """Notes LR, momentum and weight decay of every group in every step, by step."""

    def __init__(self):
        self.seen = {}

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        groups = [group for each in trainer.optimizers for group in each.param_groups]
        values = [(float(each["lr"]), momentum_of(each), each.get("weight_decay")) for each in groups]
        self.seen.setdefault(trainer.global_step, values)

    def column(self, index, group=0):
        return [values[group][index] for _, values in sorted(self.seen.items())]


def sgd(parameters):
    return SGD(parameters, lr=0.1, momentum=0.9, weight_decay=0.04)


def adamw(parameters):
    return AdamW(parameters, lr=0.1, weight_decay=0.04)


def traced(make, *callbacks, module=None, **kwargs):
    values = Values()
    trainer(*callbacks, values, **({"max_epochs": 2} | kwargs)).fit(module or Toy(make))
    return values


@pytest.mark.parametrize("three_phase", [False, True])
@pytest.mark.parametrize("strategy", ["cos", "linear"])
@pytest.mark.parametrize("make", [sgd, adamw])
def test_the_opposite_cycles_of_torchs_one_cycle(make, strategy, three_phase):
    steps, share = 20, 0.3
    optimizer = make([torch.nn.Parameter(torch.zeros(1))])
    # Torch counts values, of which a run of 20 steps has one more than it uses.
    torchs = OneCycleLR(
        optimizer,
        0.1,
        total_steps=steps + 1,
        pct_start=(share * steps + 1) / (steps + 1),
        anneal_strategy=strategy,
        three_phase=three_phase,
    )
    wanted = []
    for _ in range(steps):
        wanted.append((optimizer.param_groups[0]["lr"], momentum_of(optimizer.param_groups[0])))
        optimizer.step()
        torchs.step()
    times, values = ([0.0, share, 2 * share, 1.0], [0.95, 0.85, 0.95, 0.95])
    if not three_phase:
        times, values = [0.0, share, 1.0], [0.95, 0.85, 0.95]
    shape = "cosine" if strategy == "cos" else "linear"
    policy = OneCycle(share, anneal_strategy=strategy, three_phase=three_phase)
    decay = LRDecay(policy, interval="step", momentum=Piecewise(times, values, shape=shape))
    found = traced(make, decay)
    assert found.column(0) == pytest.approx([lr for lr, _ in wanted])
    assert found.column(1) == pytest.approx([momentum for _, momentum in wanted])


def test_the_opposite_triangles_of_torchs_cyclic_lr():
    optimizer = sgd([torch.nn.Parameter(torch.zeros(1))])
    torchs = CyclicLR(optimizer, 0.02, 0.1, step_size_up=4, base_momentum=0.8, max_momentum=0.9)
    wanted = []
    for _ in range(20):
        wanted.append((optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["momentum"]))
        optimizer.step()
        torchs.step()
    momentum = Repeat(Piecewise([0, 4, 8], [0.9, 0.8, 0.9]), period=8)
    found = traced(sgd, LRDecay(Cyclic(4, low=0.2), interval="step", momentum=momentum))
    assert list(zip(found.column(0), found.column(1), strict=True)) == [
        pytest.approx(each) for each in wanted
    ]


def test_weight_decay_goes_from_each_groups_own_value_and_none_stays_none():
    def groups(parameters):
        weight, bias = parameters
        return AdamW(
            [{"params": [weight], "weight_decay": 0.04}, {"params": [bias], "weight_decay": 0.0}], lr=0.1
        )

    # As DINO raises it, from 0.04 to 0.4.
    found = traced(
        groups, LRDecay(weight_decay=Piecewise([0.0, 1.0], [1.0, 10.0], shape="cosine"), interval="step")
    )
    wanted = [0.4 + (0.04 - 0.4) * (1 + math.cos(math.pi * step / 20)) / 2 for step in range(20)]
    assert found.column(2) == pytest.approx(wanted)
    assert found.column(2, group=1) == [0.0] * 20


def test_the_clock_is_that_of_the_policy_and_no_ramp_multiplies_them():
    decay = LRDecay(
        Constant(), interval="step", warmup=8, momentum=Linear(0.5, start=0.9), weight_decay=Linear()
    )
    found = traced(sgd, decay)
    factors = [Linear().factor(max(0, step - 8), 12) for step in range(20)]
    assert found.column(1) == pytest.approx([0.5 + 0.4 * factor for factor in factors])
    assert found.column(2) == pytest.approx([0.04 * factor for factor in factors])
    by_epoch = traced(sgd, LRDecay(momentum=Linear(0.5, start=0.9)))
    assert by_epoch.column(1) == pytest.approx([0.9] * 10 + [0.7] * 10)


def test_the_second_beta_stays():
    betas = []

    class Note(Callback):
        def on_train_batch_start(self, trainer, *args):
            betas.append(trainer.optimizers[0].param_groups[0]["betas"])

    traced(adamw, LRDecay(momentum=OPPOSITE), Note())
    assert {second for _, second in betas} == {0.999}


def test_every_optimizer_of_manual_optimization():
    values = traced(None, LRDecay(interval="step", momentum=OPPOSITE), module=ManualToy(), max_epochs=1)
    momenta = [OPPOSITE.factor(step, 10) for step in range(10)]
    assert values.column(1) == pytest.approx(momenta)
    assert values.column(1, group=1) == pytest.approx(momenta)


@pytest.mark.parametrize("make", [sgd, adamw])
def test_a_run_resumed_at_any_step_has_the_values_of_the_uninterrupted_one(make, tmp_path):
    def decay():
        return LRDecay(
            interval="step", warmup=3, momentum=OPPOSITE, weight_decay=Piecewise([0.0, 1.0], [1.0, 5.0])
        )

    save = ModelCheckpoint(tmp_path, filename="{step}", save_top_k=-1, every_n_train_steps=1)
    whole = traced(make, decay(), save, module=Toy(make, batches=6), enable_checkpointing=True)
    files = list(tmp_path.glob("*.ckpt"))
    assert len(files) == 12
    for file in files:
        resumed = Values()
        trainer(decay(), resumed).fit(Toy(make, batches=6), ckpt_path=file, weights_only=True)
        start = int(file.stem.removeprefix("step="))
        assert resumed.seen == {step: values for step, values in whole.seen.items() if step >= start}


@pytest.mark.parametrize("name", ["momentum", "weight_decay"])
def test_what_other_code_sets_is_told_once(name, tmp_path):
    class Set(Callback):
        def on_train_batch_end(self, trainer, *args):
            if trainer.global_step in (5, 7):
                trainer.optimizers[0].param_groups[0][name] = 0.5

    decay = LRDecay(interval="step", momentum=OPPOSITE, weight_decay=Linear())
    with pytest.warns(UserWarning, match="Other code changed a (momentum|weight decay)") as caught:
        found = traced(sgd, decay, Set(), root=tmp_path)
    assert len([each for each in caught if "Other code" in str(each.message)]) == 1
    assert "Other code changed a" in (tmp_path / "run" / "decisions.jsonl").read_text()
    if name == "momentum":
        # It is not relative to anything, so the policy goes on.
        assert found.column(1)[6] == OPPOSITE.factor(6, 20)
    else:
        # 0.5 instead of 0.04 * 15 / 20 is kept as a change of the group's own, here for one step more.
        assert found.column(2)[6] == pytest.approx(0.5 / (15 / 20) * 14 / 20)


def test_a_group_that_joins_is_no_change_by_other_code():
    class Join(Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            if trainer.current_epoch == 1:
                extra = torch.nn.Parameter(torch.zeros(1))
                trainer.optimizers[0].add_param_group(
                    {"params": [extra], "momentum": 0.3, "weight_decay": 0.1}
                )

    values = traced(
        sgd, Join(), LRDecay(Constant(), interval="step", momentum=OPPOSITE, weight_decay=Linear())
    )
    _, momentum, decay = values.seen[15][1]
    assert momentum == OPPOSITE.factor(15, 20)
    assert decay == pytest.approx(0.1 * Linear().factor(15, 20))


def test_lrlogger_shows_them_without_being_asked_as_the_monitor_does(tmp_path):
    decay = LRDecay(interval="step", momentum=OPPOSITE, weight_decay=Linear())
    run = trainer(decay, LRLogger(), root=tmp_path, max_epochs=1, log_every_n_steps=1)
    run.fit(Toy(adamw))
    curves = scalars(tmp_path)
    assert [y for _, y in curves["momentum/AdamW"]] == pytest.approx(
        [OPPOSITE.factor(n, 10) for n in range(10)]
    )
    assert [y for _, y in curves["weight_decay/AdamW"]] == pytest.approx(
        [0.04 * (1 - n / 10) for n in range(10)]
    )
    monitor = LearningRateMonitor("step", log_momentum=True, log_weight_decay=True)
    logger = CSVLogger(tmp_path / "monitor")
    again = LRDecay(interval="step", momentum=OPPOSITE, weight_decay=Linear())
    trainer(again, monitor, logger=logger, max_epochs=1, log_every_n_steps=1).fit(Toy(adamw))
    for name in ("momentum", "weight_decay"):
        shown = [float(row[f"lr-AdamW-{name}"]) for row in monitored(logger)]
        assert [y for _, y in curves[f"{name}/AdamW"]] == pytest.approx(shown)


def monitored(logger):
    with Path(logger.experiment.metrics_file_path).open(newline="") as file:
        return list(csv.DictReader(file))


def test_an_lrlogger_of_two_fits_shows_them_in_one(tmp_path):
    logger = LRLogger()
    trainer(LRDecay(momentum=OPPOSITE), logger, root=tmp_path / "a").fit(Toy(sgd))
    trainer(LRDecay(), logger, root=tmp_path / "b").fit(Toy(sgd))
    assert "momentum/SGD" in scalars(tmp_path / "a")
    assert "momentum/SGD" not in scalars(tmp_path / "b")
    assert LRDecay().charts() == {}
    assert list(LRDecay(momentum=OPPOSITE).charts()) == ["Momentum and weight decay"]


@pytest.mark.parametrize("first", [True, False])
def test_a_range_test_trains_with_the_momentum_of_the_first_step_and_leaves_no_trace(first):
    high = Piecewise([0.0, 1.0], [0.5, 0.95])

    def run(*callbacks):
        values, module = Values(), Learner(sgd, batches=40)
        callbacks = callbacks if first else callbacks[::-1]
        trainer(*callbacks, values, max_epochs=1).fit(module)
        return values, [parameter.detach().clone() for parameter in module.parameters()]

    def decay():
        return LRDecay(interval="step", momentum=high, weight_decay=Linear())

    test = LRRangeTest(40, min_lr=1e-4, max_lr=1.0)
    tested, weights = run(test, decay())
    assert tested.column(1) == pytest.approx([high.factor(step, 40) for step in range(40)])
    assert tested.column(2) == pytest.approx([0.04 * (1 - step / 40) for step in range(40)])

    found = test.suggestion.lr
    plain = Values()
    module = Learner(
        lambda parameters: SGD(parameters, lr=found, momentum=0.9, weight_decay=0.04), batches=40
    )
    trainer(decay(), plain, max_epochs=1).fit(module)
    assert plain.seen == tested.seen
    assert all(map(torch.equal, module.parameters(), weights))


def test_the_order_of_test_and_decay_makes_no_difference():
    found = []
    for order in (1, -1):
        test = LRRangeTest(40, min_lr=1e-4, max_lr=1.0)
        decay = LRDecay(interval="step", momentum=Piecewise([0.0, 1.0], [0.0, 0.95]))
        trainer(*[test, decay][::order], max_epochs=1).fit(Learner(sgd, batches=40))
        found.append(test.curve.losses)
    assert found[0] == found[1]
    # With the optimizer's own momentum it is another curve.
    test = LRRangeTest(40, min_lr=1e-4, max_lr=1.0)
    trainer(test, max_epochs=1).fit(Learner(sgd, batches=40))
    assert test.curve.losses != found[0]


def test_a_live_test_puts_back_what_was_before_it():
    test = LRRangeTest(20, min_lr=1e-4, max_lr=1.0, live=True)
    values = Values()
    decay = LRDecay(interval="step", momentum=OPPOSITE, weight_decay=Linear())
    trainer(test, decay, values, max_epochs=2).fit(Learner(sgd, batches=30))
    assert values.column(1)[21:] == pytest.approx([OPPOSITE.factor(step, 60) for step in range(21, 60)])
    assert values.column(2)[21:] == pytest.approx([0.04 * (1 - step / 60) for step in range(21, 60)])


class Stuck(Toy):
    def validation_step(self, batch, batch_idx):
        self.log("val_loss", 1.0 + self.trainer.current_epoch)


def test_going_back_to_the_best_weights_does_not_take_them_back():
    judge = PlateauDetector("val_loss", detector=Patience(1), on_plateau=RestoreBest(1.0))
    decay = LRDecay(interval="step", momentum=OPPOSITE, weight_decay=Linear())
    found = traced(None, decay, judge, module=Stuck(adamw, batches=5), max_epochs=6)
    effects = [text for record in judge.records for text in record.effects]
    assert any("weights back to those" in text for text in effects)
    assert found.column(1) == pytest.approx([OPPOSITE.factor(step, 30) for step in range(30)])
    assert found.column(2) == pytest.approx([0.04 * (1 - step / 30) for step in range(30)])


def test_an_escape_by_momentum_beside_them_is_refused():
    judge = PlateauDetector("val_loss", on_plateau=Escape(quantity="momentum"))
    with pytest.raises(MisconfigurationException, match=r"`LRDecay\(momentum=...\)` both write the momentum"):
        trainer(LRDecay(momentum=OPPOSITE), judge).fit(Stuck(adamw))
    trainer(
        LRDecay(weight_decay=Linear()), PlateauDetector("val_loss", on_plateau=Escape(quantity="momentum"))
    ).fit(Stuck(adamw, batches=1))


@pytest.mark.parametrize(
    ("make", "arguments", "message"),
    [
        (lambda each: Rprop(each, lr=0.1), {"momentum": OPPOSITE}, "finds no momentum and no betas in Rprop"),
        (
            lambda each: SGD(each, lr=0.1),
            {"weight_decay": Linear()},
            "multiplies the weight decay.*SGD has none",
        ),
    ],
)
def test_what_no_group_has_cannot_be_scheduled(make, arguments, message):
    with pytest.raises(MisconfigurationException, match=message):
        traced(make, LRDecay(**arguments))


def test_a_momentum_of_1_is_refused_before_the_first_step():
    values = Values()
    with pytest.raises(
        ValueError, match=r"`LRDecay\(momentum=...\)` must stay in \[0, 1\), .* is 1 at 0 of 2 epochs"
    ):
        trainer(LRDecay(momentum=Cosine()), values).fit(Toy(sgd))
    assert values.seen == {}


@pytest.mark.parametrize("name", ["momentum", "weight_decay"])
def test_they_must_be_policies(name):
    with pytest.raises(TypeError, match=rf"`LRDecay\({name}=...\)` must be a Policy, got 0.9"):
        LRDecay(**{name: 0.9})


def test_a_checkpoint_names_them():
    text = LRDecay(momentum=Constant(0.8), weight_decay=Linear()).settings.text
    assert text.endswith("warmup=0, momentum=Constant(value=0.8), weight_decay=Linear(end=0.0, start=1.0))")
