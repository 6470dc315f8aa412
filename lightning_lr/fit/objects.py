"""What Python's objects hold where `vars` does not tell, slots and names in functions, and whose they are."""

import sys
from contextlib import suppress
from types import CodeType, FunctionType, ModuleType
from typing import Any
from weakref import WeakKeyDictionary

__all__ = ["globals_of", "is_installed", "modules_in", "names_in", "package_of", "slots_of"]

_INSTALLED = ("site-packages", "dist-packages")
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
    return {name: variables[name] for name in names_in(function) if name in variables}


def names_in(function: FunctionType) -> set[str]:
    """Return the names of global variables and attributes in a function, its inner functions included."""
    names: set[str] = set()
    codes = [function.__code__]
    while codes:
        code = codes.pop()
        names.update(code.co_names)
        codes += [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return names


def is_installed(function: FunctionType) -> bool:
    """Tell whether a function is of an installed package, not of the user's own code."""
    return any(folder in function.__code__.co_filename for folder in _INSTALLED)


def package_of(module: object) -> str:
    """Return the package of a class or function, by the `__module__` that it tells."""
    # Of classes that are compiled it may be anything.
    return module.partition(".")[0] if isinstance(module, str) else ""


def modules_in(function: FunctionType, names: set[str]) -> list[ModuleType]:
    """Return the modules that a function names, or imports itself: `cache` in `cache.HITS`.

    Args:
        function: The function.
        names: All names in it; of modules within modules, those with one of them are returned too.
    """
    ordered, found = sorted(names), list[ModuleType]()
    variables = function.__globals__
    values = [variables.get(name) for name in ordered]
    # `import cache`, `from .cache import HITS` and `from . import cache` in the function itself.
    imported = [name for name in ordered if name not in variables]
    package = variables.get("__package__")
    values += [sys.modules.get(full) for name in imported for full in (name, f"{package}.{name}")]
    for cell in function.__closure__ or ():
        with suppress(ValueError):  # It is empty.
            values.append(cell.cell_contents)
    while values:
        value = values.pop()
        if type(value) is ModuleType and not any(value is each for each in found):
            found.append(value)
            values += [vars(value)[name] for name in ordered if name in vars(value)]
    return found
