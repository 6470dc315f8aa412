"""What a decay policy is: a pure function of time.

A closed form needs no memory, so an interrupted run that resumes at `t` has the LR of the uninterrupted one.
The checks of `t` and `total` are made here once, so that a formula is nothing but a formula.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

from typing_extensions import final

from lightning_lr.checks import as_number, check_number

__all__ = ["Policy"]

# From 2**53 on a float no longer tells one step from the next.
_LAST_TIME = 2**53
_PLAIN = (int, float)


class Policy(ABC):
    """A factor on the base LR as a function of time: LR(t) = base LR x factor(t, total).

    A policy of your own implements `formula`, and `needs_end` where the formula is no function of `t` alone.
    A policy is also the lambda of `torch.optim.lr_scheduler.LambdaLR`: as it is, or with `over` where it
    needs the end of the run.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass(frozen=True)
        ... class Halving(Policy):
        ...     every: float
        ...
        ...     def formula(self, t: float, total: float) -> float:
        ...         return 0.5 ** (t / self.every)
        >>> Halving(every=10).factor(20)
        0.25
    """

    def __post_init__(self) -> None:
        for name, value in list(vars(self).items()):
            object.__setattr__(self, name, as_number(value))

    @property
    def needs_end(self) -> bool:
        """Whether the formula is undefined for a run without an end."""
        return False

    @abstractmethod
    def formula(self, t: float, total: float) -> float:
        """Compute the factor at `t`.

        Args:
            t: Time since the start, already checked to be in [0, total].
            total: Length of the run in the same units, infinite only where `needs_end` is False.

        Returns:
            The factor, finite and at least 0.
        """

    @final
    def factor(self, t: float, total: float = math.inf) -> float:
        """Return what the base LR is multiplied by at `t`.

        Args:
            t: What is finished at that moment: epochs or steps, in [0, 2**53]. The first is trained at
                t = 0, the last at t = total - 1. From `total` on the factor stays what it is at `total`.
            total: Length of the run in the units of `t`, in (0, inf]; infinite where the run has no end.

        Returns:
            The factor, finite and at least 0.

        Raises:
            TypeError: `t` or `total` is no number.
            ValueError: `t` or `total` is out of range, `total` is infinite for a policy that needs the end,
                or the formula returns a factor that is negative or not finite.

        Example:
            >>> from lightning_lr.policies import Linear
            >>> [Linear().factor(epoch, total=4) for epoch in range(6)]
            [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
        """
        # This runs once per training step: the checks that say what is wrong run where something is.
        plain = type(t) in _PLAIN and type(total) in _PLAIN
        if not (plain and 0 <= t <= _LAST_TIME and 0 < total < math.inf):
            self._check(t, total)
        total = float(total)
        value = float(self.formula(min(float(t), total), total))
        if not 0 <= value < math.inf:
            raise ValueError(
                f"`{type(self).__name__}.formula` must return a number in [0, inf), got {value!r} at t={t!r}"
                f" of {total!r}."
            )
        return value

    def _check(self, t: float, total: float) -> None:
        name = type(self).__name__
        check_number(f"{name}.factor(t=...)", t, f"[0, {_LAST_TIME}]")
        check_number(f"{name}.factor(total=...)", total, "(0, inf]")
        if total == math.inf and self.needs_end:
            raise ValueError(
                f"`{name}` needs the end of the run, got total=inf. Give the length of the run (in a"
                " Trainer, `max_epochs` or `max_steps`) or choose a policy that has no end."
            )

    @final
    def __call__(self, t: float, total: float = math.inf) -> float:
        """Return `factor(t, total)`, so that the policy is itself the lambda of a `LambdaLR`.

        Example:
            >>> from lightning_lr.policies import Exponential
            >>> Exponential(gamma=0.5)(2)
            0.25
        """
        return self.factor(t, total)

    @final
    def over(self, total: float) -> Callable[[float], float]:
        """Bind the policy to a run of length `total`.

        Args:
            total: Length of the run in the units of `t`, in (0, inf].

        Returns:
            A plain function of `t`. `LambdaLR` puts the attributes of a callable object into its
            `state_dict`, but nothing of a function, so a checkpoint stays loadable with `weights_only=True`.

        Raises:
            TypeError: `total` is no number.
            ValueError: The policy cannot run over `total`.

        Example:
            >>> from lightning_lr.policies import Cosine
            >>> factor = Cosine(floor=0.5).over(100)
            >>> factor(0), factor(50), factor(100)
            (1.0, 0.75, 0.5)
        """
        self.factor(0, total)

        def factor(t: float) -> float:
            return self.factor(t, total)

        return factor
