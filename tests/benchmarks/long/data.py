"""Data of the long tasks: so many generated, augmented or read rows that a training hardly sees one twice."""

import functools
import sysconfig
from pathlib import Path

import numpy as np
import torch
from benchmarks.finders.data import Split
from sklearn.datasets import load_digits, load_sample_images
from torch import Tensor
from torch.nn import functional

__all__ = ["classes", "code", "digits", "jumps", "patches", "pixels", "ratings", "teacher"]

_VALIDATION = 4096


def _rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _last_validate(inputs: Tensor, targets: Tensor) -> Split:
    count = len(inputs) - _VALIDATION
    return Split(inputs[:count], targets[:count], inputs[count:], targets[count:])


@functools.cache
def digits() -> Split:
    """80,000 digits of 8 x 8 pixels, turned, moved, scaled and noisy; validation from other handwriting."""
    data = load_digits()
    images, labels = torch.tensor(data.images / 16).float(), torch.tensor(data.target)
    order = torch.randperm(len(images), generator=_rng(0))
    train, held_out = order[:1300], order[1300:]
    rows = torch.cat(
        [
            train[torch.randint(len(train), (80_000,), generator=_rng(1))],
            held_out[torch.randint(len(held_out), (_VALIDATION,), generator=_rng(2))],
        ]
    )
    generator = _rng(3)
    angle = 0.25 * torch.randn(len(rows), generator=generator)
    scale = 1 + 0.15 * torch.randn(len(rows), generator=generator)
    shift = 0.15 * torch.randn(len(rows), 2, generator=generator)
    cos, sin = scale * angle.cos(), scale * angle.sin()
    theta = torch.stack(
        [torch.stack([cos, -sin, shift[:, 0]], 1), torch.stack([sin, cos, shift[:, 1]], 1)], dim=1
    )
    grid = functional.affine_grid(theta, [len(rows), 1, 8, 8], align_corners=False)
    drawn = functional.grid_sample(images[rows, None], grid, align_corners=False).flatten(1)
    return _last_validate(drawn + 0.2 * torch.randn(drawn.shape, generator=generator), labels[rows])


@functools.cache
def teacher() -> Split:
    """The noisy outputs of a random network with one hidden layer."""
    generator = _rng(0)
    inputs = torch.randn(120_000, 20, generator=generator)
    first, second = torch.randn(20, 12, generator=generator), torch.randn(12, 3, generator=generator)
    targets = torch.tanh(inputs @ first / 3) @ second
    return _last_validate(inputs, targets + 0.3 * torch.randn(targets.shape, generator=generator))


@functools.cache
def classes() -> Split:
    """Eight classes, each of five clouds of points that overlap with those of others."""
    generator = _rng(0)
    centers = 1.4 * torch.randn(40, 16, generator=generator)
    clouds = torch.randint(40, (130_000,), generator=generator)
    spread = torch.randn(len(clouds), 16, generator=generator)
    return _last_validate(centers[clouds] + spread, clouds % 8)


@functools.cache
def jumps() -> Split:
    """A function of ten inputs with waves, jumps and heavy-tailed noise."""
    generator = _rng(0)
    inputs = torch.rand(110_000, 10, generator=generator)
    waves = torch.sin(9 * inputs[:, 0] * inputs[:, 1]) + 2 * (inputs[:, 2] - 0.5).square()
    steps = (inputs[:, 3] + inputs[:, 4] > 1).float() - inputs[:, 5] * (inputs[:, 6] > 0.4).float()
    noise = 0.1 * torch.randn(len(inputs), generator=generator) / (0.2 + inputs[:, 9])
    return _last_validate(2 * inputs - 1, (waves + steps + noise)[:, None])


@functools.cache
def ratings() -> Split:
    """A quarter of the ratings of 600 items by 1,000 users, of rank 6, with noise."""
    generator = _rng(0)
    users, items = torch.randn(1000, 6, generator=generator), torch.randn(600, 6, generator=generator)
    matrix = users @ items.T / 6**0.5 + 0.5 * torch.randn(1000, 600, generator=generator)
    chosen = torch.randperm(matrix.numel(), generator=generator)[:150_000]
    pairs = torch.stack([chosen // 600, chosen % 600], dim=1)
    return _last_validate(pairs, 3.0 + matrix[pairs[:, 0], pairs[:, 1]])


def _photographs() -> list[np.ndarray]:
    return [image.mean(axis=2).astype(np.float32) / 255 for image in load_sample_images().images]


@functools.cache
def patches() -> Split:
    """Gray 10 x 10 patches of two photographs: noisy as inputs, clean as targets."""
    generator = np.random.default_rng(0)
    photographs = _photographs()
    count = 64_000
    rows, columns = generator.integers(0, 417, count), generator.integers(0, 630, count)
    clean = np.stack(
        [
            photographs[index % 2][row : row + 10, column : column + 10]
            for index, (row, column) in enumerate(zip(rows, columns, strict=True))
        ]
    )[:, None]
    noise = generator.standard_normal(clean.shape).astype(np.float32)
    return _last_validate(torch.from_numpy(clean + 0.2 * noise), torch.from_numpy(clean))


@functools.cache
def pixels() -> Split:
    """Places in a photograph as waves of six frequencies, and the gray value there."""
    photograph = torch.from_numpy(_photographs()[0])
    generator = _rng(0)
    rows = torch.randint(photograph.shape[0], (200_000,), generator=generator)
    columns = torch.randint(photograph.shape[1], (200_000,), generator=generator)
    places = torch.stack([rows / photograph.shape[0], columns / photograph.shape[1]], dim=1)
    waves = torch.cat([places * 2**power * torch.pi for power in range(6)], dim=1)
    return _last_validate(torch.cat([waves.sin(), waves.cos()], dim=1), photograph[rows, columns, None])


@functools.cache
def code(length: int, count: int, *, last_only: bool = False) -> Split:
    """Windows of the standard library's source, as indices of its 60 commonest characters.

    Args:
        length: Characters of a window.
        count: Windows to train on.
        last_only: Whether the target is the character after the window, not that after each.
    """
    folder = Path(sysconfig.get_path("stdlib"))
    text = "".join(path.read_text(encoding="utf-8", errors="ignore") for path in sorted(folder.glob("*.py")))
    common = sorted(set(text[:1_000_000]), key=text[:1_000_000].count, reverse=True)[:59]
    index = {character: number for number, character in enumerate(common)}
    codes = torch.tensor([index.get(character, 59) for character in text[:4_000_000]])
    starts = torch.randint(len(codes) - length - 1, (count + _VALIDATION,), generator=_rng(0))
    # The last tenth of the text validates.
    border = int(0.9 * len(codes))
    starts[:count] = (0.9 * starts[:count]).long() - length
    starts[count:] = border + starts[count:] % (len(codes) - border - length - 1)
    windows = codes[starts.clamp(min=0)[:, None] + torch.arange(length + 1)]
    return _last_validate(windows[:, :-1], windows[:, -1] if last_only else windows[:, 1:])
