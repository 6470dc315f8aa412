"""The tasks on which LR suggestions are compared: different data, models, losses and optimizers, plain torch.

They are small (under a second per training on one core) because the truth needs thousands of trainings.
"""

from functools import partial

import torch
from benchmarks import data
from benchmarks.models import (
    Autoencoder,
    CharacterTransformer,
    Factorization,
    LastOutput,
    RecurrentLanguageModel,
    denoiser,
    digit_cnn,
    mlp,
)
from benchmarks.task import Task, characters, cosine, gaussian, logits, optimizer, reconstruction, seeded
from torch import nn, optim
from torch.nn import functional

__all__ = ["HELD_OUT", "TASKS", "TUNING"]

# Each negative loss is scored by what it is the logarithm or the complement of.
# The default rule was chosen on these.
TUNING = (
    Task(
        "digits, CNN, momentum",
        seeded(digit_cnn),
        optimizer(optim.SGD, momentum=0.9),
        data.digits,
        functional.cross_entropy,
    ),
    Task(
        "digits, MLP, Adam",
        seeded(partial(mlp, 64, 64, 64, 10)),
        optimizer(optim.Adam),
        data.digits,
        functional.cross_entropy,
    ),
    Task(
        "digits, BatchNorm MLP, SGD",
        seeded(partial(mlp, 64, 64, 64, 10, norm=nn.BatchNorm1d)),
        optimizer(optim.SGD),
        data.digits,
        functional.cross_entropy,
    ),
    Task(
        "digits, autoencoder, RMSprop",
        seeded(Autoencoder),
        optimizer(optim.RMSprop),
        data.digits,
        reconstruction,
    ),
    Task(
        "digits, negative cosine, AdamW",
        seeded(partial(mlp, 64, 48, 16, activation=nn.GELU)),
        optimizer(optim.AdamW, weight_decay=0.05),
        data.digits,
        cosine,
        score=lambda loss: 1 + loss,
    ),
    Task(
        "tumors, logistic, Nesterov",
        seeded(partial(nn.Linear, 30, 1)),
        optimizer(optim.SGD, momentum=0.9, nesterov=True, weight_decay=1e-3),
        data.tumors,
        logits,
        batch_size=16,
        total_steps=250,
    ),
    Task(
        "tumors, deep tanh MLP, Adagrad",
        seeded(partial(mlp, 30, 24, 24, 24, 1, activation=nn.Tanh)),
        optimizer(optim.Adagrad),
        data.tumors,
        logits,
        total_steps=200,
    ),
    Task(
        "wines, LayerNorm MLP, NAdam",
        seeded(partial(mlp, 13, 32, 3, norm=nn.LayerNorm)),
        optimizer(optim.NAdam),
        data.wines,
        functional.cross_entropy,
        batch_size=16,
        total_steps=250,
    ),
    Task(
        "diabetes, dropout MLP, AdamW",
        seeded(lambda: nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 1))),
        optimizer(optim.AdamW),
        data.diabetes,
        functional.mse_loss,
        total_steps=300,
    ),
    Task(
        "diabetes, linear Huber, SGD",
        seeded(partial(nn.Linear, 10, 1)),
        optimizer(optim.SGD),
        data.diabetes,
        partial(functional.huber_loss, delta=30.0),
        batch_size=16,
        total_steps=250,
    ),
    Task(
        "moons, tanh MLP, SGD",
        seeded(partial(mlp, 2, 32, 32, 1, activation=nn.Tanh)),
        optimizer(optim.SGD),
        data.moons,
        logits,
        total_steps=400,
    ),
    Task(
        "friedman, LayerNorm MLP, Adam",
        seeded(partial(mlp, 10, 48, 48, 1, norm=nn.LayerNorm)),
        optimizer(optim.Adam),
        data.friedman,
        functional.mse_loss,
    ),
    Task(
        "teacher, MLP, Nesterov",
        seeded(partial(mlp, 20, 64, 3)),
        optimizer(optim.SGD, momentum=0.9, nesterov=True),
        data.teacher,
        functional.mse_loss,
        batch_size=64,
    ),
    Task(
        "density, MLP, Adam",
        seeded(partial(mlp, 1, 48, 48, 2, activation=nn.SiLU)),
        optimizer(optim.Adam),
        data.density,
        gaussian,
        batch_size=64,
        score=lambda loss: float(torch.tensor(loss).exp()),
    ),
    Task(
        "ratings, factorization, Adam",
        seeded(partial(Factorization, 300, 200, 5)),
        optimizer(optim.Adam, weight_decay=1e-4),
        data.ratings,
        functional.mse_loss,
        batch_size=256,
        total_steps=400,
    ),
    Task(
        "sines, RNN, RMSprop",
        seeded(lambda: LastOutput(nn.RNN(1, 24, batch_first=True), 1)),
        optimizer(optim.RMSprop),
        data.sines,
        functional.mse_loss,
    ),
    Task(
        "photographs, BatchNorm CNN, Adam",
        seeded(denoiser),
        optimizer(optim.Adam),
        data.images,
        functional.mse_loss,
        total_steps=200,
    ),
    Task(
        "text, GRU, Adam",
        seeded(partial(RecurrentLanguageModel, nn.GRU, 60, 40)),
        optimizer(optim.Adam),
        partial(data.character_windows, 20),
        characters,
        total_steps=250,
    ),
    Task(
        "text, LSTM, momentum",
        seeded(partial(RecurrentLanguageModel, nn.LSTM, 60, 32)),
        optimizer(optim.SGD, momentum=0.9),
        partial(data.character_windows, 16),
        characters,
        total_steps=250,
    ),
    Task(
        "text, transformer, AdamW",
        seeded(partial(CharacterTransformer, 60, 32, 24, 2)),
        optimizer(optim.AdamW, weight_decay=0.1),
        partial(data.character_windows, 24),
        characters,
        batch_size=24,
        total_steps=200,
    ),
)

# These were added when the rule stood.
HELD_OUT = (
    Task(
        "digits, deep sigmoid MLP, momentum",
        seeded(partial(mlp, 64, 48, 48, 10, activation=nn.Sigmoid)),
        optimizer(optim.SGD, momentum=0.9),
        data.digits,
        functional.cross_entropy,
        total_steps=400,
    ),
    Task(
        "digits, CNN, Adamax",
        seeded(digit_cnn),
        optimizer(optim.Adamax),
        data.digits,
        partial(functional.cross_entropy, label_smoothing=0.1),
        total_steps=200,
    ),
    Task(
        "digits, wide MLP, large batches, Nesterov",
        seeded(partial(mlp, 64, 256, 10, activation=nn.GELU)),
        optimizer(optim.SGD, momentum=0.95, nesterov=True),
        data.digits,
        functional.cross_entropy,
        batch_size=256,
        total_steps=200,
    ),
    Task(
        "tumors, BatchNorm MLP, Adam",
        seeded(partial(mlp, 30, 32, 1, norm=nn.BatchNorm1d)),
        optimizer(optim.Adam, betas=(0.9, 0.99)),
        data.tumors,
        logits,
        total_steps=200,
    ),
    Task(
        "sines, GRU, Adam",
        seeded(lambda: LastOutput(nn.GRU(1, 16, batch_first=True), 1)),
        optimizer(optim.Adam),
        data.sines,
        functional.l1_loss,
        total_steps=250,
    ),
    Task(
        "teacher, deep MLP, SGD",
        seeded(partial(mlp, 20, 48, 48, 48, 3)),
        optimizer(optim.SGD),
        data.teacher,
        functional.mse_loss,
    ),
    Task(
        "friedman, tanh MLP, RMSprop",
        seeded(partial(mlp, 10, 40, 1, activation=nn.Tanh)),
        optimizer(optim.RMSprop, momentum=0.9),
        data.friedman,
        functional.smooth_l1_loss,
    ),
    Task(
        "ratings, factorization, momentum",
        seeded(partial(Factorization, 300, 200, 3)),
        optimizer(optim.SGD, momentum=0.9),
        data.ratings,
        functional.mse_loss,
        batch_size=128,
        total_steps=400,
    ),
    Task(
        "density, tanh MLP, RAdam",
        seeded(partial(mlp, 1, 32, 32, 2, activation=nn.Tanh)),
        optimizer(optim.RAdam),
        data.density,
        gaussian,
        score=lambda loss: float(torch.tensor(loss).exp()),
    ),
    Task(
        "text, GRU, Adagrad",
        seeded(partial(RecurrentLanguageModel, nn.GRU, 60, 32)),
        optimizer(optim.Adagrad),
        partial(data.character_windows, 12),
        characters,
        total_steps=300,
    ),
)

TASKS = TUNING + HELD_OUT
