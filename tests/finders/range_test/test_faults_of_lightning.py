"""What Lightning's own finder gets wrong, a test for each row of the table in `FACTS.md`: right here."""

import math
import signal
import statistics

import pytest
import torch
from helpers import apart
from helpers.dry_run import NEEDS_FSDP2_ON_CPU
from helpers.finders import BOUNDS, START, EasyNet, Learner, LossByLR, ManualLearner, adamw, sgd
from helpers.ranks import run_ranks
from helpers.toy import LEDGER, LRTrace, Notes, fit, lrs_of, trainer
from helpers.twin import CountHooks, Noisy, run
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch.optim import SGD
from torch.optim import lr_scheduler as schedulers
from torch.utils.data import DataLoader

from lightning_lr import LRRangeTest
from lightning_lr.dry_run import refusals
from lightning_lr.finders import GiveBack, MinimumOver, Suggestion


def valley(lr):
    """A loss that is lowest after steps at 1e-2, and blows up two decades later."""
    return 2 - math.exp(-((math.log10(lr) + 2) ** 2)) + (0 if lr < 1 else 100)


def noisy(loss_at, sd, seed):
    generator = torch.Generator().manual_seed(seed)
    return lambda lr: loss_at(lr) + sd * torch.randn((), generator=generator).item()


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
def test_resume_goes_on_where_it_was(tmp_path):
    saver = ModelCheckpoint(tmp_path, filename="first", save_top_k=-1)
    make = lambda: Learner(lambda parameters: SGD(parameters, lr=START, momentum=0.9))  # noqa: E731
    fit(make(), saver, max_epochs=1, enable_checkpointing=True)
    plain, module = make(), make()
    fit(plain, ckpt_path=tmp_path / "first.ckpt")
    resumed = fit(module, LRRangeTest(40), ckpt_path=tmp_path / "first.ckpt")
    assert LEDGER["steps"] == 10
    assert (resumed.current_epoch, resumed.global_step) == (2, 20)
    assert lrs_of(resumed) == [START]
    assert all(map(torch.equal, plain.parameters(), module.parameters()))


def test_a_shuffled_loader_gives_the_same_order(tmp_path):
    def build():
        loader = DataLoader(Noisy(), 8, shuffle=True)
        return EasyNet(lambda parameters: adamw(parameters, START), lambda: loader)

    plain = run(tmp_path / "plain", build)
    tested = run(tmp_path / "tested", build, LRRangeTest(24, apply=False))
    assert plain["batches"] == tested["batches"]
    assert plain["generators"] == tested["generators"]


SCHEDULES = {
    "LambdaLR": (lambda o: schedulers.LambdaLR(o, lambda step: min(1, step / 5)), lambda s: min(1, s / 5)),
    "OneCycleLR": (
        lambda o: schedulers.OneCycleLR(
            o, START, 20, pct_start=0.25, anneal_strategy="linear", div_factor=4, cycle_momentum=False
        ),
        lambda s: 0.25 + 0.75 * s / 4 if s <= 4 else None,
    ),
    "SequentialLR": (
        lambda o: schedulers.SequentialLR(
            o,
            [
                schedulers.LinearLR(o, 0.5, total_iters=5),
                schedulers.LambdaLR(o, lambda step: 1 - step / 15),
            ],
            [5],
        ),
        lambda s: 0.5 + 0.1 * s if s < 5 else 1 - (s - 5) / 15,
    ),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedulers_keep_the_lr_found(name):
    make, factor = SCHEDULES[name]

    class Scheduled(Learner):
        def configure_optimizers(self):
            optimizer = SGD(self.parameters(), lr=START)
            return [optimizer], [{"scheduler": make(optimizer), "interval": "step"}]

    test, trace = LRRangeTest(40), LRTrace()
    fit(Scheduled(), test, trace)
    wanted = [test.suggestion.lr * factor(step) for step in range(20) if factor(step) is not None]
    assert len(wanted) >= 5
    assert trace.first_group()[: len(wanted)] == pytest.approx(wanted)


def test_param_groups_keep_their_ratio():
    def two(parameters):
        weight, bias = parameters
        return SGD([{"params": [weight], "lr": 1e-4}, {"params": [bias], "lr": 1e-3}])

    test = LRRangeTest(40)
    low, high = lrs_of(fit(Learner(two), test))
    assert high == test.suggestion.lr != 1e-3
    assert high / low == pytest.approx(10)


def test_manual_optimization_moves_the_lr_of_both_optimizers():
    notes = Notes()

    class Watched(ManualLearner):
        def training_step(self, batch, batch_idx):
            notes.append(tuple(lrs_of(self.trainer)))
            return super().training_step(batch, batch_idx)

    test = LRRangeTest(40)
    fit(Watched(), test)
    used = notes.all
    ramped = used[4 : 4 + len(test.curve.lrs)]
    assert [first for first, _ in ramped] == pytest.approx(test.curve.lrs)
    assert [second for _, second in ramped] == pytest.approx([lr / 10 for lr in test.curve.lrs])
    assert used[-1][0] == test.suggestion.lr


def test_a_constant_loss_is_recorded_as_it_is_and_is_no_divergence():
    test = LRRangeTest(100, **BOUNDS)
    fit(LossByLR(lambda lr: 1.0), test)
    assert test.curve.losses == (1.0,) * 100
    assert not test.curve.diverged


def test_noise_is_no_divergence():
    stops = 0
    for seed in range(40):
        test = LRRangeTest(100, **BOUNDS)
        fit(LossByLR(noisy(lambda lr: 1.0, 0.3, seed)), test, max_epochs=1, limit_train_batches=1)
        stops += test.curve.diverged
    assert stops == 0


def test_a_negative_loss_is_tested_to_the_end():
    test, positive = LRRangeTest(100, **BOUNDS), LRRangeTest(100, **BOUNDS)
    fit(LossByLR(lambda lr: valley(lr) - 10), test)
    fit(LossByLR(valley), positive)
    assert len(test.curve.lrs) == len(positive.curve.lrs) > 90
    assert test.suggestion.lr == pytest.approx(positive.suggestion.lr, rel=1e-2)


def test_one_nan_does_not_poison_the_rest():
    test, clean = LRRangeTest(100, **BOUNDS), LRRangeTest(100, **BOUNDS)
    fit(LossByLR(lambda lr: math.nan if lr > 0.5 else valley(lr)), test)
    fit(LossByLR(valley), clean)
    assert test.curve.losses[:-1] == clean.curve.losses[: len(test.curve.losses) - 1]
    assert all(map(math.isfinite, test.curve.losses[:-1]))
    assert test.suggestion.lr == pytest.approx(clean.suggestion.lr, rel=0.05)


def test_noise_does_not_move_the_suggestion():
    found = []
    for seed in range(20):
        test = LRRangeTest(100, rule=MinimumOver(divisor=1.0), **BOUNDS)
        fit(LossByLR(noisy(valley, 0.05, seed)), test, max_epochs=1, limit_train_batches=1)
        found.append(test.suggestion.lr)
    assert statistics.median(found) == pytest.approx(1e-2, rel=0.3)
    assert min(found) > 2.5e-3
    assert max(found) < 4e-2


def test_more_steps_than_an_epoch_has_are_all_made(caplog):
    test = LRRangeTest(60, **BOUNDS)
    fit(LossByLR(valley, batches=20), test, max_epochs=1)
    assert len(test.curve.lrs) >= 59
    assert test.curve.lrs[-1] >= 0.7
    assert "diverging" not in caplog.text


def test_a_test_after_an_epoch_has_its_points():
    test = LRRangeTest(60, milestones=(1,), **BOUNDS)
    fit(LossByLR(valley), test)
    assert len(test.curve.lrs) >= 59
    assert isinstance(test.suggestion, Suggestion)


def test_an_exception_inside_leaves_the_trainer_as_it_was(tmp_path):
    def loss_at(lr):
        if lr > 1e-4:
            raise RuntimeError("broken")
        return 1.0

    run_of = trainer(LRRangeTest(60, **BOUNDS), LRTrace(), root=tmp_path, max_steps=7)
    before = (list(run_of.callbacks), list(run_of.loggers), run_of.max_steps, run_of.should_stop)
    with pytest.raises(RuntimeError, match="broken"):
        run_of.fit(LossByLR(loss_at))
    assert before == (run_of.callbacks, run_of.loggers, run_of.max_steps, run_of.should_stop)


KILLED = """
import os, sys
from helpers.finders import BOUNDS, LossByLR
from helpers.toy import trainer
from lightning_lr import LRRangeTest

def loss_at(lr):
    if lr > 1e-4:
        print("inside", flush=True)
        os.kill(os.getpid(), int(sys.argv[1]))
    return 1.0

os.chdir(sys.argv[2])
run = trainer(LRRangeTest(60, **BOUNDS), default_root_dir=sys.argv[2], enable_checkpointing=True)
run.fit(LossByLR(loss_at))
print("went on to the end")
"""


@pytest.mark.parametrize("kill", [signal.SIGTERM, signal.SIGKILL])
def test_a_kill_inside_leaves_no_file_behind(kill, tmp_path):
    script, root = tmp_path / "killed.py", tmp_path / "root"
    script.write_text(KILLED)
    root.mkdir()
    done = apart.run(script, int(kill), root)
    # Lightning takes SIGTERM for a request to end the fit after the batch, and exits with 0.
    assert done.returncode in (0, -kill), done.stderr[-2000:]
    assert set(done.stdout.split("\n")) == {"inside", ""}
    assert list(root.rglob("*")) == []


@pytest.mark.parametrize("options", [{}, {"limit_val_batches": 0}, {"val_check_interval": 2}])
def test_no_validation_runs_inside(options):
    calls = []

    class Validated(LossByLR):
        def validation_step(self, batch, batch_idx):
            calls.append(self.trainer.global_step)

    plain, tested = Validated(valley), Validated(valley)
    fit(plain, **options)
    wanted = list(calls)
    calls.clear()
    fit(tested, LRRangeTest(60, **BOUNDS), **options)
    assert calls == wanted


SHARDED = """
import sys
import torch
from helpers.finders import Learner
from helpers.toy import trainer
from lightning_lr import LRRangeTest
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy
from torch.distributed.fsdp import fully_shard

class Ranked(Learner):
    '''On every rank another loss.'''

    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx) + 100 * self.global_rank

class Sharded(Ranked):
    def configure_model(self):
        if not hasattr(self.linear, "unshard"):
            fully_shard(self.linear, mesh=self.device_mesh["data_parallel"])

lines = []
for module, strategy in (
    (Ranked, DDPStrategy(process_group_backend="gloo")),
    # By default, the ranks of one node share one batch and no shard.
    (Sharded, ModelParallelStrategy(2, 1, process_group_backend="gloo")),
):
    test = LRRangeTest(40)
    trainer(test, devices=2, strategy=strategy).fit(module())
    lines.append(f"{test.suggestion.lr} {test.curve.losses[0]}")
print(" ".join(lines) + "\\n", end="")
"""


@NEEDS_FSDP2_ON_CPU
def test_fsdp2_works_and_every_rank_counts(tmp_path):
    script = tmp_path / "sharded.py"
    script.write_text(SHARDED)
    first, second = run_ranks(script)
    assert first == second
    lr, loss, sharded_lr, sharded_loss = map(float, first.split())
    assert lr == pytest.approx(sharded_lr, rel=1e-3)
    # Rank 0 alone has losses of about 36, and so has rank 1 but for the 100 on top.
    assert loss == pytest.approx(sharded_loss, rel=1e-3)
    assert 70 < loss < 105


def test_deepspeed_is_refused_and_says_why(monkeypatch):
    monkeypatch.setattr(refusals, "DeepSpeedStrategy", SingleDeviceStrategy)
    with pytest.raises(MisconfigurationException, match=r"DeepSpeed.*another strategy"):
        fit(Learner(), LRRangeTest(40))


def test_no_hook_of_module_or_callbacks_fires_inside():
    called = []

    class Hooked(Learner):
        def on_train_start(self):
            called.append("on_train_start")

        def on_train_epoch_start(self):
            called.append("on_train_epoch_start")

        def on_train_batch_start(self, batch, batch_idx):
            called.append("on_train_batch_start")

        def on_train_epoch_end(self):
            called.append("on_train_epoch_end")

        def on_train_end(self):
            called.append("on_train_end")

        def on_save_checkpoint(self, checkpoint):
            called.append("on_save_checkpoint")

    plain, tested = CountHooks(), CountHooks()
    fit(Hooked(), plain)
    wanted = list(called)
    called.clear()
    fit(Hooked(), LRRangeTest(40), tested)
    assert called == wanted
    assert plain.counts == tested.counts


def test_metrics_are_those_of_the_fit_alone(tmp_path):
    seen = []

    class Look(Callback):
        def on_train_start(self, trainer, pl_module):
            seen.append((dict(trainer.callback_metrics), dict(trainer.logged_metrics)))

    def build():
        return EasyNet(lambda parameters: sgd(parameters, START))

    plain = run(tmp_path / "plain", build)
    tested = run(tmp_path / "tested", build, LRRangeTest(24, apply=False), Look())
    assert seen == [({}, {})]
    for name in ("metrics", "buffers", "attributes"):
        assert plain[name] == tested[name]


def test_it_makes_no_more_steps_than_it_says_and_writes_no_file(tmp_path):
    files = []

    class Look(Callback):
        def on_train_start(self, trainer, pl_module):
            files.append(sorted(path.name for path in tmp_path.rglob("*") if "tfevents" not in path.name))

    test = LRRangeTest(60, rule=GiveBack())
    fit(Learner(), test, Look(), root=tmp_path, max_epochs=1, enable_checkpointing=True)
    probes, before_the_first_lr = 4, 1
    assert LEDGER["steps"] == probes + before_the_first_lr + len(test.curve.lrs) + 10
    # What was decided is told; nothing else is there.
    assert files == [["decisions.jsonl", "hparams.yaml", "run"]]
