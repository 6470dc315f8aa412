"""What Python's objects hold where `vars` does not tell: slots, and the names that functions use."""

import sys
from collections.abc import Iterator
from contextlib import suppress
from types import CodeType, FunctionType, ModuleType
from typing import Any
from weakref import WeakKeyDictionary

__all__ = ["globals_of", "slots_of", "variables_of"]

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
    variables = function.__globals__
    return {name: variables[name] for name in _names_in(function) if name in variables}


def variables_of(function: FunctionType) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Yield the global variables that a function names, also those of modules that it names: `cache.HITS`.

    Yields:
        The name of the module, its variables and the name of one of them. A module that is left of a dot may
        be another one than meant: all names that a function uses are looked for in all modules.
    """
    names = _names_in(function)
    spaces = [(str(function.__module__), function.__globals__)]
    # Modules may also be imported inside the function, or around it.
    modules = [sys.modules.get(name) for name in names.difference(function.__globals__)]
    for cell in function.__closure__ or ():
        with suppress(ValueError):  # It is empty.
            modules.append(cell.cell_contents)
    spaces += [(each.__name__, vars(each)) for each in modules if type(each) is ModuleType]
    seen = {id(variables) for _, variables in spaces}
    while spaces:
        module, variables = spaces.pop()
        for name in names.intersection(variables):
            yield module, variables, name
            value = variables[name]
            if type(value) is ModuleType and id(vars(value)) not in seen:
                seen.add(id(vars(value)))
                spaces.append((value.__name__, vars(value)))


def _names_in(function: FunctionType) -> set[str]:
    names: set[str] = set()
    codes = [function.__code__]
    while codes:
        code = codes.pop()
        names.update(code.co_names)
        codes += [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return names
