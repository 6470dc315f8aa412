"""The LRs are where other callbacks of Lightning look for metrics."""

from collections import Counter
from itertools import permutations

import pytest
import torch
from helpers.toy import Toy, scalars, trainer
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger

from lightning_lr import LRDecay, LRLogger
from lightning_lr.policies import Linear

TAG = "lr/SGD"


def lr_of(step):
    return 0.1 * Linear().factor(step, 20)


class Looks(Callback):
    def __init__(self):
        self.seen = {}

    def look(self, hook, trainer):
        if not trainer.sanity_checking:
            value = trainer.callback_metrics[TAG]
            self.seen.setdefault(hook, []).append((trainer.global_step, value))

    def on_train_batch_end(self, trainer, *_):
        self.look("batch", trainer)

    def on_validation_end(self, trainer, *_):
        self.look("validation", trainer)

    def on_train_epoch_end(self, trainer, *_):
        self.look("epoch", trainer)


@pytest.mark.parametrize("order", list(permutations(range(3))))
@pytest.mark.parametrize("tensor", [False, True])
def test_every_hook_sees_the_lr_of_the_last_step_in_every_order_of_callbacks(order, tensor, tmp_path):
    looks = Looks()
    callbacks = [looks, LRDecay(interval="step"), LRLogger()]
    lr = torch.tensor(0.1) if tensor else 0.1
    run = trainer(*(callbacks[index] for index in order), root=tmp_path, num_sanity_val_steps=1)
    run.fit(Toy(lambda parameters: torch.optim.SGD(parameters, lr=lr)))
    for hook, steps in {"batch": range(1, 21), "validation": [10, 20], "epoch": [10, 20]}.items():
        assert [step for step, _ in looks.seen[hook]] == list(steps)
        # Those of earlier steps too: nobody has changed them since.
        assert [float(lr) for _, lr in looks.seen[hook]] == pytest.approx([lr_of(step - 1) for step in steps])


def test_many_different_lrs_are_there_when_they_are_due_and_when_validations_and_epochs_end(tmp_path):
    def many(parameters):
        weight, *_ = parameters
        others = [
            {"params": [torch.nn.Parameter(torch.zeros(1))], "lr": 0.1 / (2 + index)} for index in range(30)
        ]
        return torch.optim.SGD([{"params": [weight], "name": "first"}, *others], lr=0.1)

    class Looks30(Looks):
        def look(self, hook, trainer):
            seen = trainer.callback_metrics
            assert sum(name.startswith("lr/SGD/") for name in seen) == 31
            self.seen.setdefault(hook, []).append((trainer.global_step, float(seen["lr/SGD/first"])))

    looks = Looks30()
    run = trainer(
        looks, LRDecay(interval="step"), LRLogger(), root=tmp_path, val_check_interval=5, log_every_n_steps=3
    )
    run.fit(Toy(many))
    for hook, steps in {"validation": [5, 10, 15, 20], "epoch": [10, 20]}.items():
        assert looks.seen[hook] == [(step, pytest.approx(lr_of(step - 1))) for step in steps]
    by_step = {step - 1: lr for step, lr in looks.seen["batch"]}
    for step in (0, 3, 6, 9, 10, 12, 15, 18, 19):
        assert by_step[step] == pytest.approx(lr_of(step))


def test_a_checkpoint_is_named_by_the_lr_and_the_best_one_is_found_by_it(tmp_path):
    named = ModelCheckpoint(
        tmp_path / "saved",
        "{epoch}-{lr/SGD:.3f}",
        monitor=TAG,
        mode="max",
        save_top_k=2,
        auto_insert_metric_name=False,
    )
    run = trainer(LRDecay(interval="step"), named, LRLogger(), root=tmp_path, enable_checkpointing=True)
    run.fit(Toy())
    # The LRs of the last steps of both epochs.
    assert sorted(path.name for path in (tmp_path / "saved").iterdir()) == ["0-0.055.ckpt", "1-0.005.ckpt"]
    assert named.best_model_path.endswith("0-0.055.ckpt")
    assert float(named.best_model_score) == pytest.approx(lr_of(9))
    assert torch.load(named.best_model_path, weights_only=True)["callbacks"]


def test_early_stopping_follows_the_lr(tmp_path):
    stop = EarlyStopping(TAG, mode="max", patience=100, divergence_threshold=0.03)
    run = trainer(stop, LRDecay(), LRLogger(), root=tmp_path, max_epochs=10)
    run.fit(Toy())
    # 0.1, 0.09, ..., and 0.02 in the ninth.
    assert run.current_epoch == 9
    assert float(stop.best_score) == pytest.approx(0.1)


@pytest.mark.parametrize("prog_bar", [False, True])
def test_the_progress_bar_shows_it_if_asked_for(prog_bar, tmp_path):
    shown = []

    class Bar(TQDMProgressBar):
        def on_train_batch_end(self, trainer, pl_module, *arguments):
            super().on_train_batch_end(trainer, pl_module, *arguments)
            shown.append(self.get_metrics(trainer, pl_module).get(TAG))

    run = trainer(
        Bar(), LRDecay(interval="step"), LRLogger(prog_bar=prog_bar), root=tmp_path, enable_progress_bar=True
    )
    run.fit(Toy())
    assert shown == ([pytest.approx(lr_of(step)) for step in range(20)] if prog_bar else [None] * 20)


def test_lightning_does_not_log_it_again_nor_does_hparams_list_it(tmp_path):
    run = trainer(LRDecay(interval="step"), LRLogger(), root=tmp_path, log_every_n_steps=1)
    run.fit(Toy())
    assert Counter(x for x, _ in scalars(tmp_path)[TAG]) == Counter(range(20))
    assert TAG not in run.logged_metrics
    logger = CSVLogger(tmp_path / "csv")
    trainer(LRLogger(), logger=logger, log_every_n_steps=1).fit(Toy())
    assert len([row for row in logger.experiment.metrics if TAG in row]) <= 20


def test_a_second_fit_has_its_own(tmp_path):
    looks = Looks()
    run = trainer(LRLogger(), looks, root=tmp_path, max_epochs=1)
    run.fit(Toy())
    run.fit_loop.max_epochs = 2
    run.fit(Toy(lambda parameters: torch.optim.SGD(parameters, lr=0.5)))
    assert [float(lr) for _, lr in looks.seen["epoch"]] == pytest.approx([0.1, 0.5])
