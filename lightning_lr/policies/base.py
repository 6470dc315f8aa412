"""What a decay policy is: a pure function of time.

A closed form needs no memory, so an interrupted run that resumes at `t` has the LR of the uninterrupted one.
`t` and `total` are checked here once, so that a formula is nothing but a formula.
"""

import difflib
import inspect
import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from typing import Any

from typing_extensions import final, override

from lightning_lr.checks import LARGEST_COUNT, as_number, check_fields, check_number

__all__ = ["Policy", "check_policies", "check_policy", "take_floor"]

_PLAIN = (int, float)
_ROOM = "lightning_lr.policies."


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

    @override
    def __repr__(self) -> str:
        """Show the first argument, and others that differ from their defaults."""
        shown = [each for each in fields(self) if each.repr]  # type: ignore[arg-type]
        shown = [each for each in shown if each is shown[0] or getattr(self, each.name) != each.default]
        given = ", ".join(f"{each.name}={getattr(self, each.name)!r}" for each in shown)
        return f"{type(self).__name__}({given})"

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
        try:
            value = float(self.formula(min(float(t), total), total))
        except OverflowError:  # a power of Python's floats; a product is infinite
            value = math.inf
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
            >>> factor = Cosine(end=0.5).over(100)
            >>> factor(0), factor(50), factor(100)
            (1.0, 0.75, 0.5)
        """
        self.factor(0, total)

        def factor(t: float) -> float:
            return self.factor(t, total)

        return factor


def check_policy(name: str, value: object, *, in_list: bool = False) -> None:
    """Check that `value` is a policy, and answer a class or a name with the constructor to write.

    Args:
        name: The argument as the user knows it, for example `LRDecay(policy=...)`.
        value: What was given.
        in_list: Whether it is one of a list of policies.

    Raises:
        TypeError: `value` is no policy.

    Example:
        >>> check_policy("LRDecay(policy=...)", "cosine")
        Traceback (most recent call last):
        TypeError: `LRDecay(policy=...)` must be a Policy, got 'cosine'. Write `Cosine()`.
    """
    if isinstance(value, Policy):
        return
    mend = "Wrap a function in `lightning_lr.policies.Function`."
    if isinstance(value, type | str):
        kind = value if isinstance(value, type) and issubclass(value, Policy) else _meant(value)
        names = ", ".join(sorted(each.__name__ for each in _kinds() if each.__module__.startswith(_ROOM)))
        mend = f"Write `{_constructor(kind)}`." if kind else f"The policies are {names}."
    wanted, place = ("a list of policies", " in it") if in_list else ("a Policy", "")
    raise TypeError(f"`{name}` must be {wanted}, got {value!r}{place}. {mend}")


def check_policies(name: str, value: object) -> None:
    """Check that `value` is a dict of policies by the names of parameter groups, or None.

    Raises:
        TypeError: It is not.

    Example:
        >>> check_policies("LRDecay(policies=...)", {"head": "cosine"})
        Traceback (most recent call last):
        TypeError: `LRDecay(policies=...)['head']` must be a Policy, got 'cosine'. Write `Cosine()`.
    """
    if value is None:
        return
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise TypeError(f"`{name}` must be a dict of policies by names of parameter groups, got {value!r}.")
    for key, policy in value.items():
        check_policy(f"{name}[{key!r}]", policy)


def take_floor(policy: Any) -> None:
    """Take `floor`, the name of 0.1.0, for `end`, with a warning.

    Args:
        policy: A frozen dataclass with both fields, not checked yet.
    """
    name, floor, end = type(policy).__name__, as_number(policy.floor), as_number(policy.end)
    if floor is None:
        return
    warnings.warn(
        f"`{name}(floor=...)` is called `{name}(end=...)` now; the old name goes in the next minor release.",
        FutureWarning,
        stacklevel=4,
    )
    # A copy by `dataclasses.replace` may have both.
    if end not in (0, floor):
        raise ValueError(
            f"`{name}(end=...)` and its old name `floor` differ: {end!r} and {floor!r}. Drop one."
        )
    object.__setattr__(policy, "end", floor)
    object.__setattr__(policy, "floor", None)


def _meant(value: type | str) -> type[Policy] | None:
    """Return the policy whose name is nearest, in the spelling of any library, if one is near."""
    named = {_plain(kind.__name__): kind for kind in _kinds()}
    word = _plain(value if isinstance(value, str) else value.__name__)
    near = difflib.get_close_matches(word, named, n=1)
    # `CosineAnnealingLR` begins with `Cosine`.
    near = near or sorted((name for name in named if word.startswith(name)), key=len)[-1:]
    return named[near[0]] if near else None


def _kinds(kind: type[Policy] = Policy) -> Iterator[type[Policy]]:
    for each in kind.__subclasses__():
        yield each
        yield from _kinds(each)


def _plain(word: str) -> str:
    return "".join(filter(str.isalnum, word.rpartition(".")[2].removesuffix("LR"))).lower()


def _constructor(kind: type[Policy]) -> str:
    parameters = list(inspect.signature(kind).parameters.values())
    needed = [each.name for each in parameters if each.default is each.empty]
    if not needed:
        try:
            kind()
        except TypeError:  # one of several arguments is needed
            needed = [parameters[0].name]
    return f"{kind.__name__}({', '.join(f'{name}=...' for name in needed)})"
