"""What Python's objects hold where `vars` does not tell: slots, and the names that functions use."""

from types import CodeType, FunctionType
from typing import Any
from weakref import WeakKeyDictionary

__all__ = ["globals_of", "slots_of"]

# They are asked for again with every object.
_slots: WeakKeyDictionary[type, tuple[str, ...]] = WeakKeyDictionary()


def slots_of(kind: type[Any]) -> tuple[str, ...]:
    """Return the names of the slots of a class and those it inherits from, as attributes."""
    if kind not in _slots:
        _slots[kind] = _slots_of(kind)
    return _slots[kind]


def _slots_of(kind: type[Any]) -> tuple[str, ...]:
    found: list[str] = []
    for each in kind.__mro__:
        slots = vars(each).get("__slots__", ())
        names = (slots,) if isinstance(slots, str) else slots
        found += [
            f"_{each.__name__.lstrip('_')}{name}"
            if name.startswith("__") and not name.endswith("__")
            else name
            for name in names
            if name not in ("__dict__", "__weakref__")
        ]
    return tuple(found)


def globals_of(function: FunctionType) -> dict[str, Any]:
    """Return the global variables that a function names, its inner functions included, and their values."""
    names: set[str] = set()
    codes = [function.__code__]
    while codes:
        code = codes.pop()
        names.update(code.co_names)
        codes += [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    variables = function.__globals__
    return {name: variables[name] for name in names if name in variables}
