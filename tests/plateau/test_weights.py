"""Weights and optimizer states, copied and put back."""

import copy
from collections import defaultdict

import pytest
import torch
from torch import nn
from torch.optim import LBFGS, SGD, Adagrad, Adam, Optimizer

from lightning_lr.plateau.weights import copy_weights, put_back, read_weights, weights_of_checkpoint

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
    kept = weights_of_checkpoint(copy.deepcopy(checkpoint))
    copied = copy_weights(model, [optimizer])
    assert kept["module"].keys() == copied["module"].keys() - {"hidden"}
    [of_file], [of_memory] = kept["optimizers"], copied["optimizers"]
    assert repr(list(of_file["states"].values())) == repr(list(of_memory["states"].values()))
    before = everything(model, optimizer)
    train(model, optimizer, 2)
    kept["module"]["hidden"] = copied["module"]["hidden"]
    assert put_back(kept, model, [optimizer]) == []
    assert everything(model, optimizer) == before


def test_weights_of_version_0_1_0_are_read():
    model = Model()
    optimizer = OPTIMIZERS["Adam"](model.parameters())
    train(model, optimizer, 2)
    kept, before = copy_weights(model, [optimizer]), everything(model, optimizer)
    states = list(kept["optimizers"][0]["states"].values())
    kept["optimizers"] = [dict(enumerate(states))]
    train(model, optimizer, 2)
    put_back(read_weights(kept), model, [optimizer])
    assert everything(model, optimizer) == before


class Wrapper(Optimizer):
    """Shows the groups of another optimizer as its own, and keeps slow weights, as Lookahead does."""

    def __init__(self, inner):
        self.inner = inner
        self.state = defaultdict(dict)
        self.steps = 0

    @property
    def param_groups(self):
        return self.inner.param_groups

    def zero_grad(self):
        self.inner.zero_grad()

    def step(self, closure=None):
        loss = self.inner.step(closure)
        self.steps += 1
        for group in self.param_groups:
            for parameter in group["params"]:
                slow = self.state[parameter].setdefault("slow", parameter.detach().clone())
                if self.steps % 2 == 0:
                    slow.lerp_(parameter.detach(), 0.5)
                    parameter.data.copy_(slow)
        return loss


class Counting(SGD):
    """Keeps a count in its groups and under a name in its state, as schedule-free and distance rules do."""

    def step(self, closure=None):
        for group in self.param_groups:
            group["k"] = group.get("k", 0) + 1
            group["weight_sum"] = torch.as_tensor(group.get("weight_sum", 0.0)) + 1 / group["k"]
        self.state["total"] = {"steps": torch.ones(1) * self.param_groups[0]["k"]}
        return super().step(closure)


def wrapped(parameters):
    return Wrapper(Adam(parameters, lr=0.1))


@pytest.mark.parametrize(
    "make", [wrapped, lambda parameters: Wrapper(wrapped(parameters)), lambda each: Counting(each, lr=0.1)]
)
def test_what_optimizers_keep_elsewhere_comes_back_too(make):
    torch.manual_seed(0)
    model = Model()
    optimizer = make(model.parameters())
    train(model, optimizer, 3)
    kept = copy_weights(model, [optimizer])
    train(model, optimizer, 3)
    there = [parameter.tolist() for parameter in model.parameters()]
    put_back(read_weights(kept), model, [optimizer])
    optimizer.param_groups[0]["lr"] = 0.1
    train(model, optimizer, 3)
    assert [parameter.tolist() for parameter in model.parameters()] == there
    assert optimizer.param_groups[0].get("k", 6) == 6


@pytest.mark.parametrize("through", ["memory", "file"])
def test_groups_that_were_added_or_removed_since(through):
    torch.manual_seed(0)
    model = Model()
    first, *others = model.parameters()
    optimizer = Adam([first], lr=0.1)
    train(model, optimizer, 2)
    kept = copy_weights(model, [optimizer])
    if through == "file":
        checkpoint = {"state_dict": model.state_dict(), "optimizer_states": [optimizer.state_dict()]}
        kept = weights_of_checkpoint(copy.deepcopy(checkpoint))
    before = optimizer.state[first]["exp_avg"].clone()
    optimizer.add_param_group({"params": others, "lr": 0.01})
    train(model, optimizer, 2)
    assert put_back(kept, model, [optimizer]) == []
    assert torch.equal(optimizer.state[first]["exp_avg"], before)
    assert set(optimizer.state) == {first}
    kept = copy_weights(model, [optimizer])
    train(model, optimizer, 2)
    kept = copy_weights(model, [optimizer])
    after = optimizer.state[others[0]]["exp_avg"].clone()
    del optimizer.param_groups[0]
    train(model, optimizer, 2)
    put_back(kept, model, [optimizer])
    assert torch.equal(optimizer.state[others[0]]["exp_avg"], after)


@pytest.mark.parametrize("through", ["memory", "file"])
def test_an_optimizer_that_was_set_up_since_starts_afresh(through):
    model = Model()
    optimizer = Adam(model.parameters(), lr=0.1)
    train(model, optimizer, 2)
    kept = copy_weights(model, [optimizer])
    if through == "file":
        checkpoint = {"state_dict": model.state_dict(), "optimizer_states": [optimizer.state_dict()]}
        kept = weights_of_checkpoint(copy.deepcopy(checkpoint))
    newer = SGD(model.parameters(), lr=0.1, momentum=0.9)
    train(model, newer, 2)
    assert put_back(kept, model, [newer]) == ["SGD"]
    assert not newer.state
    train(model, newer, 2)
    assert set(newer.state[next(model.parameters())]) == {"momentum_buffer"}
