"""Copies of schedulers on stand-in optimizers, which can be run ahead without a trace in the fit.

`copy.deepcopy` would copy the weights that an optimizer or a closure holds, and would share what a closure
counts. Here the optimizer becomes a stand-in with the same groups, modules and data stay what they are, and
closures get cells of their own.
"""

import copy
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from types import CellType, FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader, Dataset

from lightning_lr.fit.lightnings import Callback, LightningDataModule, Logger, Trainer
from lightning_lr.fit.objects import globals_of, slots_of

__all__ = ["Copier", "StandIn", "UncopyableError"]

# What a schedule may look at and is too large to be copied.
_SHARED = (Trainer, Callback, LightningDataModule, Logger, DataLoader, Dataset)
_CONTAINERS = (list, tuple, set, frozenset, dict)
# Whoever holds more than this does not hold a schedule.
_MOST_OBJECTS = 10_000
_LARGEST_TENSOR = 100_000


class UncopyableError(Exception):
    """A scheduler holds something that cannot be copied, such as a generator."""


class StandIn(Optimizer):
    """An optimizer with the groups of another one, but with parameters of one number."""

    def __init__(self, groups: list[dict[str, Any]]) -> None:
        super().__init__([torch.zeros(1)], {})
        self.param_groups = groups


class Copier:
    """Copies objects that may refer to each other, each of them once."""

    def __init__(self) -> None:
        self._copies: dict[int, Any] = {}
        # Held, since the copies are known by the ids of these.
        self._originals: list[Any] = []
        self._globals: dict[int, dict[str, Any]] = {}

    def copy(self, value: Any) -> Any:
        """Return a copy; raise UncopyableError if there is none."""
        if id(value) in self._copies:
            return self._copies[id(value)]
        if isinstance(value, nn.Module):
            return self.shallow(value)
        if isinstance(value, _SHARED) or _is_constant(value):
            return value
        return self._way_of(value)(value)

    def _way_of(self, value: Any) -> Callable[[Any], Any]:
        if type(value) in _CONTAINERS:
            return self._container
        ways: dict[type, Callable[[Any], Any]] = {
            Optimizer: self._optimizer,
            FunctionType: self._function,
            MethodType: self._method,
            partial: self._partial,
            Tensor: self._tensor,
            torch.Generator: self._generator,
        }
        return next((way for kind, way in ways.items() if isinstance(value, kind)), self._object)

    def shallow(self, module: nn.Module) -> nn.Module:
        """Return a copy of a module with its own attributes, but with the same weights and submodules."""
        twin: nn.Module = self._note(module, type(module).__new__(type(module)))
        for name, value in vars(module).items():
            is_plain = type(value) in (dict, list, set)
            vars(twin)[name] = self._copies.get(id(value), copy.copy(value) if is_plain else value)
        return twin

    def _note(self, value: Any, twin: Any) -> Any:
        if len(self._originals) >= _MOST_OBJECTS:
            raise UncopyableError
        self._originals.append(value)
        self._copies[id(value)] = twin
        return twin

    def _group(self, group: dict[str, Any]) -> dict[str, Any]:
        if id(group) not in self._copies:
            twin: dict[str, Any] = self._note(group, {})
            for name, value in group.items():
                # Floats are several times faster to compute with than tensors.
                is_number = isinstance(value, Tensor) and value.numel() == 1
                twin[name] = float(value) if is_number else [] if name == "params" else self.copy(value)
        found: dict[str, Any] = self._copies[id(group)]
        return found

    def _optimizer(self, optimizer: Optimizer) -> StandIn:
        stand_in = StandIn([self._group(group) for group in optimizer.param_groups])
        self._note(optimizer, stand_in)
        stand_in.defaults = self.copy(getattr(optimizer, "defaults", {}))
        return stand_in

    def _method(self, method: MethodType) -> Any:
        return self._note(method, MethodType(self.copy(method.__func__), self.copy(method.__self__)))

    def _partial(self, value: Any) -> Any:
        arguments = [self.copy(each) for each in value.args]
        named = {name: self.copy(each) for name, each in value.keywords.items()}
        return self._note(value, partial(self.copy(value.func), *arguments, **named))

    def _tensor(self, tensor: Tensor) -> Any:
        if tensor.numel() > _LARGEST_TENSOR:
            return tensor
        # A number on the CPU, so that no step waits for a device.
        device = "cpu" if tensor.numel() == 1 else tensor.device
        return self._note(tensor, tensor.detach().to(device, copy=True))

    def _generator(self, generator: torch.Generator) -> Any:
        return self._note(generator, generator.clone_state())

    def _container(self, value: Any) -> Any:
        kind = type(value)
        if kind is dict:
            twin = self._note(value, {})
            twin.update({self.copy(key): self.copy(each) for key, each in value.items()})
            return twin
        if kind is list:
            twin = self._note(value, [])
            twin.extend(self.copy(each) for each in value)
            return twin
        return self._note(value, kind(self.copy(each) for each in value))

    def _function(self, function: FunctionType) -> Any:
        cells = None if function.__closure__ is None else tuple(CellType() for _ in function.__closure__)
        own = self._globals.setdefault(id(function.__globals__), dict(function.__globals__))
        twin = FunctionType(function.__code__, own, function.__name__, None, cells)
        self._note(function, twin)
        for part in ("__defaults__", "__kwdefaults__", "__dict__"):
            setattr(twin, part, self.copy(getattr(function, part)))
        for cell, original in zip(cells or (), function.__closure__ or (), strict=True):
            with suppress(ValueError):  # an empty cell
                cell.cell_contents = self.copy(original.cell_contents)
        for name, found in globals_of(function).items():
            # The functions of other modules are those of libraries.
            if not isinstance(found, FunctionType) or found.__globals__ is function.__globals__:
                with suppress(UncopyableError):
                    own[name] = self.copy(found)
        return twin

    def _object(self, value: Any) -> Any:
        kind: Any = type(value)
        if hasattr(kind, "__del__") and hasattr(value, "__dict__"):
            # The end of a copy would be taken for the end of what it stands for.
            return value
        try:
            if _has_own_way(kind) or not hasattr(value, "__dict__"):
                # Like the deep copies in it, it is known by its id.
                return self._note(value, copy.deepcopy(value, self._copies))
            twin = self._note(value, kind.__new__(kind))
        except Exception as error:
            # A generator, a lock or any object that refuses.
            raise UncopyableError from error
        for name in [*vars(value), *slots_of(kind)]:
            if hasattr(value, name):
                object.__setattr__(twin, name, self.copy(getattr(value, name)))
        return twin


def _has_own_way(kind: type) -> bool:
    own = [getattr(kind, name) is not getattr(object, name) for name in ("__reduce__", "__reduce_ex__")]
    return any(own) or hasattr(kind, "__deepcopy__")


def _is_constant(value: Any) -> bool:
    if isinstance(value, int | float | complex | str | bytes | range | type | np.generic | None):
        return True
    # Of the builtin types only iterators, functions and methods have a state.
    is_builtin = type(value).__module__ in ("builtins", "typing", "types")
    return is_builtin and not isinstance(value, Iterable | FunctionType | MethodType)
