"""What a decay policy is: a pure function of time.

A closed form needs no memory, so an interrupted run that resumes at `t` has the LR of the uninterrupted one.
`t` and `total` are checked here once, so that a formula is nothing but a formula.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

from typing_extensions import final

from lightning_lr.checks import LARGEST_COUNT, as_number, check_fields, check_number

__all__ = ["Policy"]

_PLAIN = (int, float)


class Policy(ABC):
    """A factor on the base LR as a function of time: LR(t) = base LR x factor(t, total).

    Your own policy implements `formula`, and sets `needs_end = True` if it needs a finite `total`. A policy
    also serves as the lambda of `torch.optim.lr_scheduler.LambdaLR`: directly, or through `over` if it needs
    the end of the run.

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
        check_fields(self)

    @property
    def needs_end(self) -> bool:
        """Whether the formula is undefined for a run without an end."""
        return False

    @abstractmethod
    def formula(self, t: float, total: float) -> float:
        """Compute the factor at `t`.

        Args:
            t: Time since the start, already checked to be in [0, total].
            total: Length of the run in the same units, infinite only if `needs_end` is False.

        Returns:
            The factor, finite and at least 0.
        """

    @final
    def factor(self, t: float, total: float = math.inf) -> float:
        """Return the factor on the base LR at `t`.

        Args:
            t: Epochs or steps finished so far, in [0, 2**53]. The first is trained at t = 0, the last at
                t = total - 1. After `total` the factor keeps its value at `total`.
            total: Length of the run in the units of `t`, in (0, inf]; infinite if the run has no end.

        Returns:
            The factor, finite and at least 0.

        Raises:
            TypeError: `t` or `total` is not a number.
            ValueError: `t` or `total` is out of range, `total` is infinite for a policy that needs the end,
                or the formula returns a factor that is negative or not finite.

        Example:
            >>> from lightning_lr.policies import Linear
            >>> [Linear().factor(epoch, total=4) for epoch in range(6)]
            [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
        """
        # This runs once per training step, so the slower checks, which say what is wrong, run only on demand.
        plain = type(t) in _PLAIN and type(total) in _PLAIN
        if not (plain and 0 <= t <= LARGEST_COUNT and 0 < total < math.inf):
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
        check_number(f"{name}.factor(t=...)", t, f"[0, {LARGEST_COUNT}]")
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
            A plain function of `t`. `LambdaLR` saves the attributes of a callable object in its `state_dict`,
            but not a function, so a checkpoint stays loadable with `weights_only=True`.

        Raises:
            TypeError: `total` is not a number.
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
