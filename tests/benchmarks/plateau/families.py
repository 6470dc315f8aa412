"""Families of simulated curves, with what a false alarm is: an action while waiting would still pay.

That is, while the true course would still improve over the next 10 validations by more than 2 % (of the
value, or, for values that are no positive losses, of the improvement so far) and by more than one standard
deviation of a validation. A delay is counted from the last validation of which that is true.

    cd tests; python -m benchmarks.plateau.families [--runs 200]
"""

import argparse
import math
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from benchmarks.plateau.curves import Generator, Noise, Series, autocorrelated, heavy_tailed, white

from lightning_lr.plateau import Detector, Mode, Observation, Patience, Progress, SlopeTest

__all__ = ["DETECTORS", "FAMILIES", "Family", "first_alarm", "measure"]

HORIZON, WORTH, LENGTH = 10, 0.02, 130
SDS = (0.003, 0.01, 0.03, 0.1)

Course = Callable[[Generator], Series]


@dataclass(frozen=True)
class Family:
    """A kind of curve.

    Args:
        course: The true course, in log loss unless `value` says otherwise.
        noise: Standard deviation -> law of the noise on the course.
        value: Course with noise -> monitored value.
        mode: Whether smaller or larger values are better.
        of_improvement: Whether 2 % are meant of the improvement so far.
        sds: The noise levels that are tried in turn.
    """

    course: Course
    noise: Callable[[float], Noise] = white
    value: Callable[[Series], Series] = np.exp
    mode: Mode = "min"
    of_improvement: bool = False
    sds: tuple[float, ...] = SDS


def elbow(generator: Generator) -> Series:
    rate, begin = (
        float(np.exp(generator.uniform(np.log(0.005), np.log(0.1)))),
        int(generator.integers(15, 60)),
    )
    return -rate * np.minimum(np.arange(LENGTH), begin)


def power_law(generator: Generator) -> Series:
    return -generator.uniform(0.1, 0.6) * np.log(np.arange(1, LENGTH + 1))


def exponential(generator: Generator) -> Series:
    return np.log1p(generator.uniform(0.5, 5) * np.exp(-np.arange(LENGTH) / generator.uniform(4, 15)))


def stairs(generator: Generator) -> Series:
    """Drops of 5 to 30 % every 4 to 8 validations, up to an end."""
    period, last = int(generator.integers(4, 9)), int(generator.integers(25, 70))
    times = np.minimum(np.arange(LENGTH), last)
    return -generator.uniform(0.05, 0.3) * (times // period)


def sawtooth(generator: Generator) -> Series:
    """Five validations in an epoch, the first ones better than the last."""
    times = np.arange(LENGTH)
    return elbow(generator) + generator.uniform(0.01, 0.05) * (times % 5)


def warm_restarts(generator: Generator) -> Series:
    """A fall within each cycle of 8 to 15 validations, and a jump up that is 30 to 90 % of it."""
    period, share, last = (
        int(generator.integers(8, 16)),
        generator.uniform(0.3, 0.9),
        int(generator.integers(30, 80)),
    )
    times = np.minimum(np.arange(LENGTH), last)
    fall = generator.uniform(0.1, 0.4)
    return -fall * ((1 - share) * (times // period) + (times % period) / period)


def slow_start(generator: Generator) -> Series:
    """Eight flat validations, and then a fall by 2 to 10 % each."""
    times = np.arange(LENGTH)
    return -generator.uniform(0.02, 0.1) * np.clip(times - 8, 0, int(generator.integers(20, 60)))


def late_fall(generator: Generator) -> Series:
    """A pause of 4 validations in the middle of a fall."""
    times, begin = np.arange(LENGTH), int(generator.integers(8, 25))
    times = times - np.clip(times - begin, 0, 4)
    return -generator.uniform(0.01, 0.06) * np.minimum(times, 45)


def u_shape(generator: Generator) -> Series:
    lowest = int(generator.integers(12, 45))
    times = np.arange(LENGTH)
    return -0.02 * np.minimum(times, lowest) + generator.uniform(0.005, 0.03) * np.maximum(times - lowest, 0)


def accuracy(generator: Generator) -> Series:
    """From 0.1 up to near 0.95."""
    top, tau = generator.uniform(0.93, 0.97), generator.uniform(4, 12)
    return top - (top - 0.1) * np.exp(-np.arange(LENGTH) / tau)


def small_accuracy(generator: Generator) -> Series:
    return 0.05 * accuracy(generator)


def likelihood(generator: Generator) -> Series:
    """A negative log likelihood that falls from 2 to -1.5."""
    return 3.5 * np.exp(-np.arange(LENGTH) / generator.uniform(5, 15)) - 1.5


def same(values: Series) -> Series:
    return values


FAMILIES = {
    "elbow": Family(elbow),
    "elbow, autocorrelated 0.6": Family(elbow, lambda sd: autocorrelated(sd, 0.6)),
    "elbow, heavy tails": Family(elbow, heavy_tailed),
    "power law": Family(power_law),
    "exponential": Family(exponential),
    "exponential, heavy tails": Family(exponential, heavy_tailed),
    "staircase": Family(stairs),
    "sawtooth": Family(sawtooth),
    "warm restarts": Family(warm_restarts),
    "slow start": Family(slow_start),
    "pause in a fall": Family(late_fall),
    "U shape": Family(u_shape),
    "accuracy to 0.95": Family(
        accuracy, value=same, mode="max", of_improvement=True, sds=(0.001, 0.003, 0.01, 0.02)
    ),
    "accuracy to 0.05": Family(
        small_accuracy, value=same, mode="max", of_improvement=True, sds=(0.0001, 0.0003, 0.001)
    ),
    "log likelihood below 0": Family(likelihood, value=same, of_improvement=True, sds=(0.01, 0.03, 0.1, 0.2)),
}
DETECTORS: dict[str, Detector] = {
    "Progress": Progress(),
    "torch 5": Patience(5),
    "torch 10": Patience(10),
    "SlopeTest": SlopeTest(),
}


def worth_waiting(family: Family, course: Series, sd: float) -> Series:
    """Return at which validations waiting for the next ten would pay, as flags."""
    sign = 1.0 if family.mode == "min" else -1.0
    falling = sign * course
    ahead = np.concatenate([falling[HORIZON:], np.full(HORIZON, np.inf)])
    so_far = falling[0] - np.minimum.accumulate(falling) if family.of_improvement else 1.0
    return np.asarray(falling - ahead > np.maximum(WORTH * so_far, sd))


def first_alarm(detector: Detector, values: list[float], mode: Mode, total: float = math.inf) -> int | None:
    """Return the index of the first validation with anything but improving or undecided."""
    state = detector.begin()
    for step, value in enumerate(values):
        # A training loss that falls on all the time.
        observation = Observation(value, math.exp(-0.01 * step), total)
        state, verdict = detector.judge(state, observation, mode=mode)
        if verdict.state not in ("improving", "undecided"):
            return step
    return None


def measure(name: str, detector: Detector, runs: int, total: float = math.inf) -> tuple[float, float]:
    """Return the share of false alarms and the median delay; a run without an alarm has an infinite one."""
    family, false, delays = FAMILIES[name], 0, []
    for seed in range(runs):
        generator = np.random.default_rng([seed, *name.encode()])
        sd = family.sds[seed % len(family.sds)]
        course = family.course(generator)
        noisy = course + family.noise(sd)(generator, len(course))
        alarm = first_alarm(detector, family.value(noisy).tolist(), family.mode, total)
        waits = worth_waiting(family, course, sd)
        if alarm is not None and waits[alarm]:
            false += 1
        else:
            last = int(np.flatnonzero(waits)[-1]) if waits.any() else 0
            delays.append(math.inf if alarm is None else alarm - last)
    return false / runs, statistics.median(delays) if delays else math.nan


def report(runs: int, detectors: dict[str, Detector] = DETECTORS) -> Iterator[str]:
    """Yield the lines of the table."""
    yield f"{'false alarms, delay':28s}" + "".join(f"{name:>16s}" for name in detectors)
    for name in FAMILIES:
        cells = [measure(name, detector, runs) for detector in detectors.values()]
        yield f"{name:28s}" + "".join(f"{share:>8.1%} {delay:>7.1f}" for share, delay in cells)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=200, help="runs of each family (default: 200)")
    for line in report(parser.parse_args().runs):
        print(line, flush=True)
