"""Any function of the epoch as a policy, under the contract of Keras' `LearningRateScheduler`.

The formula is the user's, so every value it returns is checked. A function of the previous value is replayed
from the start, so that it too is a pure function of time.
"""

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import reduce
from importlib import import_module
from numbers import Real
from typing import Any

from typing_extensions import override

from lightning_lr.policies.base import Policy

__all__ = ["Function"]

_NAME = "Function(function=...)"
_MEND = "It takes the epoch, or the epoch and the current factor."


@dataclass(frozen=True, repr=False)
class Function(Policy):
    """Take the factor from a function of the epoch.

    factor(t) = function(floor(t)), or, if the function has two parameters without a default,
    factor(t) = function(floor(t), factor(floor(t) - 1)) with factor(-1) = 1

    The contract of Keras' `LearningRateScheduler` (https://keras.io/api/callbacks), with values relative to
    the base LR. With `interval="step"` the function gets the step instead of the epoch.

    The function must be pure. One with two parameters is called for every epoch from 0 on, once each if time
    only goes forward.

    Args:
        function: A callable, or its import path like `"package.module.name"`. It is called with the epoch
            as an int numbered from 0, or with the epoch and the current factor, and returns the factor as a
            finite number of at least 0. The constructor calls it for epoch 0, as a check.

    Raises:
        TypeError: `function` is not callable, cannot be called that way, or does not return a number.
        ValueError: `function` is a path that cannot be imported, or returns a number that is negative or
            not finite; `factor` refuses such a number too.

    Example:
        >>> def schedule(epoch, current):
        ...     return current if epoch < 2 else current / 2
        >>> [Function(schedule).factor(epoch) for epoch in range(5)]
        [1.0, 1.0, 0.5, 0.25, 0.125]
    """

    function: Callable[..., float] | str
    _call: Callable[..., Any] = field(init=False, compare=False)
    _replays: bool = field(init=False, compare=False)
    # The next epoch to call the function for, and the factor of the last one.
    _replay: tuple[int, float] = field(init=False, compare=False, default=(0, 1.0))

    @override
    def __post_init__(self) -> None:
        call = _resolve(self.function) if isinstance(self.function, str) else self.function
        if not callable(call):
            raise TypeError(f"`{_NAME}` must be a function or its import path, got {self.function!r}.")
        object.__setattr__(self, "_call", call)
        object.__setattr__(self, "_replays", _takes_current(call))
        self.formula(0.0, math.inf)

    @override
    def __repr__(self) -> str:
        return f"Function(function={self._label()})"

    @override
    def __reduce__(self) -> tuple[type["Function"], tuple[Callable[..., float] | str]]:
        return Function, (self.function,)

    @override
    def formula(self, t: float, total: float) -> float:
        # A user's table of LRs has no entry after the last epoch of the run.
        epoch = math.floor(t) if total == math.inf else min(math.floor(t), math.ceil(total) - 1)
        if not self._replays:
            return self._checked(epoch, self._call(epoch))
        done, value = self._replay
        if done > epoch + 1:
            done, value = 0, 1.0
        for missing in range(done, epoch + 1):
            value = self._checked(missing, self._call(missing, value))
        object.__setattr__(self, "_replay", (epoch + 1, value))
        return value

    def _checked(self, epoch: int, value: object) -> float:
        message = (
            f"`Function(function={self._label()})` must return a number in [0, inf), got {value!r} for epoch"
            f" {epoch}."
        )
        if isinstance(value, bool) or not isinstance(value, Real):
            raise TypeError(message)
        factor = float(value)
        if not 0 <= factor < math.inf:
            raise ValueError(message)
        return factor

    def _label(self) -> str:
        """Return the import path as a literal if there is one, so that the repr can be evaluated."""
        if isinstance(self.function, str):
            return repr(self.function)
        module, name = (getattr(self.function, key, "") for key in ("__module__", "__qualname__"))
        path = f"{module}.{name}"
        try:
            found = _resolve(path)
        except ValueError:
            return repr(self.function)
        return repr(path) if found is self.function else repr(self.function)


def _resolve(path: str) -> object:
    """Import what `path` names: the longest prefix that is a module, then attributes of it."""
    parts = path.split(".")
    if not all(map(str.isidentifier, parts)):
        raise ValueError(f"`{_NAME}` must be an import path such as 'package.module.name', got {path!r}.")
    for size in range(len(parts) - 1, 0, -1):
        found = _module(".".join(parts[:size]), path)
        if found is not None:
            return _attribute(found, parts[size:], path)
    raise ValueError(
        f"`{_NAME}` must be an import path such as 'package.module.name', got {path!r}, which is in no module"
        " that can be imported."
    )


def _module(name: str, path: str) -> object:
    try:
        return import_module(name)
    except ImportError as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        # A module that exists but lacks one of its own imports must be reported.
        if missing is None or not f"{name}.".startswith(f"{missing}."):
            raise ValueError(f"`{_NAME}` names {path!r}, whose import fails: {error}.") from error
        return None


def _attribute(found: object, names: list[str], path: str) -> object:
    try:
        return reduce(getattr, names, found)
    except AttributeError as error:
        raise ValueError(f"`{_NAME}` must name a function, got {path!r}: {error}.") from error


def _takes_current(call: Callable[..., Any]) -> bool:
    """Tell whether `call` takes the current factor besides the epoch."""
    try:
        signature = inspect.signature(call)
    except ValueError:
        # Some functions written in C have no signature; the call for epoch 0 shows whether it fits.
        return False
    required = [
        parameter
        for parameter in signature.parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind in {parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD}
    ]
    takes_current = len(required) == 2
    try:
        signature.bind(*(0, 1.0)[: 1 + takes_current])
    except TypeError as error:
        raise TypeError(
            f"`{_NAME}` has the signature {signature}, which cannot be called: {error}. {_MEND}"
        ) from error
    return takes_current
