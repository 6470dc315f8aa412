"""What a step makes of a base LR, as a pure function of numbers."""

from typing import NamedTuple

__all__ = ["Target"]


class Target(NamedTuple):
    """The LR of a step as a function of the base LR: max(factor base, ramp min(min_lr, base)).

    A floor never raises an LR above its base: a group whose base LR is below it keeps that, and a frozen
    group (0) stays frozen. A warm-up may start below it.

    Args:
        factor: The factor of the base LR, policy and ramp together, at least 0.
        min_lr: The least LR after the ramp, in [0, inf).
        ramp: The factor of the ramp alone, in [0, 1].

    Example:
        >>> [Target(factor, min_lr=0.01).lr(0.1) for factor in (1.0, 0.2, 0.03, 0.0)]
        [0.1, 0.020000000000000004, 0.01, 0.01]
        >>> Target(0.0, min_lr=0.01).lr(0.001), Target(0.0, min_lr=0.01).lr(0.0)
        (0.001, 0.0)
    """

    factor: float
    min_lr: float = 0.0
    ramp: float = 1.0

    def lr(self, base: float) -> float:
        """Return the LR of a group."""
        lr = base * self.factor
        return max(lr, min(self.min_lr, base) * self.ramp) if self.min_lr else lr

    def factor_of(self, base: float) -> float:
        """Return LR / base LR, which is `factor` where the floor does not hold."""
        lr = base * self.factor
        least = min(self.min_lr, base) * self.ramp if self.min_lr else 0.0
        return least / base if lr < least else self.factor
