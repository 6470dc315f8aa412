"""Tasks on which no rule was chosen, only judged: none was looked at before the default rule stood."""

from functools import partial

from benchmarks.finders import data
from benchmarks.finders.models import CharacterTransformer, LastOutput, digit_cnn, mlp
from benchmarks.finders.task import Task, characters, logits, optimizer, seeded
from benchmarks.finders.tasks import TUNING
from torch import nn, optim
from torch.nn import functional

__all__ = ["HELD_OUT", "TASKS"]

HELD_OUT = (
    Task(
        "digits, linear, SGD",
        seeded(partial(nn.Linear, 64, 10)),
        optimizer(optim.SGD),
        data.digits,
        functional.cross_entropy,
        batch_size=64,
    ),
    Task(
        "digits, CNN, AdamW",
        seeded(digit_cnn),
        optimizer(optim.AdamW, weight_decay=0.01),
        data.digits,
        functional.cross_entropy,
        batch_size=64,
        total_steps=250,
    ),
    Task(
        "friedman, ELU MLP, NAdam",
        seeded(partial(mlp, 10, 32, 32, 32, 1, activation=nn.ELU)),
        optimizer(optim.NAdam),
        data.friedman,
        functional.mse_loss,
        batch_size=64,
        total_steps=400,
    ),
    Task(
        "sines, LSTM, AdamW",
        seeded(lambda: LastOutput(nn.LSTM(1, 20, batch_first=True), 1)),
        optimizer(optim.AdamW),
        data.sines,
        functional.mse_loss,
        total_steps=250,
    ),
    Task(
        "tumors, MLP, RMSprop",
        seeded(partial(mlp, 30, 32, 1)),
        optimizer(optim.RMSprop),
        data.tumors,
        logits,
        total_steps=200,
    ),
    Task(
        "diabetes, MLP, momentum",
        seeded(partial(mlp, 10, 24, 1)),
        optimizer(optim.SGD, momentum=0.9),
        data.diabetes,
        lambda outputs, targets: functional.mse_loss(outputs, targets / 100),
    ),
    Task(
        "moons, ReLU MLP, Adam",
        seeded(partial(mlp, 2, 32, 32, 1)),
        optimizer(optim.Adam),
        data.moons,
        logits,
    ),
    Task(
        "teacher, LayerNorm MLP, Adagrad",
        seeded(partial(mlp, 20, 64, 3, norm=nn.LayerNorm)),
        optimizer(optim.Adagrad),
        data.teacher,
        functional.mse_loss,
    ),
    Task(
        "photographs, CNN, Nesterov",
        seeded(
            lambda: nn.Sequential(nn.Conv2d(1, 12, 5, padding=2), nn.ReLU(), nn.Conv2d(12, 1, 5, padding=2))
        ),
        optimizer(optim.SGD, momentum=0.9, nesterov=True),
        data.images,
        functional.mse_loss,
        total_steps=250,
    ),
    Task(
        "text, transformer, momentum",
        seeded(partial(CharacterTransformer, 60, 24, 16, 1)),
        optimizer(optim.SGD, momentum=0.9),
        partial(data.character_windows, 16),
        characters,
        total_steps=250,
    ),
)

TASKS = TUNING + HELD_OUT
