"""LRLogger in fits of modules that are unlike what it expects: one message each, and the fit goes on."""

import dataclasses

import pytest
import torch
from helpers.toy import ManualToy, Toy, loader, scalars, trainer
from lightning.pytorch import Callback
from torch.optim import SGD, Optimizer

from lightning_lr import LRLogger

ABOUT_US = "LRLogger"
pytestmark = [
    pytest.mark.filterwarnings("ignore:`LightningModule.configure_optimizers` returned `None`"),
    pytest.mark.filterwarnings("ignore:`training_step` returned `None`"),
]


def messages(recwarn):
    return [str(each.message) for each in recwarn if ABOUT_US in str(each.message)]


@dataclasses.dataclass(slots=True)
class Batch:
    features: torch.Tensor
    target: torch.Tensor


class Sliced(Toy):
    """Learns from batches of a class of its own."""

    def __init__(self, wrap):
        super().__init__()
        self.wrap = wrap

    def train_dataloader(self):
        batches = list(loader(10))
        return torch.utils.data.DataLoader(range(10), 1, collate_fn=lambda each: self.wrap(*batches[each[0]]))

    def training_step(self, batch, batch_idx):
        return self.linear.weight.square().sum()

    def transfer_batch_to_device(self, batch, device, dataloader_idx):
        return batch


@pytest.mark.parametrize("wrap", [Batch, lambda *_: object(), lambda *_: iter("ab"), lambda *_: "text"])
def test_a_batch_of_any_class_is_logged(wrap, tmp_path, recwarn):
    run = trainer(LRLogger(), root=tmp_path, max_epochs=1)
    run.fit(Sliced(wrap))
    assert run.global_step == 10
    assert len(scalars(tmp_path)["loss/train"]) == 10
    assert messages(recwarn) == []


class Returning(ManualToy):
    """Under manual optimization, a step may return what it likes."""

    def __init__(self, give):
        super().__init__()
        self.give = give

    def training_step(self, batch, batch_idx):
        return self.give(super().training_step(batch, batch_idx), batch_idx)


@pytest.mark.parametrize(
    ("give", "problem"),
    [
        (
            lambda loss, index: loss.expand(8 - index % 2),
            "a loss of shape (8,), not a single number,",
        ),
        (lambda loss, index: {"logits": loss}, "a dict with `logits` and no `loss` for some batches"),
        (lambda loss, index: None, "no loss for some batches"),
        (lambda loss, index: loss + 1j, "a complex loss for some batches"),
    ],
)
def test_a_step_without_a_loss_to_show_gets_a_message_of_its_own_once(give, problem, tmp_path, recwarn):
    run = trainer(LRLogger(), root=tmp_path, max_epochs=2)
    run.fit(Returning(give))
    [message] = messages(recwarn)
    assert f"`training_step` returns {problem}" in message
    curves = scalars(tmp_path)
    assert "loss/train" not in curves
    assert len(curves["lr/Adam"]) == 20


def test_a_module_without_an_optimizer_is_told(tmp_path, recwarn):
    run = trainer(LRLogger(log_momentum=True), root=tmp_path, max_epochs=1)
    run.fit(Toy(lambda parameters: None))
    [message] = messages(recwarn)
    assert "no learning rate to show, only losses: `configure_optimizers` returns no optimizer" in message
    curves = scalars(tmp_path)
    assert len(curves["loss/train"]) == 10
    assert not [tag for tag in curves if tag.startswith("lr/")]


class OwnPace(Optimizer):
    """Has no LR of the user's, like Adafactor."""

    def __init__(self, parameters, **defaults):
        super().__init__(parameters, defaults)

    def step(self, closure=None):
        return closure()


@pytest.mark.parametrize("defaults", [{"lr": None, "betas": None}, {}])
def test_an_optimizer_without_an_lr_is_told(defaults, tmp_path, recwarn):
    run = trainer(LRLogger(), root=tmp_path, max_epochs=1)
    run.fit(Toy(lambda parameters: OwnPace(parameters, **defaults)))
    [message] = messages(recwarn)
    assert "no learning rate of OwnPace" in message
    assert "give the optimizer an `lr`" in message
    assert len(scalars(tmp_path)["loss/train"]) == 10


def test_tensor_lrs_of_one_element_and_floats_may_be_mixed(tmp_path, recwarn):
    def mixed(parameters):
        weight, bias = parameters
        optimizer = SGD([{"params": [weight]}, {"params": [bias]}], lr=0.1)
        optimizer.param_groups[0]["lr"] = torch.tensor([0.25], dtype=torch.float64)
        return optimizer

    trainer(LRLogger(), root=tmp_path, max_epochs=1).fit(Toy(mixed))
    curves = scalars(tmp_path)
    assert curves["lr/SGD/pg1"] == [(step, 0.25) for step in range(10)]
    assert curves["lr/SGD/pg2"] == [(step, pytest.approx(0.1)) for step in range(10)]
    assert messages(recwarn) == []


def test_losses_of_several_types_may_be_mixed(tmp_path, recwarn):
    kinds = [torch.float64, torch.float16, torch.int64, torch.float32]
    run = trainer(LRLogger(), root=tmp_path, max_epochs=1)
    run.fit(Returning(lambda loss, index: (loss * 0 + 2).to(kinds[index % 4]).reshape((1,) * (index % 3))))
    assert scalars(tmp_path)["loss/train"] == [(step, 2.0) for step in range(10)]
    assert messages(recwarn) == []


@pytest.mark.parametrize("every", [0, 10**9])
def test_the_buffer_is_bounded_whatever_the_interval(every, tmp_path):
    sizes = []

    class Look(Callback):
        def on_train_batch_end(self, trainer, *_):
            sizes.append(len(logger._steps))

    logger = LRLogger()
    run = trainer(logger, Look(), root=tmp_path, max_epochs=1, log_every_n_steps=every, limit_val_batches=0)
    run.fit(Toy(batches=2500))
    assert max(sizes) == 999
    assert len(scalars(tmp_path)["loss/train"]) == 2500
