"""Data sets of the suggestion benchmark: bundled with scikit-learn or Python, or generated."""

import functools
from dataclasses import dataclass
from pydoc_data.topics import topics

import numpy as np
import torch
from sklearn.datasets import (
    load_breast_cancer,
    load_diabetes,
    load_digits,
    load_sample_images,
    load_wine,
    make_friedman1,
    make_moons,
)
from torch import Tensor

__all__ = [
    "Split",
    "character_windows",
    "density",
    "diabetes",
    "digits",
    "friedman",
    "images",
    "moons",
    "ratings",
    "sines",
    "teacher",
    "tumors",
    "wines",
]


@dataclass(frozen=True)
class Split:
    """Inputs and targets, those to train on and those to validate on."""

    inputs: Tensor
    targets: Tensor
    validation_inputs: Tensor
    validation_targets: Tensor


def _split(inputs: object, targets: object, *, validation: float = 0.3) -> Split:
    inputs, targets = torch.as_tensor(np.asarray(inputs)), torch.as_tensor(np.asarray(targets))
    if inputs.dtype == torch.float64:
        inputs = inputs.float()
    if targets.dtype == torch.float64:
        targets = targets.float()
    order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(0))
    count = int(len(inputs) * (1 - validation))
    train, held_out = order[:count], order[count:]
    return Split(inputs[train], targets[train], inputs[held_out], targets[held_out])


def _standardized(values: np.ndarray) -> np.ndarray:
    return (values - values.mean(axis=0)) / (values.std(axis=0) + 1e-8)


@functools.cache
def digits() -> Split:
    """1797 images of 8 x 8 pixels in [0, 1], ten classes."""
    data = load_digits()
    return _split(data.data / 16, data.target)


@functools.cache
def tumors() -> Split:
    """Breast cancer: 569 rows of 30 standardized features, two classes as 0.0 and 1.0."""
    data = load_breast_cancer()
    return _split(_standardized(data.data), data.target.astype(float))


@functools.cache
def wines() -> Split:
    """178 wines of 13 raw features, whose scales differ by four orders of magnitude, divided by 100."""
    data = load_wine()
    return _split(data.data / 100, data.target)


@functools.cache
def diabetes() -> Split:
    """442 rows of 10 standardized features; the target as it is, from 25 to 346."""
    data = load_diabetes()
    return _split(_standardized(data.data), data.target[:, None])


@functools.cache
def moons() -> Split:
    """Two interleaved half circles with noise, classes as 0.0 and 1.0."""
    points, classes = make_moons(1500, noise=0.25, random_state=0)
    return _split(points, classes.astype(float))


@functools.cache
def friedman() -> Split:
    """Friedman's first regression problem: 10 features in [0, 1], 5 of them used, noise of sd 1."""
    features, targets = make_friedman1(1500, noise=1.0, random_state=0)
    return _split(features, targets[:, None])


@functools.cache
def teacher() -> Split:
    """The outputs of a random network of 20 inputs and 3 outputs, with noise."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(3000, 20, generator=generator)
    first, second = torch.randn(20, 30, generator=generator), torch.randn(30, 3, generator=generator)
    targets = torch.relu(inputs @ first / 20**0.5) @ second
    return _split(inputs, targets + 0.5 * torch.randn(targets.shape, generator=generator))


@functools.cache
def density() -> Split:
    """A curve whose noise changes along it, small enough that a good fit has a negative log-likelihood."""
    generator = np.random.default_rng(0)
    inputs = generator.uniform(-2, 2, (2000, 1))
    sd = 0.02 + 0.08 * np.abs(np.sin(2 * inputs))
    return _split(inputs, 0.5 * np.sin(3 * inputs) + sd * generator.standard_normal(inputs.shape))


@functools.cache
def ratings() -> Split:
    """Ratings of 200 items by 300 users, a noisy matrix of rank 5 with a third of its entries seen."""
    generator = np.random.default_rng(0)
    users, items = generator.standard_normal((300, 5)), generator.standard_normal((200, 5))
    matrix = users @ items.T / 5**0.5 + 0.4 * generator.standard_normal((300, 200))
    seen = np.stack(np.nonzero(generator.random((300, 200)) < 0.35), axis=1)
    return _split(seen, 3.0 + matrix[seen[:, 0], seen[:, 1]])


@functools.cache
def sines() -> Split:
    """Windows of 24 points of two superposed sines with noise; the target is the point after."""
    generator = np.random.default_rng(0)
    start, period = generator.uniform(0, 50, (2500, 1)), generator.uniform(5, 15, (2500, 1))
    time = start + np.arange(25)
    wave = np.sin(2 * np.pi * time / period) + 0.5 * np.sin(2 * np.pi * time / 7)
    wave = wave + 0.1 * generator.standard_normal(wave.shape)
    return _split(wave[:, :24, None], wave[:, 24:])


@functools.cache
def images() -> Split:
    """Gray 12 x 12 patches of two photographs: noisy as inputs, clean as targets."""
    generator = np.random.default_rng(0)
    photographs = [image.mean(axis=2) / 255 for image in load_sample_images().images]
    rows, columns = generator.integers(0, 415, 2400), generator.integers(0, 628, 2400)
    patches = np.stack(
        [
            photographs[index % 2][row : row + 12, column : column + 12]
            for index, (row, column) in enumerate(zip(rows, columns, strict=True))
        ]
    )[:, None]
    return _split(patches + 0.15 * generator.standard_normal(patches.shape), patches)


@functools.cache
def character_windows(length: int) -> Split:
    """Windows of the help texts of Python, as indices of the 60 commonest characters; targets one ahead."""
    text = "".join(topics[name] for name in sorted(topics))[:120_000]
    common = sorted(set(text), key=text.count, reverse=True)[:59]
    index = {character: number for number, character in enumerate(common)}
    codes = np.array([index.get(character, 59) for character in text])
    windows = np.lib.stride_tricks.sliding_window_view(codes, length + 1)[::length]
    return _split(windows[:, :-1].copy(), windows[:, 1:].copy(), validation=0.1)
