"""The variables of a module that functions name, and what puts them back to what they were."""

from collections.abc import Set as AbstractSet
from types import FunctionType, ModuleType
from typing import Any

__all__ = ["KeptVariables"]

# These are not what a step leaves behind: a module that it has imported, for one.
_CODE = (ModuleType, FunctionType, type)
_MISSING = object()


class KeptVariables:
    """What variables of one module are bound to.

    Args:
        variables: Those of the module, by name.

    Example:
        >>> variables = {"seen": [1], "steps": 1}
        >>> kept = KeptVariables(variables)
        >>> kept.add({"seen", "steps", "best"})
        {'seen': [1], 'steps': 1}
        >>> variables |= {"steps": 2, "best": 0.5}
        >>> kept.restore()
        >>> variables
        {'seen': [1], 'steps': 1}
    """

    def __init__(self, variables: dict[str, Any]) -> None:
        self._variables = variables
        self._known = dict[str, Any]()

    def add(self, names: AbstractSet[str]) -> dict[str, Any]:
        """Remember more of them, and return those that are there and were not remembered before."""
        new = {name: self._variables.get(name, _MISSING) for name in sorted(names - self._known.keys())}
        self._known |= new
        return {name: value for name, value in new.items() if value is not _MISSING}

    def restore(self) -> None:
        """Bind each to what it was bound to; what is new goes away."""
        for name, before in self._known.items():
            now = self._variables.get(name, _MISSING)
            if now is before or issubclass(type(before), _CODE) or issubclass(type(now), _CODE):
                continue
            if before is _MISSING:
                del self._variables[name]
            else:
                self._variables[name] = before
