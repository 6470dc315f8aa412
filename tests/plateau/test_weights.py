"""Weights and optimizer states, copied and put back."""

import pytest
import torch
from torch import nn
from torch.optim import LBFGS, SGD, Adagrad, Adam

from lightning_lr.plateau.weights import copy_weights, put_back, weights_of_checkpoint

OPTIMIZERS = {
    "SGD": lambda parameters: SGD(parameters, lr=0.1, momentum=0.9),
    "Adam": lambda parameters: Adam(parameters, lr=0.1, amsgrad=True),
    "Adagrad": lambda parameters: Adagrad(parameters, lr=0.1),
    "LBFGS": lambda parameters: LBFGS(parameters, lr=0.1, max_iter=2),
}


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.network = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))
        self.register_buffer("hidden", torch.zeros(1), persistent=False)

    def forward(self, features):
        self.hidden += 1
        return self.network(features)


def train(model, optimizer, steps):
    generator = torch.Generator().manual_seed(0)

    def closure():
        optimizer.zero_grad()
        loss = model(torch.randn(8, 3, generator=generator)).square().mean()
        loss.backward()
        return loss

    for _ in range(steps):
        optimizer.step(closure)


def everything(model, optimizer):
    return repr(
        (list(model.named_parameters()), list(model.named_buffers()), optimizer.state_dict()["state"])
    )


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("through_file", [False, True])
def test_everything_comes_back_and_training_goes_on_as_it_did(name, through_file, tmp_path):
    torch.manual_seed(0)
    model = Model()
    optimizer = OPTIMIZERS[name](model.parameters())
    train(model, optimizer, 3)
    kept, before = copy_weights(model, [optimizer]), everything(model, optimizer)
    if through_file:
        torch.save(kept, tmp_path / "kept.pt")
        kept = torch.load(tmp_path / "kept.pt", weights_only=True)
    places = [parameter.data_ptr() for parameter in model.parameters()]
    train(model, optimizer, 2)
    there = everything(model, optimizer)
    assert there != before
    for _ in range(2):
        put_back(kept, model, [optimizer])
        assert everything(model, optimizer) == before
        assert [parameter.data_ptr() for parameter in model.parameters()] == places
        train(model, optimizer, 2)
        assert everything(model, optimizer) == there


def test_settings_stay_what_they_are_and_a_state_that_was_not_there_goes():
    model = Model()
    optimizer = OPTIMIZERS["Adam"](model.parameters())
    kept, before = copy_weights(model, [optimizer]), everything(model, optimizer)
    train(model, optimizer, 2)
    optimizer.param_groups[0]["lr"] = 0.5
    put_back(kept, model, [optimizer])
    assert everything(model, optimizer) == before
    assert not any(optimizer.state.values())
    assert optimizer.param_groups[0]["lr"] == 0.5


def test_a_state_that_has_gone_comes_back():
    model = Model()
    optimizer = OPTIMIZERS["Adam"](model.parameters())
    train(model, optimizer, 2)
    kept, before = copy_weights(model, [optimizer]), everything(model, optimizer)
    optimizer.state.clear()
    put_back(kept, model, [optimizer])
    assert everything(model, optimizer) == before


def test_a_checkpoint_of_lightning_holds_the_same():
    model = Model()
    optimizer = OPTIMIZERS["Adam"](model.parameters())
    train(model, optimizer, 2)
    checkpoint = {"state_dict": model.state_dict(), "optimizer_states": [optimizer.state_dict()]}
    kept = weights_of_checkpoint(checkpoint)
    copied = copy_weights(model, [optimizer])
    assert kept["module"].keys() == copied["module"].keys() - {"hidden"}
    assert repr(kept["optimizers"]) == repr(copied["optimizers"])
