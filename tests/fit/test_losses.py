"""What steps return and batches are: a guess never raises."""

import dataclasses
import re
from types import SimpleNamespace
from typing import NamedTuple

import pytest
import torch

from lightning_lr.fit.losses import batch_size, missing_loss


class Pair(NamedTuple):
    image: object
    label: object


@dataclasses.dataclass(slots=True)
class Slots:
    name: str
    image: torch.Tensor


@dataclasses.dataclass
class Lazy:
    image: torch.Tensor = dataclasses.field(init=False)


class Bare:
    __slots__ = ()


class Hostile(dict):
    def values(self):
        raise RuntimeError("do not look")


def itself():
    batch = []
    batch.append(batch)
    return batch


@pytest.mark.parametrize(
    ("batch", "size"),
    [
        (Slots("a", torch.zeros(5, 2)), 5),
        (Pair(torch.zeros(6, 2), None), 6),
        (Lazy(), 1),
        (Bare(), 1),
        (object(), 1),
        (SimpleNamespace(image=torch.zeros(3)), 1),
        ((each for each in [torch.zeros(3)]), 1),
        (torch.eye(4).to_sparse(), 4),
        (torch.tensor(1.0), 1),
        (["a", "b"], 1),
        ("text", 1),
        (None, 1),
        (7, 1),
        ({"text": ["a"], "ids": torch.zeros(2, 9)}, 2),
        ({}, 1),
        (Hostile(a=1), 1),
        (itself(), 1),
        (Slots, 1),
    ],
)
def test_the_size_of_a_batch_of_any_kind(batch, size):
    assert batch_size(batch) == size


@pytest.mark.parametrize(
    ("outputs", "manual", "problem", "mend"),
    [
        ({"loss": torch.zeros(8)}, True, r"shape \(8,\)", "mean"),
        (torch.zeros(2, 3), True, r"shape \(2, 3\)", "mean"),
        (torch.tensor(1j), True, "complex", "real"),
        ({"loss": 0.5}, True, "type float", "tensor"),
        ({"logits": torch.zeros(3), "y": 1}, True, "dict with `logits`, `y` and no `loss`", "under `loss`"),
        ({}, True, "no loss", "end of the step"),
        (None, True, "no loss", "end of the step"),
        ({"loss": None}, False, "no loss", "^$"),
        (None, False, "no loss", "^$"),
    ],
)
def test_why_there_is_no_loss(outputs, manual, problem, mend):
    told, advice = missing_loss(outputs, manual=manual)
    assert re.search(problem, told)
    assert re.search(mend, advice)
