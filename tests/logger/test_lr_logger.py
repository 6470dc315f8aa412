"""LRLogger in real fits, read back from the event files."""

import csv
import math
from pathlib import Path

import pytest
import torch
from helpers.ranks import launch_script
from helpers.toy import ManualToy, Toy, loader, scalars, trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.plugins.precision import MixedPrecision

from lightning_lr import LRDecay, LRLogger
from lightning_lr.policies import Linear

pytestmark = pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")


class SelfLogging(Toy):
    """Logs itself what LRLogger logs unasked, plus 1, and keeps every batch's loss."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.seen = []

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        self.log("own_train", loss + 1, on_step=True, on_epoch=True)
        self.seen.append(loss.item())
        return loss

    def validation_step(self, batch, batch_idx):
        loss = super().validation_step(batch, batch_idx)
        self.log("own_val", loss + 1)
        return loss


def fit(module, *callbacks, root=None, **kwargs):
    run = trainer(*callbacks, root=root, **kwargs)
    run.fit(module)
    return run


@pytest.mark.parametrize("every", [1, 3, 50, 0])
def test_every_lr_and_every_loss_is_there_with_the_x_of_the_modules_own(every, tmp_path):
    module = SelfLogging()
    fit(module, LRDecay(interval="step"), LRLogger(), root=tmp_path, log_every_n_steps=every)
    curves = scalars(tmp_path)
    assert curves["loss/train"] == [(step, pytest.approx(loss)) for step, loss in enumerate(module.seen)]
    lrs = [0.1 * Linear().factor(step, 20) for step in range(20)]
    assert curves["lr/SGD"] == [(step, pytest.approx(lr)) for step, lr in enumerate(lrs)]
    for tag, own in (("loss/val", "own_val"), ("loss/train_epoch", "own_train_epoch")):
        assert curves[tag] == [(x, pytest.approx(y - 1)) for x, y in curves[own]]
    if 0 < every < 20:
        own = curves["own_train_step"]
        assert own == [(x, pytest.approx(curves["loss/train"][x][1] + 1)) for x, _ in own]


def test_the_epoch_mean_weighs_a_short_last_batch_as_lightning_does(tmp_path):
    class Uneven(SelfLogging):
        def train_dataloader(self):
            return torch.utils.data.DataLoader(loader(5).dataset, batch_size=6)

    fit(Uneven(), LRLogger(), root=tmp_path)
    curves = scalars(tmp_path)
    own = curves["own_train_epoch"]
    assert curves["loss/train_epoch"] == [(x, pytest.approx(y - 1)) for x, y in own]


def test_an_accumulated_step_is_one_point_with_the_undivided_mean(tmp_path):
    module = SelfLogging()
    fit(module, LRLogger(), root=tmp_path, max_epochs=1, accumulate_grad_batches=4, log_every_n_steps=2)
    windows = [module.seen[:4], module.seen[4:8], module.seen[8:]]
    means = [sum(window) / len(window) for window in windows]
    curves = scalars(tmp_path)
    assert curves["loss/train"] == [(step, pytest.approx(mean)) for step, mean in enumerate(means)]
    assert [x for x, _ in curves["lr/SGD"]] == [0, 1, 2]
    assert curves["own_train_epoch"][0][0] == curves["loss/train_epoch"][0][0] == 2


def test_every_group_of_every_optimizer_has_a_curve(tmp_path):
    fit(ManualToy(), LRLogger(), root=tmp_path, max_epochs=1)
    curves = scalars(tmp_path)
    assert curves["lr/SGD"] == [(batch, pytest.approx(0.1)) for batch in range(10)]
    assert curves["lr/Adam"] == [(batch, pytest.approx(0.01)) for batch in range(10)]
    assert [x for x, _ in curves["loss/train"]] == list(range(10))


def two_groups(parameters, make=torch.optim.AdamW, **kwargs):
    weight, bias = parameters
    return make([{"params": [weight]}, {"params": [bias], "lr": 0.5}], lr=0.1, **kwargs)


def test_momentum_and_weight_decay_on_request(tmp_path):
    fit(Toy(two_groups), LRLogger(log_momentum=True, log_weight_decay=True), root=tmp_path, max_epochs=1)
    curves = scalars(tmp_path)
    for group, lr in (("pg1", 0.1), ("pg2", 0.5)):
        for kind, value in (("lr", lr), ("momentum", 0.9), ("weight_decay", 0.01)):
            assert curves[f"{kind}/AdamW/{group}"] == [(step, pytest.approx(value)) for step in range(10)]


def test_momentum_of_an_optimizer_without_one_is_told(tmp_path):
    with pytest.warns(UserWarning, match=r"`LRLogger\(log_momentum=True\)` has nothing to show for Adagrad"):
        fit(
            Toy(torch.optim.Adagrad),
            LRLogger(log_momentum=True),
            root=tmp_path,
        )
    assert not [tag for tag in scalars(tmp_path) if "momentum" in tag]


def test_a_tensor_lr_is_shown_as_it_was_at_each_step(tmp_path):
    def adam(parameters):
        return torch.optim.Adam(parameters, lr=torch.tensor(0.1))

    fit(Toy(adam), LRDecay(interval="step"), LRLogger(), root=tmp_path, max_epochs=1)
    assert scalars(tmp_path)["lr/Adam"] == [
        (step, pytest.approx(0.1 * (1 - step / 10))) for step in range(10)
    ]


def test_a_group_added_during_the_run_gets_a_curve(tmp_path):
    class AddGroup(Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            if trainer.current_epoch == 1:
                trainer.optimizers[0].add_param_group({"params": [torch.nn.Parameter(torch.zeros(1))]})

    fit(Toy(), AddGroup(), LRLogger(), root=tmp_path)
    curves = scalars(tmp_path)
    assert [x for x, _ in curves["lr/SGD"]] == list(range(10))
    assert [x for x, _ in curves["lr/SGD/pg2"]] == list(range(10, 20))


def test_a_step_that_amp_skips_has_a_loss_and_no_lr(tmp_path):
    class Overflowing(Toy):
        def training_step(self, batch, batch_idx):
            return super().training_step(batch, batch_idx) * (math.inf if batch_idx == 3 else 1)

    precision = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=2.0))
    fit(Overflowing(), LRLogger(), root=tmp_path, max_epochs=1, plugins=[precision])
    curves = scalars(tmp_path)
    assert [x for x, _ in curves["lr/SGD"]] == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    assert curves["loss/train"][3] == (3, math.inf)
    assert len(curves["loss/train"]) == 10
    assert curves["loss/train_epoch"] == [(9, math.inf)]


def test_a_nan_loss_shows(tmp_path):
    class Nan(Toy):
        def training_step(self, batch, batch_idx):
            return super().training_step(batch, batch_idx) * (math.nan if batch_idx == 5 else 1)

    fit(Nan(), LRLogger(), root=tmp_path, max_epochs=1)
    curves = scalars(tmp_path)
    assert math.isnan(curves["loss/train"][5][1])
    assert math.isnan(curves["loss/train_epoch"][0][1])


def test_a_step_without_loss_is_told_once_and_left_out(tmp_path):
    class Skips(Toy):
        def training_step(self, batch, batch_idx):
            return None if batch_idx in (2, 5) else super().training_step(batch, batch_idx)

    with pytest.warns(UserWarning, match="None|none") as caught:
        fit(Skips(), LRLogger(), root=tmp_path, max_epochs=1)
    assert len([each for each in caught if "LRLogger shows none" in str(each.message)]) == 1
    assert [x for x, _ in scalars(tmp_path)["loss/train"]] == [0, 1, 3, 4, 6, 7, 8, 9]


class Validating(Toy):
    """Validates as a test tells it to."""

    def __init__(self, validation_step, **kwargs):
        super().__init__(**kwargs)
        self.validate_with = validation_step

    def validation_step(self, batch, batch_idx):
        return self.validate_with(self, self.loss(batch))


def log_only(*names):
    def step(module, loss):
        for name in names:
            module.log(name, loss)

    return step


@pytest.mark.parametrize(
    "step",
    [
        lambda module, loss: loss,
        lambda module, loss: {"loss": loss, "more": 1},
        log_only("val_loss"),
        log_only("val/loss", "val_acc"),
        log_only("my_Loss"),
        log_only("val_loss", "aux_loss"),
        lambda module, loss: (module.log("val_loss", loss + 7), loss)[1],
        lambda module, loss: module.log("val_loss", loss, on_step=True, on_epoch=True),
    ],
)
def test_the_validation_loss_is_one_curve_however_the_module_gives_it(step, tmp_path):
    module = Validating(step)
    fit(module, LRLogger(), root=tmp_path, val_check_interval=0.5)
    with torch.no_grad():
        mean = sum(module.loss(batch).item() for batch in module.val_dataloader()) / 3
    curves = scalars(tmp_path)
    validated = [tag for tag, points in curves.items() if points[-1] == (19, pytest.approx(mean))]
    assert all([x for x, _ in curves[tag]] == [4, 9, 14, 19] for tag in validated)
    # Ours is there where the module has none.
    assert validated
    assert validated == ["loss/val"] or "loss/val" not in curves


def test_a_short_last_validation_batch_weighs_less(tmp_path):
    module = Toy()
    run = trainer(LRLogger(), root=tmp_path, max_epochs=1)
    run.fit(module, val_dataloaders=torch.utils.data.DataLoader(loader(3).dataset, batch_size=5))
    with torch.no_grad():
        whole = module.loss(loader(3).dataset.tensors).item()
    assert scalars(tmp_path)["loss/val"] == [(9, pytest.approx(whole))]


@pytest.mark.parametrize("logged", [True, False])
def test_several_validation_loaders_have_a_curve_each(logged, tmp_path):
    class Several(Toy):
        def validation_step(self, batch, batch_idx, dataloader_idx=0):
            loss = self.loss(batch)
            if not logged:
                return loss
            self.log("val_loss", loss)
            return None

        def val_dataloader(self):
            return [loader(3, seed=1), loader(2, seed=2)]

    module = Several()
    fit(module, LRLogger(), root=tmp_path)
    curves = scalars(tmp_path)
    for index, data in enumerate(module.val_dataloader()):
        points = curves[f"{'val_loss' if logged else 'loss/val'}/dataloader_idx_{index}"]
        with torch.no_grad():
            assert points[-1] == (19, pytest.approx(module.loss(data.dataset.tensors).item()))
        assert len(points) == 2
    assert len([tag for tag in curves if "val" in tag]) == 2


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (("val_acc",), "returns and logs no loss"),
        (("loss_a", "loss_b"), r"several losses \(loss_a, loss_b\)"),
    ],
)
def test_a_validation_loss_that_cannot_be_found_is_told_once(names, problem, tmp_path):
    with pytest.warns(UserWarning, match=problem) as caught:
        fit(Validating(log_only(*names)), LRLogger(), root=tmp_path)
    assert len([each for each in caught if "no validation loss" in str(each.message)]) == 1
    assert "loss/val" not in scalars(tmp_path)


def test_a_stale_validation_loss_is_not_logged_again(tmp_path):
    class LogsOnce(Toy):
        def validation_step(self, batch, batch_idx):
            if self.trainer.current_epoch == 0:
                self.log("val_loss", self.loss(batch))
            else:
                self.log("val_acc", 0.5)

    with pytest.warns(UserWarning, match="returns and logs no loss"):
        fit(LogsOnce(), LRLogger(), root=tmp_path, max_epochs=3)
    curves = scalars(tmp_path)
    assert [x for x, _ in curves["val_loss"]] == [9]
    assert "loss/val" not in curves


def test_the_sanity_check_leaves_no_point(tmp_path):
    fit(Toy(), LRLogger(), root=tmp_path, num_sanity_val_steps=2)
    assert [x for x, _ in scalars(tmp_path)["loss/val"]] == [9, 19]


def test_the_learning_rate_monitor_beside_it_is_not_disturbed(tmp_path):
    alone, together = tmp_path / "alone", tmp_path / "together"
    for root, callbacks in ((alone, []), (together, [LRLogger()])):
        monitor = LearningRateMonitor(logging_interval="step")
        fit(Toy(), LRDecay(interval="step"), *callbacks, monitor, root=root, log_every_n_steps=2)
    curve = scalars(together)["lr-SGD"]
    assert curve == scalars(alone)["lr-SGD"]
    assert len(curve) == 10


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_nothing_is_lost_when_the_fit_breaks_off(error, tmp_path):
    class Breaks(Toy):
        def training_step(self, batch, batch_idx):
            if batch_idx == 7:
                raise error
            return super().training_step(batch, batch_idx)

    with pytest.raises((RuntimeError, SystemExit)):
        fit(Breaks(), LRLogger(), root=tmp_path)
    curves = scalars(tmp_path)
    assert [x for x, _ in curves["loss/train"]] == list(range(7))
    assert [x for x, _ in curves["lr/SGD"]] == list(range(7))


def test_a_step_whose_loss_was_never_handed_out_keeps_its_lr(tmp_path):
    class Breaks(Callback):
        def on_train_batch_end(self, trainer, *args):
            if trainer.global_step == 4:
                raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        fit(Toy(), Breaks(), LRLogger(), root=tmp_path)
    curves = scalars(tmp_path)
    assert [x for x, _ in curves["lr/SGD"]] == [0, 1, 2, 3]
    assert [x for x, _ in curves["loss/train"]] == [0, 1, 2]


def test_points_are_on_disk_when_a_checkpoint_is(tmp_path):
    counts = []

    class Look(Callback):
        def on_train_batch_end(self, trainer, *args):
            if trainer.global_step == 6:
                trainer.save_checkpoint(tmp_path / "saved.ckpt")
                counts.append(len(scalars(tmp_path)["loss/train"]))

    fit(Toy(), LRLogger(), Look(), root=tmp_path, max_epochs=1)
    assert counts == [6]
    assert [x for x, _ in scalars(tmp_path)["loss/train"]] == list(range(10))


@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended")
def test_the_epoch_mean_of_a_resumed_epoch_counts_what_came_before(tmp_path):
    save = ModelCheckpoint(tmp_path / "saved", filename="{step}", save_top_k=-1, every_n_train_steps=1)
    fit(Toy(), LRLogger(), save, root=tmp_path / "whole", max_epochs=2, enable_checkpointing=True)
    before = scalars(tmp_path / "whole")["loss/train"]
    for step in (3, 10, 15):
        root = tmp_path / f"resumed {step}"
        run = trainer(LRLogger(), root=root, max_epochs=2)
        run.fit(Toy(), ckpt_path=tmp_path / "saved" / f"step={step}.ckpt")
        resumed = scalars(root)
        losses = [loss for _, loss in before[:step] + resumed["loss/train"]]
        assert len(losses) == 20
        means = [(9, pytest.approx(sum(losses[:10]) / 10)), (19, pytest.approx(sum(losses[10:]) / 10))]
        # The checkpoint of step 10 was saved when the first epoch had its mean already.
        assert resumed["loss/train_epoch"] == (means if step < 10 else means[1:])


def test_a_checkpoint_loads_with_weights_only(tmp_path):
    run = fit(Toy(), LRLogger(), LRDecay(), root=tmp_path)
    run.save_checkpoint(tmp_path / "saved.ckpt")
    saved = torch.load(tmp_path / "saved.ckpt", weights_only=True)
    assert {"LRDecay", "LRLogger"} <= saved["callbacks"].keys()


def test_other_loggers_get_the_same_points(tmp_path):
    logger = CSVLogger(tmp_path, name="csv", version=0)
    module = SelfLogging()
    fit(module, LRLogger(), logger=logger, max_epochs=1)
    with Path(logger.log_dir, "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["loss/train"]]
    assert [int(row["step"]) for row in rows] == list(range(10))
    assert [float(row["loss/train"]) for row in rows] == pytest.approx(module.seen)
    assert {row["lr/SGD"] for row in rows} == {"0.1"}


def test_the_same_logger_serves_a_second_fit(tmp_path):
    logger_callback = LRLogger()
    run = trainer(logger_callback, root=tmp_path, max_epochs=1)
    module = Toy()
    run.fit(module)
    run.fit_loop.max_epochs = 2
    run.fit(module)
    assert [x for x, _ in scalars(tmp_path)["loss/train"]] == list(range(20))


def test_without_a_logger_the_error_names_the_mend():
    module = SelfLogging()
    with pytest.raises(MisconfigurationException, match=r"Trainer\(logger=TensorBoardLogger\('logs'\)\)"):
        fit(module, LRLogger())
    assert module.seen == []


def test_groups_of_one_name_are_refused(tmp_path):
    def same_names(parameters):
        weight, bias = parameters
        return torch.optim.SGD([{"params": [weight], "name": "a"}, {"params": [bias], "name": "a"}])

    with pytest.raises(MisconfigurationException, match="lr-SGD has several called a"):
        fit(Toy(same_names), LRLogger(), root=tmp_path)


def test_options_must_be_true_or_false():
    with pytest.raises(TypeError, match=r"`LRLogger\(log_momentum=...\)` must be True or False, got 'yes'"):
        LRLogger(log_momentum="yes")


def test_fast_dev_run_and_validation_alone_need_no_logger(tmp_path):
    fit(Toy(), LRLogger(), root=tmp_path, fast_dev_run=True)
    trainer(LRLogger(), logger=False).validate(Toy(), loader(3), verbose=False)
    assert list(tmp_path.iterdir()) == []


DISTRIBUTED = """
import sys
import torch
from helpers.toy import Toy, trainer
from lightning_lr import LRLogger
from lightning.pytorch.strategies import DDPStrategy

reductions = []

class Counting(DDPStrategy):
    def reduce(self, tensor, group=None, reduce_op="mean"):
        reductions.append(tuple(tensor.shape))
        return super().reduce(tensor, group, reduce_op)

class Ranked(Toy):
    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx) * 0 + self.global_rank + batch_idx

run = trainer(LRLogger(), root=sys.argv[1], devices=2, strategy=Counting(process_group_backend="gloo"),
              max_epochs=1, log_every_n_steps=4, limit_val_batches=0)
run.fit(Ranked(batches=20))
print(run.global_rank, [shape for shape in reductions if shape])
"""


def test_two_ranks_show_their_mean_with_one_reduction_per_flush(tmp_path):
    script = tmp_path / "distributed.py"
    script.write_text(DISTRIBUTED)
    root = tmp_path / "logs"
    said = launch_script(script, root)
    assert "".join(said).count("[(8,), (8,), (4,)]") == 2
    curves = scalars(root)
    assert curves["loss/train"] == [(step, step + 0.5) for step in range(10)]
    assert curves["loss/train_epoch"] == [(9, 5.0)]
    assert [x for x, _ in curves["lr/SGD"]] == list(range(10))
    assert len(list((root / "run").glob("events*"))) == 1
