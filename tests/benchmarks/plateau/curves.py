"""Simulated validation curves of which the truth is known: what plateau detectors are judged on.

A curve is a true course in log loss plus noise. `sd` is the standard deviation of one validation in log loss,
`rate` the improvement in log loss per validation. The detector's constants were chosen on the families
before `held out`; those were looked at while it was built, so they tell of robustness and are no blind test.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["FAMILIES", "PATIENCE", "WORTH", "Curve", "Setting", "draw"]

# The default question: does the loss still improve by 2 % in 10 validations?
PATIENCE = 10
WORTH = 0.02
LENGTH = 120

Series: TypeAlias = NDArray[np.float64]
Generator: TypeAlias = np.random.Generator
Noise: TypeAlias = Callable[[Generator, int], Series]
Course: TypeAlias = Callable[[Generator], tuple[Series, int]]


@dataclass(frozen=True)
class Curve:
    """One simulated run.

    Args:
        values: Validation losses.
        training_losses: As many, falling.
        improving: Where the true course improved by at least `WORTH` over the last `PATIENCE` validations, or
            has not had that many yet: a plateau there is a false alarm.
        begin: The validation at which the true plateau or rise begins; the length of the run where none does.
    """

    values: list[float]
    training_losses: list[float]
    improving: NDArray[np.bool_]
    begin: int


@dataclass(frozen=True)
class Setting:
    """A kind of curve: its true course, drawn anew for each run, and the law of its noise."""

    name: str
    course: Course
    noise: Noise


def draw(setting: Setting, seed: int) -> Curve:
    """Draw one run, at a random scale of the loss."""
    generator = np.random.default_rng([seed, *setting.name.encode()])
    course, begin = setting.course(generator)
    before = np.concatenate([np.full(PATIENCE, np.inf), course])[: len(course)]
    scale = np.exp(generator.uniform(-5, 5))
    training = -0.005 * np.arange(len(course)) + 0.003 * generator.standard_normal(len(course))
    return Curve(
        values=(scale * np.exp(course + setting.noise(generator, len(course)))).tolist(),
        training_losses=(scale * np.exp(training)).tolist(),
        improving=before - course >= 0.999 * WORTH,
        begin=begin,
    )


# Laws of noise


def white(sd: float) -> Noise:
    return lambda generator, length: sd * generator.standard_normal(length)


def autocorrelated(sd: float, rho: float) -> Noise:
    def noise(generator: Generator, length: int) -> Series:
        drawn = sd * generator.standard_normal(length)
        for step in range(1, length):
            drawn[step] = rho * drawn[step - 1] + np.sqrt(1 - rho**2) * drawn[step]
        return drawn

    return noise


def heavy_tailed(sd: float) -> Noise:
    """Student's t with three degrees of freedom."""
    return lambda generator, length: sd / np.sqrt(3) * generator.standard_t(3, length)


def drifting(first: float, last: float) -> Noise:
    """White noise whose standard deviation goes from `first` to `last`."""
    return lambda generator, length: np.geomspace(first, last, length) * generator.standard_normal(length)


# Courses


def slow(rate: float, length: int = LENGTH) -> Course:
    return lambda generator: (-rate * np.arange(length), length)


def elbow(rate: float) -> Course:
    def course(generator: Generator) -> tuple[Series, int]:
        begin = int(generator.integers(30, 80))
        return -rate * np.minimum(np.arange(begin + 80), begin), begin

    return course


def exponential(tau: float) -> Course:
    """A loss that falls exponentially from 2 to 1."""

    def course(generator: Generator) -> tuple[Series, int]:
        times = np.arange(LENGTH) / (tau * generator.uniform(0.8, 1.25))
        course = np.log1p(np.exp(-times))
        return course, int(np.argmax(course[:-PATIENCE] - course[PATIENCE:] < WORTH))

    return course


def early_drop(rate: float) -> Course:
    """Ten-fold within the first few validations, then an elbow."""

    def course(generator: Generator) -> tuple[Series, int]:
        begin = int(generator.integers(15, 40))
        times = np.arange(begin + 80)
        start = 2.3 * np.exp(-times / generator.uniform(1, 4))
        return start - rate * np.minimum(times, begin), begin

    return course


def spikes(rate: float, *, single: bool = False) -> Course:
    """A decline with one to three sudden spikes, which fall again within 3 to 12 validations, or at once."""

    def course(generator: Generator) -> tuple[Series, int]:
        times = np.arange(LENGTH)
        course = -rate * times
        for begin in generator.choice(np.arange(20, LENGTH - 20), generator.integers(1, 4), replace=False):
            tau = 0.01 if single else generator.uniform(3, 12)
            spike = generator.uniform(0.1, 1.5) * np.exp(-np.maximum(times - begin, 0) / tau)
            course = course + np.where(times >= begin, spike, 0)
        return course, LENGTH

    return course


def u_shape(rise: float, *, bottom: int = 0) -> Course:
    """A decline by 1 % per validation, a flat bottom, and a rise."""

    def course(generator: Generator) -> tuple[Series, int]:
        lowest = int(generator.integers(25, 70))
        begin = lowest + bottom
        times = np.arange(begin + 90)
        return rise * np.maximum(times - begin, 0) - 0.01 * np.minimum(times, lowest), begin

    return course


def parabola(curvature: float) -> Course:
    def course(generator: Generator) -> tuple[Series, int]:
        lowest = int(generator.integers(30, 80))
        return curvature * (np.arange(lowest + 90) - lowest) ** 2 / 2, lowest

    return course


def power_law(exponent: float) -> Course:
    """`loss = time^-exponent`, which is worth waiting for up to `time = exponent PATIENCE / WORTH`."""
    begin = round(exponent * PATIENCE / WORTH)
    return lambda generator: (-exponent * np.log(np.arange(1, 2 * begin + 60)), begin)


def stairs(drop: float, period: int, *, regular: bool = True) -> Course:
    """Flat treads and sudden drops; on a tread, the plateau is true once it is as long as the patience."""

    def course(generator: Generator) -> tuple[Series, int]:
        regularly = np.arange(LENGTH) % period == int(generator.integers(period))
        drops = regularly if regular else generator.random(LENGTH) < 1 / period
        return -drop * np.cumsum(drops), LENGTH

    return course


def _main() -> Iterator[Setting]:
    for sd in (0.001, 0.003, 0.01, 0.03):
        for rate in (0.002, 0.005, 0.01, 0.02):
            yield Setting(f"elbow after {rate:.1%}, noise {sd:.1%}", elbow(rate), white(sd))
        for rate in (0.002, 0.005):
            yield Setting(f"slow {rate:.1%}, noise {sd:.1%}", slow(rate), white(sd))
            correlated = autocorrelated(sd, 0.6)
            yield Setting(f"slow {rate:.1%}, noise {sd:.1%}, rho 0.6", slow(rate), correlated)


def _spikes() -> Iterator[Setting]:
    for sd in (0.001, 0.003, 0.01):
        for rate in (0.003, 0.01):
            yield Setting(f"spikes in {rate:.1%}, noise {sd:.1%}", spikes(rate), white(sd))
        yield Setting(f"outliers in 0.3%, noise {sd:.1%}", spikes(0.003, single=True), white(sd))


def _u_shapes() -> Iterator[Setting]:
    for sd in (0.001, 0.003, 0.01):
        for rise in (0.003, 0.01):
            yield Setting(f"rise by {rise:.1%}, noise {sd:.1%}", u_shape(rise), white(sd))
    for sd in (0.003, 0.01):
        yield Setting(f"parabola, noise {sd:.1%}", parabola(0.0002), white(sd))
        yield Setting(f"bottom of 20, rise by 0.5%, noise {sd:.1%}", u_shape(0.005, bottom=20), white(sd))


def _power_laws() -> Iterator[Setting]:
    for sd in (0.001, 0.003, 0.01):
        for exponent in (0.1, 0.2):
            yield Setting(f"time^-{exponent}, noise {sd:.1%}", power_law(exponent), white(sd))


def _stairs() -> Iterator[Setting]:
    for sd in (0.001, 0.01):
        for drop, period in ((0.025, 5), (0.03, 10), (0.3, 10), (0.1, 30)):
            name = f"drops of {drop:.3g} every {period}, noise {sd:.1%}"
            yield Setting(name, stairs(drop, period), white(sd))
        yield Setting(f"drops of 0.1 at random, noise {sd:.1%}", stairs(0.1, 15, regular=False), white(sd))


def _held_out() -> Iterator[Setting]:
    for sd in (0.003, 0.01):
        for rate in (0.002, 0.005):
            yield Setting(f"slow {rate:.1%}, t(3) noise {sd:.1%}", slow(rate), heavy_tailed(sd))
            yield Setting(f"slow {rate:.1%}, noise {sd:.1%} growing", slow(rate), drifting(sd, 6 * sd))
            yield Setting(f"slow {rate:.1%}, noise {sd:.1%} shrinking", slow(rate), drifting(5 * sd, sd))
            yield Setting(f"early drop, {rate:.1%}, noise {sd:.1%}", early_drop(rate), white(sd))
        yield Setting(f"slow 0.2%, noise {sd:.1%}, rho 0.8", slow(0.002), autocorrelated(sd, 0.8))
        yield Setting(f"elbow after 0.5%, t(3) noise {sd:.1%}", elbow(0.005), heavy_tailed(sd))
        yield Setting(f"elbow after 0.5%, noise {sd:.1%}, rho 0.6", elbow(0.005), autocorrelated(sd, 0.6))
        yield Setting(f"exponential, noise {sd:.1%}", exponential(20), white(sd))
        yield Setting(f"short, 0.5%, noise {sd:.1%}", slow(0.005, 30), white(sd))


FAMILIES: dict[str, list[Setting]] = {
    "main": list(_main()),
    "spikes": list(_spikes()),
    "U-shapes": list(_u_shapes()),
    "power laws": list(_power_laws()),
    "stairs": list(_stairs()),
    "held out": list(_held_out()),
}
