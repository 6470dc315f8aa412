"""Policies that move in one direction over the whole run, and so need to know where it ends."""

from dataclasses import KW_ONLY, dataclass
from typing import Annotated

from typing_extensions import override

from lightning_lr.checks import In
from lightning_lr.policies.base import Policy
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


@dataclass(frozen=True)
class Polynomial(Policy):
    """Decay from 1 to `end` along a power of the remaining share of the run.

    factor(t) = end + (1 - end) (1 - z)^power with z = t / total

    With `end=0` it is `torch.optim.lr_scheduler.PolynomialLR`, otherwise the polynomial schedule of
    transformers without its warm-up.

    Args:
        power: Exponent in (0, inf): 1 is a straight line, above 1 the decay is early, below 1 late.
        end: Factor at the end of the run, in [0, 1].

    Raises:
        TypeError: An argument is not a number.
        ValueError: An argument is out of range.

    Example:
        >>> [Polynomial(power=2).factor(epoch, total=4) for epoch in range(5)]
        [1.0, 0.5625, 0.25, 0.0625, 0.0]
    """

    needs_end = True

    power: Annotated[float, In("(0, inf)")] = 1.0
    _: KW_ONLY
    end: Annotated[float, In("[0, 1]")] = 0.0

    @override
    def formula(self, t: float, total: float) -> float:
        remaining: float = (1 - t / total) ** self.power
        return linear(self.end, 1.0, remaining)


@dataclass(frozen=True)
class Cosine(Policy):
    """Decay from 1 to `floor` along half a cosine over the whole run.

    factor(t) = floor + (1 - floor) (1 + cos(pi z)) / 2 with z = t / total

    SGDR without restarts (Loshchilov and Hutter 2016, arXiv 1608.03983). Unlike torch's `CosineAnnealingLR`
    it does not rise again after the end.

    Args:
        floor: Factor at the end of the run, in [0, 1].

    Raises:
        TypeError: `floor` is not a number.
        ValueError: `floor` is out of range.

    Example:
        >>> [round(Cosine().factor(epoch, total=4), 4) for epoch in range(5)]
        [1.0, 0.8536, 0.5, 0.1464, 0.0]
    """

    needs_end = True

    floor: Annotated[float, In("[0, 1]")] = 0.0

    @override
    def formula(self, t: float, total: float) -> float:
        return cosine(1.0, self.floor, t / total)


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
