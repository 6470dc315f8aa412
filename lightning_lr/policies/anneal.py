"""Policies that take the whole run for their way, and so need to know where it ends."""

import math
from dataclasses import KW_ONLY, dataclass, field
from typing import Annotated, Literal

from typing_extensions import override

from lightning_lr.checks import In, check_choice, check_count
from lightning_lr.policies.base import Policy, take_floor
from lightning_lr.policies.shapes import cosine, linear

__all__ = ["Cosine", "Linear", "Polynomial", "Rex"]


@dataclass(frozen=True)
class Linear(Policy):
    """Go from `start` to `end` on a straight line over the whole run.

    factor(t) = (1 - z) start + z end with z = t / total

    Decay to zero is the best supported default (Defazio et al. 2023, arXiv 2310.07831; Bergsma et al. 2025,
    arXiv 2502.15938). `Linear(1.0, start=0.0)` is a warm-up for the start of a `Sequence`.

    Args:
        end: Factor at the end of the run, in [0, 1].
        start: Factor at t = 0, in [0, 1].

    Raises:
        TypeError: An argument is not a number.
        ValueError: An argument is out of range.

    Example:
        >>> [Linear(end=0.5).factor(epoch, total=4) for epoch in range(5)]
        [1.0, 0.875, 0.75, 0.625, 0.5]
    """

    needs_end = True

    end: Annotated[float, In("[0, 1]")] = 0.0
    _: KW_ONLY
    start: Annotated[float, In("[0, 1]")] = 1.0

    @override
    def formula(self, t: float, total: float) -> float:
        return linear(self.start, self.end, t / total)


@dataclass(frozen=True, repr=False)
class Polynomial(Policy):
    """Go from `start` to `end` along a power of the remaining, or of the elapsed, share of the run.

    With z = t / total, factor(t) = end + (start - end) (1 - z)^power; with `of="elapsed"`,
    factor(t) = start + (end - start) z^power. With `cycle`, z = t / (cycle ceil(t / cycle)): the descent
    takes `cycle`, and each time it is over it goes on from the middle of one that takes `cycle` longer.

    With `end=0` it is `torch.optim.lr_scheduler.PolynomialLR`, otherwise the polynomial schedule of
    transformers without its warm-up, and optax's `polynomial_schedule`. `of="elapsed"` is fastai's
    `SchedPoly`, `cycle` the `cycle=True` of Keras' `PolynomialDecay`, with its `decay_steps`.

    Args:
        power: Exponent in (0, inf): 1 is a straight line; above 1 most of the change is early, below 1 late,
            and the other way round with `of="elapsed"`.
        end: Factor at the end of the run, in [0, 1].
        start: Factor at t = 0, in [0, 1].
        of: Whether the power is taken of the `"remaining"` or of the `"elapsed"` share.
        cycle: Length of the first descent, at least 1; None for one descent over the whole run.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of range.

    Example:
        >>> [Polynomial(power=2).factor(epoch, total=4) for epoch in range(5)]
        [1.0, 0.5625, 0.25, 0.0625, 0.0]
        >>> [Polynomial(power=2, of="elapsed").factor(epoch, total=4) for epoch in range(5)]
        [1.0, 0.9375, 0.75, 0.4375, 0.0]
        >>> [Polynomial(cycle=2).factor(epoch) for epoch in range(5)]
        [1.0, 0.5, 0.0, 0.25, 0.0]
    """

    power: Annotated[float, In("(0, inf)")] = 1.0
    _: KW_ONLY
    end: Annotated[float, In("[0, 1]")] = 0.0
    start: Annotated[float, In("[0, 1]")] = 1.0
    of: Literal["remaining", "elapsed"] = "remaining"
    cycle: int | None = None

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("Polynomial(of=...)", self.of, ("remaining", "elapsed"))
        if self.cycle is not None:
            check_count("Polynomial(cycle=...)", self.cycle, minimum=1)

    @property
    @override
    def needs_end(self) -> bool:
        return self.cycle is None

    @override
    def formula(self, t: float, total: float) -> float:
        length = total if self.cycle is None else self.cycle * max(1, math.ceil(t / self.cycle))
        if self.of == "elapsed":
            return linear(self.start, self.end, (t / length) ** self.power)
        remaining: float = (1 - t / length) ** self.power
        return linear(self.end, self.start, remaining)


@dataclass(frozen=True, repr=False)
class Cosine(Policy):
    """Go from `start` to `end` along half a cosine over the whole run, or along a wave of them.

    factor(t) = end + (start - end) ((1 + cos(2 pi num_cycles z)) / 2)^exponent with z = t / total

    SGDR without restarts (Loshchilov and Hutter 2016, arXiv 1608.03983). Unlike torch's `CosineAnnealingLR`
    it does not rise again after the end; with `num_cycles=n / 2` it is that scheduler over n times its
    `T_max`. `num_cycles` is that of `get_cosine_schedule_with_warmup` of transformers, `exponent` that of
    optax's `cosine_decay_schedule`. `Cosine(1.0, start=0.0)` rises.

    Args:
        end: Factor at the bottom of the cosine, in [0, 1]: at the end of the run, for half a cycle.
        start: Factor at t = 0, in [0, 1].
        exponent: Exponent in (0, inf): above 1 most of the change is early, below 1 late.
        num_cycles: Number of whole cosine waves in the run, in (0, 1e6]; a half is the way down alone.
        floor: The old name of `end`.

    Raises:
        TypeError: An argument is not a number.
        ValueError: An argument is out of range.

    Example:
        >>> [round(Cosine().factor(epoch, total=4), 4) for epoch in range(5)]
        [1.0, 0.8536, 0.5, 0.1464, 0.0]
        >>> [round(Cosine(0.1, num_cycles=1).factor(epoch, total=4), 4) for epoch in range(5)]
        [1.0, 0.55, 0.1, 0.55, 1.0]
    """

    needs_end = True

    end: Annotated[float, In("[0, 1]")] = 0.0
    _: KW_ONLY
    start: Annotated[float, In("[0, 1]")] = 1.0
    exponent: Annotated[float, In("(0, inf)")] = 1.0
    num_cycles: Annotated[float, In("(0, 1e6]")] = 0.5
    floor: float | None = field(default=None, repr=False, compare=False)

    @override
    def __post_init__(self) -> None:
        take_floor(self)
        super().__post_init__()

    @override
    def formula(self, t: float, total: float) -> float:
        z = 2 * self.num_cycles * (t / total)
        if self.exponent == 1:
            return cosine(self.start, self.end, z)
        return linear(self.end, self.start, ((1 + math.cos(math.pi * z)) / 2) ** self.exponent)


@dataclass(frozen=True)
class Rex(Policy):
    """Decay from 1 to 0, slowly at first and steeply at the end.

    factor(t) = (1 - z) / (1/2 + (1 - z)/2) with z = t / total

    REX, reflected exponential (Chen et al. 2021, arXiv 2107.04197).

    Example:
        >>> [round(Rex().factor(epoch, total=5), 4) for epoch in range(6)]
        [1.0, 0.8889, 0.75, 0.5714, 0.3333, 0.0]
    """

    needs_end = True

    @override
    def formula(self, t: float, total: float) -> float:
        remaining = 1 - t / total
        return remaining / (0.5 + remaining / 2)
