"""The real runs of the plateau benchmark: data, model, optimizer, a constant LR, and how often it validates.

The detector's constants were chosen on `TUNED`; `HELD_OUT` was only looked at afterwards.
"""

import functools
import inspect
import math
import textwrap
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

import torch
from sklearn import datasets
from torch import Tensor, nn, optim
from torch.nn import functional

__all__ = ["HELD_OUT", "TUNED", "Data", "Task"]


@dataclass(frozen=True)
class Data:
    """Training and validation rows, and the units of the targets."""

    inputs: Tensor
    targets: Tensor
    validation_inputs: Tensor
    validation_targets: Tensor


Optimizers: TypeAlias = Callable[[Iterable[nn.Parameter], float], optim.Optimizer]


@dataclass(frozen=True)
class Task:
    """A run at a constant LR.

    Args:
        name: Data, model and optimizer.
        data: Seed -> data.
        model: Makes a model from torch's generator.
        optimizer: Parameters, LR -> optimizer.
        lr: The constant LR.
        criterion: Outputs, targets -> mean loss.
        validations: How many there are.
        steps: Optimizer steps between two validations.
        batch_size: Rows per step.
        score: Validation loss -> a positive number whose ratios mean something.
    """

    name: str
    data: Callable[[int], Data]
    model: Callable[[], nn.Module]
    optimizer: Optimizers
    lr: float
    criterion: Callable[[Tensor, Tensor], Tensor]
    validations: int
    steps: int
    batch_size: int = 32
    score: Callable[[float], float] = float


def made_by(kind: type[optim.Optimizer], **settings: Any) -> Optimizers:
    # The fused step takes a fifth of the time where there is one.
    if kind in (optim.Adam, optim.AdamW, optim.SGD, optim.Adagrad):
        settings["fused"] = True
    return lambda parameters, lr: kind(parameters, lr=lr, **settings)


# Data


def split(inputs: Tensor, targets: Tensor, held_back: float, seed: int) -> Data:
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randperm(len(inputs), generator=generator)
    first = round(held_back * len(inputs))
    validation, train = rows[:first], rows[first:]
    return Data(inputs[train], targets[train], inputs[validation], targets[validation])


@functools.cache
def _digits() -> tuple[Tensor, Tensor]:
    inputs, targets = datasets.load_digits(return_X_y=True)
    return torch.tensor(inputs, dtype=torch.float32) / 16, torch.tensor(targets)


def digits(seed: int) -> Data:
    return split(*_digits(), 0.3, seed)


def noisy_digits(seed: int) -> Data:
    """A fifth of the training labels are wrong: a network that is trained for long overfits."""
    data = split(*_digits(), 0.4, seed)
    generator = torch.Generator().manual_seed(seed)
    wrong = torch.rand(len(data.targets), generator=generator) < 0.2
    drawn = torch.randint(10, (len(data.targets),), generator=generator)
    return Data(
        data.inputs,
        torch.where(wrong, drawn, data.targets),
        data.validation_inputs,
        data.validation_targets,
    )


def noisy_images(seed: int) -> Data:
    """Images to take noise off; the noise is the same in every epoch."""
    clean, _ = _digits()
    generator = torch.Generator().manual_seed(seed)
    return split(clean + 0.3 * torch.randn(clean.shape, generator=generator), clean, 0.2, seed)


def table(load: Callable[..., Any], held_back: float, *, regression: bool) -> Callable[[int], Data]:
    def make(seed: int) -> Data:
        inputs, targets = (torch.tensor(each) for each in load(return_X_y=True))
        inputs = ((inputs - inputs.mean(0)) / inputs.std(0)).float()
        if regression:
            targets = ((targets - targets.mean()) / targets.std()).float()[:, None]
        return split(inputs, targets, held_back, seed)

    return make


def characters(context: int, module: Any = textwrap) -> Callable[[int], Data]:
    """Guess the next character of a module of the standard library."""

    def make(seed: int) -> Data:
        text = inspect.getsource(module)
        known = {letter: index for index, letter in enumerate(sorted(set(text)))}
        codes = torch.tensor([known[letter] for letter in text])
        windows = codes.unfold(0, context + 1, 1)[:12_000]
        return split(windows[:, :-1], windows[:, -1], 0.06, seed)

    return make


def teacher(seed: int) -> Data:
    """What a random network answers, with noise."""
    generator = torch.Generator().manual_seed(100 + seed)
    inputs = torch.randn(3000, 8, generator=generator)
    hidden = torch.tanh(inputs @ torch.randn(8, 16, generator=generator))
    answers = hidden @ torch.randn(16, 1, generator=generator) / 4
    return split(inputs, answers + 0.1 * torch.randn(answers.shape, generator=generator), 0.2, seed)


def spirals(seed: int) -> Data:
    generator = torch.Generator().manual_seed(200 + seed)
    radius = torch.rand(1500, generator=generator)
    arm = torch.randint(2, (1500,), generator=generator)
    angle = 9 * radius + math.pi * arm
    points = torch.stack([radius * angle.cos(), radius * angle.sin()], 1)
    return split(points + 0.03 * torch.randn(points.shape, generator=generator), arm, 0.3, seed)


def uneven_noise(seed: int) -> Data:
    """A curve whose noise grows along it: the negative log likelihood goes below 0."""
    generator = torch.Generator().manual_seed(300 + seed)
    inputs = 4 * torch.rand(1200, 1, generator=generator) - 2
    noise = (0.02 + 0.1 * (inputs + 2)) * torch.randn(inputs.shape, generator=generator)
    return split(inputs, torch.sin(3 * inputs) / 2 + noise, 0.3, seed)


def picture(seed: int) -> Data:
    """The colors of a photograph at given places."""
    pixels = torch.tensor(datasets.load_sample_image("flower.jpg")[::8, ::8].copy()).float() / 255
    rows, columns, _ = pixels.shape
    places = torch.cartesian_prod(torch.linspace(-1, 1, rows), torch.linspace(-1, 1, columns))
    waves = torch.cat([f(places * 2**k * 1.5) for k in range(5) for f in (torch.sin, torch.cos)], 1)
    return split(waves, pixels.reshape(-1, 3), 0.2, seed)


def ratings(seed: int) -> Data:
    """Ratings of 80 users for 60 things, of rank 4 and with noise."""
    generator = torch.Generator().manual_seed(400 + seed)
    users, things = (torch.randn(count, 4, generator=generator) for count in (80, 60))
    pairs = torch.cartesian_prod(torch.arange(80), torch.arange(60))
    wanted = (users @ things.T / 2).reshape(-1) + 0.3 * torch.randn(len(pairs), generator=generator)
    return split(pairs, wanted, 0.4, seed)


# Models


def layers(*sizes: int, activation: type[nn.Module] = nn.ReLU, norm: bool = False) -> nn.Sequential:
    parts: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes[:-1]):
        parts += [nn.Linear(inputs, outputs), *([nn.BatchNorm1d(outputs)] if norm else []), activation()]
    return nn.Sequential(*parts, nn.Linear(sizes[-2], sizes[-1]))


def small_cnn() -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        *(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()),
        *(nn.Conv2d(8, 16, 3, stride=2), nn.BatchNorm2d(16), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(144, 10)),
    )


def character_network() -> nn.Module:
    return nn.Sequential(nn.Embedding(100, 12), nn.Flatten(), layers(96, 96, 100))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(100, 16)
        self.gru = nn.GRU(16, 32, batch_first=True)
        self.out = nn.Linear(32, 100)

    def forward(self, codes: Tensor) -> Tensor:
        return self.out(self.gru(self.embedding(codes))[0][:, -1])


class Factors(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.users, self.things = nn.Embedding(80, 8), nn.Embedding(60, 8)

    def forward(self, pairs: Tensor) -> Tensor:
        return (self.users(pairs[:, 0]) * self.things(pairs[:, 1])).sum(1)


def likelihood(outputs: Tensor, targets: Tensor) -> Tensor:
    mean, log_sd = outputs.chunk(2, dim=1)
    log_sd = 3 * torch.tanh(log_sd / 3)
    return (log_sd + 0.5 * ((targets - mean) * torch.exp(-log_sd)) ** 2).mean()


CROSS, SQUARED = functional.cross_entropy, functional.mse_loss
MOMENTUM = made_by(optim.SGD, momentum=0.9)

TUNED = (
    Task(
        "wrong digits, MLP, AdamW",
        noisy_digits,
        lambda: layers(64, 128, 10),
        made_by(optim.AdamW),
        0.01,
        CROSS,
        60,
        17,
        64,
    ),
    Task("digits, CNN with BatchNorm, momentum", digits, small_cnn, MOMENTUM, 0.1, CROSS, 40, 20),
    Task(
        "diabetes, MLP, Adam",
        table(datasets.load_diabetes, 0.25, regression=True),
        lambda: layers(10, 64, 1),
        made_by(optim.Adam),
        0.01,
        SQUARED,
        100,
        10,
    ),
    Task(
        "characters, MLP, AdamW",
        characters(8),
        character_network,
        made_by(optim.AdamW),
        0.03,
        CROSS,
        60,
        20,
        64,
    ),
    Task(
        "teacher, tanh MLP, RMSprop",
        teacher,
        lambda: layers(8, 48, 48, 1, activation=nn.Tanh),
        made_by(optim.RMSprop),
        0.004,
        SQUARED,
        200,
        6,
    ),
    Task(
        "breast cancer, MLP, SGD",
        table(datasets.load_breast_cancer, 0.3, regression=False),
        lambda: layers(30, 32, 2),
        made_by(optim.SGD),
        0.3,
        CROSS,
        20,
        12,
    ),
    Task(
        "noisy images, MLP, Adam",
        noisy_images,
        lambda: layers(64, 128, 64),
        made_by(optim.Adam),
        0.02,
        SQUARED,
        80,
        15,
    ),
    Task("spirals, MLP, momentum", spirals, lambda: layers(2, 48, 48, 2), MOMENTUM, 0.1, CROSS, 120, 10),
    Task(
        "uneven noise, likelihood, Adam",
        uneven_noise,
        lambda: layers(1, 48, 48, 2, activation=nn.Tanh),
        made_by(optim.Adam),
        0.03,
        likelihood,
        80,
        12,
        score=math.exp,
    ),
)
HELD_OUT = (
    Task(
        "picture, MLP, AdamW",
        picture,
        lambda: layers(20, 64, 64, 3),
        made_by(optim.AdamW),
        0.02,
        SQUARED,
        50,
        20,
        64,
    ),
    Task("characters, GRU, RMSprop", characters(8), Recurrent, made_by(optim.RMSprop), 0.005, CROSS, 30, 20),
    Task("ratings, factors, Adagrad", ratings, Factors, made_by(optim.Adagrad), 0.3, SQUARED, 150, 8),
    Task(
        "wine, BatchNorm, NAdam",
        table(datasets.load_wine, 0.4, regression=False),
        lambda: layers(13, 32, 32, 3, norm=True),
        made_by(optim.NAdam),
        0.005,
        CROSS,
        25,
        10,
        16,
    ),
)
