"""The small networks of the suggestion benchmark."""

import itertools
from collections.abc import Callable

import torch
from torch import Tensor, nn

__all__ = [
    "Autoencoder",
    "CharacterTransformer",
    "Factorization",
    "LastOutput",
    "RecurrentLanguageModel",
    "denoiser",
    "digit_cnn",
    "mlp",
]


class Factorization(nn.Module):
    """Rating = mean + user bias + item bias + <user, item>."""

    def __init__(self, users: int, items: int, rank: int) -> None:
        super().__init__()
        self.users, self.items = nn.Embedding(users, rank + 1), nn.Embedding(items, rank + 1)
        self.mean = nn.Parameter(torch.zeros(()))
        for embedding in (self.users, self.items):
            nn.init.normal_(embedding.weight, std=0.3)

    def forward(self, pairs: Tensor) -> Tensor:
        users, items = self.users(pairs[:, 0]), self.items(pairs[:, 1])
        products = (users[:, 1:] * items[:, 1:]).sum(dim=1)
        return self.mean + users[:, 0] + items[:, 0] + products


class LastOutput(nn.Module):
    """A recurrent network whose last output is read by a linear layer."""

    def __init__(self, recurrent: nn.RNNBase, outputs: int) -> None:
        super().__init__()
        self.recurrent, self.head = recurrent, nn.Linear(recurrent.hidden_size, outputs)

    def forward(self, sequences: Tensor) -> Tensor:
        return self.head(self.recurrent(sequences)[0][:, -1])


class RecurrentLanguageModel(nn.Module):
    """Embedding, recurrent network, linear layer."""

    def __init__(self, kind: type[nn.RNNBase], characters: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(characters, width)
        self.recurrent, self.head = kind(width, width, batch_first=True), nn.Linear(width, characters)

    def forward(self, codes: Tensor) -> Tensor:
        return self.head(self.recurrent(self.embedding(codes))[0])


class CharacterTransformer(nn.Module):
    """A causal transformer with pre-normalization."""

    def __init__(self, characters: int, width: int, length: int, layers: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(characters, width)
        self.positions = nn.Parameter(0.02 * torch.randn(length, width))
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0.0, batch_first=True, norm_first=True)
            for _ in range(layers)
        )
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, characters))
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(length))

    def forward(self, codes: Tensor) -> Tensor:
        hidden = self.embedding(codes) + self.positions
        for block in self.blocks:
            hidden = block(hidden, src_mask=self.mask)
        return self.head(hidden)


class Autoencoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(mlp(64, 48, 8, activation=nn.Tanh), nn.Tanh(), mlp(8, 48, 64))

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        return self.layers(inputs), inputs


def mlp(
    *widths: int,
    activation: Callable[[], nn.Module] = nn.ReLU,
    norm: Callable[[int], nn.Module] | None = None,
) -> nn.Sequential:
    layers: list[nn.Module] = []
    for wide_in, wide_out in itertools.pairwise(widths[:-1]):
        layers += [nn.Linear(wide_in, wide_out), *([norm(wide_out)] if norm else []), activation()]
    return nn.Sequential(*layers, nn.Linear(widths[-2], widths[-1]))


def digit_cnn() -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        nn.Conv2d(1, 12, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(12, 24, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(24 * 16, 10),
    )


def denoiser() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1),
        nn.BatchNorm2d(12),
        nn.GELU(),
        nn.Conv2d(12, 12, 3, padding=1),
        nn.BatchNorm2d(12),
        nn.GELU(),
        nn.Conv2d(12, 1, 3, padding=1),
    )
