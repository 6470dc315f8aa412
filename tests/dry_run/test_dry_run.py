"""A rehearsal leaves no trace: each fit is compared with its twin that had none, bit for bit."""

import math
import signal
from types import SimpleNamespace

import pytest
import torch
from helpers.dry_run import CASES, NEEDS_FSDP2_ON_CPU, OneShot, Rehearse, adamw, settings
from helpers.ranks import run_ranks
from helpers.toy import LEDGER, Toy, trainer
from helpers.twin import Net, assert_same, run
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import (
    EarlyStopping,
    EMAWeightAveraging,
    ModelCheckpoint,
    StochasticWeightAveraging,
)
from lightning.pytorch.utilities.exceptions import SIGTERMException
from matplotlib import pyplot
from torch.optim import SGD, AdamW
from torch.utils.data import DataLoader

import lightning_lr.dry_run.dry_run as dry_run_module
from lightning_lr.dry_run import refusals
from lightning_lr.dry_run.dry_run import DryRun
from lightning_lr.dry_run.snapshot import roots
from lightning_lr.fit.ranks import mean_unless_terminated


@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore:You requested to overfit")
@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")  # torchdata 0.11 calls it on torch 2.13
def test_a_rehearsal_leaves_no_trace(name, tmp_path):
    make, kwargs = CASES[name]
    plain = run(tmp_path / "plain", make, **settings(kwargs))
    rehearse = Rehearse()
    tested = run(tmp_path / "tested", make, rehearse, **settings(kwargs))
    tested_again = run(tmp_path / "again", make, Rehearse(), **settings(kwargs))
    assert_same(plain, tested)
    assert_same(plain, tested_again)
    first, second = rehearse.losses
    assert first == second
    assert len(set(first)) > 1


@pytest.mark.parametrize(
    "make",
    [
        lambda root: EMAWeightAveraging(decay=0.9),
        lambda root: StochasticWeightAveraging(swa_lrs=0.05, swa_epoch_start=1),
        lambda root: EarlyStopping("val_loss", patience=1),
        lambda root: ModelCheckpoint(root / "saved", filename="{step}", save_top_k=-1, every_n_train_steps=2),
    ],
)
def test_other_callbacks_notice_nothing(make, tmp_path):
    results = []
    for name, extra in (("plain", []), ("tested", [Rehearse()])):
        root = tmp_path / name
        callback = make(root)
        results.append(
            run(root, lambda: Net(adamw), *extra, callback, max_epochs=3, enable_checkpointing=True)
            | {
                "callback": {
                    key: repr(value) for key, value in callback.state_dict().items() if "path" not in key
                }
            }
        )
    for result in results:
        result["callback"] = {
            key: each.replace("tested", "plain") for key, each in result["callback"].items()
        }
    assert_same(*results)


class Breaks(Net):
    def __init__(self, error, at=7):
        super().__init__(adamw)
        self.error, self.at = error, at
        self.broke = False

    def training_step(self, batch, batch_idx):
        if self.steps_made == self.at:
            raise self.error
        return super().training_step(batch, batch_idx)


@pytest.mark.parametrize("error", [ValueError("broken"), KeyboardInterrupt(), torch.OutOfMemoryError("full")])
def test_after_an_error_the_trainer_is_as_before(error, tmp_path):
    class Survive(Rehearse):
        def on_train_start(self, trainer, pl_module):
            with pytest.raises(type(error)):
                super().on_train_start(trainer, pl_module)
            pl_module.at = None

    class Spared(Callback):
        def on_train_start(self, trainer, pl_module):
            pl_module.at = None

    plain = run(tmp_path / "plain", lambda: Breaks(error), Spared())
    tested = run(tmp_path / "tested", lambda: Breaks(error), Survive())
    assert_same(plain, tested)


def test_a_second_interrupt_while_leaving_does_not_leave_it_half_done(tmp_path, monkeypatch):
    restore, calls = dry_run_module.Snapshot.restore, []

    def interrupted(self):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        restore(self)

    class Survive(Rehearse):
        def on_train_start(self, trainer, pl_module):
            monkeypatch.setattr(dry_run_module.Snapshot, "restore", interrupted)
            with pytest.raises(KeyboardInterrupt):
                super().on_train_start(trainer, pl_module)

    plain = run(tmp_path / "plain", lambda: Net(adamw))
    tested = run(tmp_path / "tested", lambda: Net(adamw), Survive())
    assert len(calls) == 4
    assert_same(plain, tested)


def test_losses_are_those_of_real_training():
    losses = []

    class Trained(Toy):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            losses.append(loss.item())
            return loss

    class Constant(Rehearse):
        def on_train_start(self, trainer, pl_module):
            super().on_train_start(trainer, pl_module)
            losses.clear()

    rehearse = Constant(lrs=[0.1] * 20)
    trainer(rehearse, max_epochs=2).fit(Trained())
    assert rehearse.losses[0] == pytest.approx(losses)


def test_the_descent_is_the_decrease_of_the_loss_per_lr():
    found = []

    class Compare(Callback):
        def on_train_start(self, trainer, pl_module):
            with DryRun(trainer, pl_module) as dry:
                [(loss, descent)] = dry.descents(1)
            batch = next(iter(pl_module.train_dataloader()))
            with torch.enable_grad():
                pl_module.loss(batch).backward()
                gradients = [each.grad for each in pl_module.parameters()]
            found.append((loss, pl_module.loss(batch).item(), descent, gradients))
            pl_module.zero_grad()

    trainer(Compare(), max_epochs=1).fit(Toy(lambda parameters: SGD(parameters, lr=0.1, momentum=0.5)))
    trainer(Compare(), max_epochs=1).fit(Toy(torch.optim.Adam))
    (loss, wanted, descent, gradients), (_, _, adam_descent, adam_gradients) = found
    assert loss == pytest.approx(wanted)
    assert descent == pytest.approx(sum(each.square().sum().item() for each in gradients) / 0.5)
    assert adam_descent == pytest.approx(sum(each.abs().sum().item() for each in adam_gradients))


@pytest.mark.parametrize("fused", [False, True])
def test_what_the_scaler_skips_is_no_step(fused):
    class Rehearse(Callback):
        def on_train_start(self, trainer, pl_module):
            with DryRun(trainer, pl_module) as dry:
                self.descents = dry.descents(3)
                self.weights = [pl_module.linear.weight.tolist() for _ in dry.steps([0.01] * 3)]

    rehearse = Rehearse()
    module = Toy(lambda parameters: AdamW(parameters, lr=0.01, fused=fused))
    # Too high by far for half precision, so the first steps are skipped.
    trainer(rehearse, max_epochs=1, **settings({"plugins": ["fp16"]})).fit(module)
    assert all(math.isfinite(number) for pair in rehearse.descents for number in pair)
    assert len(set(map(str, rehearse.weights))) == 3


def test_lbfgs_can_be_rehearsed():
    rehearse = Rehearse(lrs=[0.01] * 5)
    trainer(rehearse, max_epochs=1).fit(Toy(lambda parameters: torch.optim.LBFGS(parameters, lr=0.1)))
    assert rehearse.losses[0] == rehearse.losses[1]


@pytest.mark.filterwarnings("ignore:.*returned `None`")  # Lightning tells once per process
def test_a_batch_without_loss_is_passed_over():
    class Skips(Toy):
        def training_step(self, batch, batch_idx):
            return None if batch_idx == 2 else super().training_step(batch, batch_idx)

    rehearse = Rehearse(lrs=[0.01] * 4)
    trainer(rehearse, max_epochs=1).fit(Skips())
    assert len(rehearse.losses[0]) == 4
    assert all(map(math.isfinite, rehearse.losses[0]))


class Bare(SGD):
    """Calls the closure without gradients, as some optimizers of other libraries do."""

    @torch.no_grad()
    def step(self, closure=None):
        loss = closure()
        super().step()
        return loss


def test_an_optimizer_that_steps_without_gradients_can_be_rehearsed():
    rehearse = Rehearse(lrs=[0.01] * 3)
    trainer(rehearse, max_epochs=1).fit(Toy(lambda parameters: Bare(parameters, lr=0.1)))
    assert all(map(math.isfinite, rehearse.losses[0]))


def test_a_short_loader_starts_over():
    rehearse = Rehearse(lrs=[0.01] * 25)
    trainer(rehearse, max_epochs=1).fit(Toy(batches=3))
    assert len(rehearse.losses[0]) == 25


@pytest.mark.parametrize("short", [True, False])
def test_the_copy_can_be_kept_on_either_side(short, monkeypatch, tmp_path):
    monkeypatch.setattr(roots, "_is_short_of_memory", lambda *_: short)
    plain = run(tmp_path / "plain", lambda: Net(adamw))
    assert_same(plain, run(tmp_path / "tested", lambda: Net(adamw), Rehearse()))


def fit_and_refuse(module, match):
    taken = []

    class Look(Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            taken.append(batch)

    class Refused(Callback):
        def on_train_start(self, trainer, pl_module):
            with pytest.raises(MisconfigurationException, match=match):
                DryRun(trainer, pl_module)

    trainer(Refused(), Look(), max_epochs=1).fit(module)
    return taken


@pytest.mark.parametrize("stream", [OneShot, lambda: iter(OneShot().lines)])
def test_a_stream_that_is_read_once_is_refused_and_loses_no_batch(stream):
    class Streamed(Toy):
        def train_dataloader(self):
            source = stream()
            return DataLoader(source, batch_size=None) if isinstance(source, OneShot) else source

    taken = fit_and_refuse(Streamed(), r"can be read only once.*live=True")
    assert [int(target[0]) for _, target in taken] == [0, 1, 2, 3, 4]


@pytest.mark.filterwarnings("ignore:.*`dataloader_iter`")
def test_a_step_that_takes_its_own_batches_is_refused():
    class Own(Toy):
        def training_step(self, dataloader_iter):
            batch, _, _ = next(dataloader_iter)
            return self.loss(batch)

    fit_and_refuse(Own(), r"training_step\(dataloader_iter\).*live=True")


def test_lrs_of_zero_are_refused():
    fit_and_refuse(Toy(lambda parameters: SGD(parameters, lr=0.0)), "Every LR is 0")


def test_lazy_parameters_are_refused():
    class Lazy(Toy):
        def __init__(self):
            super().__init__()
            self.lazy = torch.nn.LazyLinear(1)

        def configure_optimizers(self):
            return SGD(self.linear.parameters(), lr=0.1)

    fit_and_refuse(Lazy(), "lazy parameters")


def test_deepspeed_is_refused(monkeypatch):
    monkeypatch.setattr(refusals, "DeepSpeedStrategy", object)
    fit_and_refuse(Toy(), "DeepSpeed.*another strategy")


DISTRIBUTED = """
import sys
from helpers.dry_run import Rehearse, adamw
from helpers.twin import Net, assert_same, run
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy
from torch.distributed.fsdp import fully_shard

class Sharded(Net):
    def configure_model(self):
        if not hasattr(self.net[0], "unshard"):
            fully_shard(self.net[0], mesh=self.device_mesh["data_parallel"])
            fully_shard(self.net[4], mesh=self.device_mesh["data_parallel"])
            fully_shard(self.net, mesh=self.device_mesh["data_parallel"])

strategies = {
    "ddp": (Net, lambda: DDPStrategy(process_group_backend="gloo")),
    "ddp with a static graph": (Net, lambda: DDPStrategy(process_group_backend="gloo", static_graph=True)),
    "fsdp2": (Sharded, lambda: ModelParallelStrategy(2, 1, process_group_backend="gloo")),
}
for kind in sys.argv[2:]:
    module, strategy = strategies[kind]
    results = []
    for name, extra in (("plain", []), ("tested", [Rehearse()])):
        root = f"{sys.argv[1]}/{kind}/{name}"
        results.append(run(root, lambda: module(adamw), *extra, devices=2, strategy=strategy()))
        results[-1]["weights"] = str(results[-1]["weights"])
    assert_same(*results)
    print(f"{kind}: same\\n", end="")
"""


@pytest.mark.parametrize(
    "kinds", [["ddp", "ddp with a static graph"], pytest.param(["fsdp2"], marks=NEEDS_FSDP2_ON_CPU)]
)
def test_ranks_leave_no_trace(kinds, tmp_path):
    script = tmp_path / "distributed.py"
    script.write_text(DISTRIBUTED)
    found = run_ranks(script, tmp_path, *kinds)
    assert sorted(found) == sorted(2 * [f"{kind}: same" for kind in kinds])


class Terminated(Net):
    """Gets SIGTERM in the step of a rehearsal, of which Lightning takes a note."""

    def __init__(self, at):
        super().__init__(adamw)
        self.at = at

    def training_step(self, batch, batch_idx):
        if self.steps_made == self.at:
            signal.raise_signal(signal.SIGTERM)
        LEDGER["steps"] += 1
        return super().training_step(batch, batch_idx)


def test_sigterm_ends_it_within_a_step_and_leaves_no_trace(tmp_path):
    class Survive(Rehearse):
        def on_train_start(self, trainer, pl_module):
            LEDGER["steps"] = 0
            with pytest.raises(SIGTERMException):
                super().on_train_start(trainer, pl_module)
            assert LEDGER["steps"] == pl_module.at + 1
            pl_module.at = None
            trainer._signal_connector.received_sigterm = False

    class Spared(Callback):
        def on_train_start(self, trainer, pl_module):
            pl_module.at = None

    plain = run(tmp_path / "plain", lambda: Terminated(2), Spared())
    tested = run(tmp_path / "tested", lambda: Terminated(2), Survive())
    assert_same(plain, tested)


@pytest.mark.parametrize("mine", [0, 1])
def test_sigterm_on_any_rank_ends_all_of_them(mine):
    other = torch.tensor([3.0, 1.0, 0.0], dtype=torch.float64)
    strategy = SimpleNamespace(root_device="cpu", reduce=lambda values, reduce_op: values + other)
    rank = SimpleNamespace(world_size=2, received_sigterm=False, strategy=strategy)
    assert mean_unless_terminated(rank, 1.0) == 2.0
    assert mean_unless_terminated(rank, None) == 3.0
    rank.received_sigterm = bool(mine)
    other[2] = 1.0 - mine
    with pytest.raises(SIGTERMException):
        mean_unless_terminated(rank, 1.0)


def test_sigterm_ends_the_validation_of_a_trial_within_a_batch():
    class Validated(Toy):
        def validation_step(self, batch, batch_idx):
            LEDGER["judged"] += 1
            signal.raise_signal(signal.SIGTERM)
            return super().validation_step(batch, batch_idx)

    class Judge(Callback):
        def on_train_start(self, trainer, pl_module):
            with DryRun(trainer, pl_module) as dry:
                dry.validation(3).loss()

    LEDGER["judged"] = 0
    with pytest.raises(SIGTERMException):
        trainer(Judge()).fit(Validated())
    assert LEDGER["judged"] == 1


def test_a_handler_that_saves_a_checkpoint_runs_when_everything_is_put_back():
    saved = []

    class Queued(Toy):
        def training_step(self, batch, batch_idx):
            signal.raise_signal(signal.SIGUSR1)
            return super().training_step(batch, batch_idx)

    class Save(Rehearse):
        def on_train_start(self, trainer, pl_module):
            def save(*_):
                saved.append((pl_module.linear.weight.tolist(), self in trainer.callbacks))

            start, before = pl_module.linear.weight.tolist(), signal.signal(signal.SIGUSR1, save)
            try:
                super().on_train_start(trainer, pl_module)
                assert saved == [(start, True)]
                assert signal.getsignal(signal.SIGUSR1) is save
            finally:
                signal.signal(signal.SIGUSR1, before)
                trainer.should_stop = True
                pl_module.training_step = lambda batch, batch_idx: None

    trainer(Save(), max_steps=1).fit(Queued())
    assert len(saved) == 1


class Draws(Toy):
    """Hands a figure of each step to the logger, which closes it, and some to one that is not to."""

    def __init__(self, *, keeps):
        super().__init__()
        self.keeps = keeps

    def training_step(self, batch, batch_idx):
        writer = self.logger.experiment
        writer.add_figure("one", pyplot.figure(), self.global_step)
        writer.add_figure("list", figure=[pyplot.figure()])
        if self.keeps:
            writer.add_figure("kept", pyplot.figure(), close=False)
        LEDGER["most"] = max(LEDGER["most"], len(pyplot.get_fignums()))
        return super().training_step(batch, batch_idx)


@pytest.mark.parametrize("keeps", [False, True])
@pytest.mark.filterwarnings("ignore:More than 20 figures")
def test_a_rehearsal_leaves_no_figure_open(keeps, tmp_path):
    pyplot.close("all")
    mine = pyplot.figure()
    LEDGER["most"] = 0
    fit = trainer(Rehearse(), root=tmp_path, max_steps=4, log_every_n_steps=1)
    fit.fit(Draws(keeps=keeps))
    assert len(pyplot.get_fignums()) == 1 + 4 * keeps
    assert pyplot.fignum_exists(mine.number)
    pyplot.close("all")
    assert keeps or LEDGER["most"] == 1
