"""Tasks of 2,000 to 10,000 steps on data that is not soon known by heart.

`KEPT` names those that no rule was chosen on. They were named before any of their results was seen.
"""

from functools import partial

from benchmarks.finders.models import CharacterTransformer, Factorization, mlp
from benchmarks.finders.task import Task, characters, optimizer, seeded
from benchmarks.long import data
from benchmarks.long.lion import Lion
from torch import Tensor, nn, optim
from torch.nn import functional

__all__ = ["KEPT", "LONG", "TUNING"]


class NextCharacter(nn.Module):
    """The embeddings of the last characters through an MLP."""

    def __init__(self, length: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(60, 12)
        self.layers = mlp(12 * length, width, width, 60, activation=nn.GELU)

    def forward(self, codes: Tensor) -> Tensor:
        return self.layers(self.embedding(codes).flatten(1))


class Residual(nn.Module):
    """Linear layers with LayerNorm around which a sum goes."""

    def __init__(self, inputs: int, width: int, outputs: int, depth: int) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(inputs, width), nn.Linear(width, outputs)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU()) for _ in range(depth)
        )

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.stem(inputs)
        for block in self.blocks:
            hidden = hidden + block(hidden)
        return self.head(hidden)


def batchnorm_cnn() -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        nn.Conv2d(1, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(256, 10),
    )


def batchnorm_denoiser() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 1, 3, padding=1),
    )


LONG = (
    Task(
        "digits, BatchNorm MLP, momentum, weight decay",
        seeded(partial(mlp, 64, 64, 64, 10, norm=nn.BatchNorm1d)),
        optimizer(optim.SGD, momentum=0.9, weight_decay=1e-3),
        data.digits,
        functional.cross_entropy,
        total_steps=4000,
    ),
    Task(
        "digits, BatchNorm CNN, momentum, weight decay",
        seeded(batchnorm_cnn),
        optimizer(optim.SGD, momentum=0.9, nesterov=True, weight_decay=5e-4),
        data.digits,
        functional.cross_entropy,
        total_steps=2000,
    ),
    Task(
        "digits, MLP, Lion",
        seeded(partial(mlp, 64, 96, 96, 10)),
        optimizer(Lion, weight_decay=0.1),
        data.digits,
        functional.cross_entropy,
        total_steps=3000,
    ),
    Task(
        "teacher, deep MLP, SGD",
        seeded(partial(mlp, 20, 64, 64, 64, 3)),
        optimizer(optim.SGD),
        data.teacher,
        functional.mse_loss,
        total_steps=4000,
    ),
    Task(
        "teacher, MLP, Adagrad",
        seeded(partial(mlp, 20, 128, 3, activation=nn.Tanh)),
        optimizer(optim.Adagrad),
        data.teacher,
        functional.mse_loss,
        total_steps=4000,
    ),
    Task(
        "classes, residual LayerNorm MLP, Adam",
        seeded(partial(Residual, 16, 48, 8, 2)),
        optimizer(optim.Adam),
        data.classes,
        functional.cross_entropy,
        total_steps=3000,
    ),
    Task(
        "classes, GELU MLP, momentum",
        seeded(partial(mlp, 16, 96, 96, 8, activation=nn.GELU)),
        optimizer(optim.SGD, momentum=0.9),
        data.classes,
        functional.cross_entropy,
        total_steps=4000,
    ),
    Task(
        "jumps, tanh MLP, RMSprop",
        seeded(partial(mlp, 10, 64, 64, 1, activation=nn.Tanh)),
        optimizer(optim.RMSprop),
        data.jumps,
        functional.mse_loss,
        total_steps=3000,
    ),
    Task(
        "ratings, factorization, AdamW",
        seeded(partial(Factorization, 1000, 600, 8)),
        optimizer(optim.AdamW, weight_decay=0.05),
        data.ratings,
        functional.mse_loss,
        batch_size=128,
        total_steps=4000,
    ),
    Task(
        "patches, BatchNorm CNN, AdamW",
        seeded(batchnorm_denoiser),
        optimizer(optim.AdamW, weight_decay=0.05),
        data.patches,
        functional.mse_loss,
        batch_size=16,
        total_steps=2000,
    ),
    Task(
        "pixels, MLP, Adam",
        seeded(partial(mlp, 24, 64, 64, 1)),
        optimizer(optim.Adam, betas=(0.9, 0.99)),
        data.pixels,
        functional.mse_loss,
        batch_size=64,
        total_steps=6000,
    ),
    Task(
        "code, transformer, AdamW",
        seeded(partial(CharacterTransformer, 60, 32, 16, 1)),
        optimizer(optim.AdamW, weight_decay=0.1, betas=(0.9, 0.95)),
        partial(data.code, 16, 40_000),
        characters,
        batch_size=8,
        total_steps=2000,
    ),
    Task(
        "code, MLP, Adagrad",
        seeded(partial(NextCharacter, 8, 64)),
        optimizer(optim.Adagrad),
        partial(data.code, 8, 130_000, last_only=True),
        functional.cross_entropy,
        total_steps=2500,
    ),
)

KEPT = (
    "digits, BatchNorm CNN, momentum, weight decay",
    "pixels, MLP, Adam",
    "code, MLP, Adagrad",
)
TUNING = tuple(task for task in LONG if task.name not in KEPT)
