"""What puts one object back to what it was, without the objects that it holds: each kind in its own way."""

import ctypes
from array import array
from collections import OrderedDict
from collections.abc import Callable
from contextvars import ContextVar
from functools import partial
from io import IOBase
from multiprocessing.managers import BaseProxy
from multiprocessing.queues import Queue
from types import CellType
from typing import Any, TypeAlias

import numpy as np
import torch
from torch.utils.data import DataLoader

from lightning_lr.dry_run.snapshot.parts import (
    COLLECTIONS,
    CTYPES,
    GENERATORS,
    ITERATORS,
    MEMOIZED,
    ByKind,
    elements_of,
    items_of,
    own_slots,
)

__all__ = ["Restore", "refill", "restores_of"]

Restore: TypeAlias = Callable[[], object]


def restores_of(thing: Any) -> list[Restore]:
    """Return what puts contents, attributes and slots of an object back, not those of tensors and arrays."""
    if isinstance(thing, Queue | BaseProxy):
        return []
    if issubclass(type(thing), type):
        return [partial(_restore_class, thing, dict(vars(thing)))]
    make = _MAKERS.of(thing)
    found = make(thing) if make else []
    attributes = getattr(thing, "__dict__", None)
    if isinstance(attributes, dict) and not isinstance(thing, DataLoader | IOBase):
        found.append(partial(_restore_attributes, thing, type(thing), attributes, dict(attributes)))
    return [*found, *(_slot_restore(thing, name) for name in own_slots(type(thing)))]


def _restore_attributes(thing: Any, kind: type, attributes: dict[str, Any], values: dict[str, Any]) -> None:
    if type(thing) is not kind:
        object.__setattr__(thing, "__class__", kind)
    refill(attributes, values)


def _restore_class(kind: type, members: dict[str, Any]) -> None:
    """Give a class its attributes back; what it has in addition stays, and is watched."""
    now = vars(kind)
    for name, value in members.items():
        if not name.startswith("__") and now.get(name) is not value:
            # The metaclass may have rules of its own.
            type.__setattr__(kind, name, value)


def refill(mapping: dict[Any, Any], items: dict[Any, Any]) -> None:
    """Give a mapping its items back; one that has them is not touched."""
    now = items_of(mapping)
    if all(map(_is_same, [*now, *now.values()], [*items, *items.values()])) and len(now) == len(items):
        return
    # The methods of a subclass may have rules of their own.
    kind: Any = OrderedDict if isinstance(mapping, OrderedDict) else dict
    kind.clear(mapping)
    for key, value in items.items():
        kind.__setitem__(mapping, key, value)


def _replace(collection: Any, items: list[Any]) -> None:
    now = elements_of(collection)
    if len(now) == len(items) and all(map(_is_same, now, items)):
        return
    kind: Any = next(each for each in COLLECTIONS if isinstance(collection, each))
    kind.clear(collection)
    (kind.update if kind is set else kind.extend)(collection, items)


def _is_same(one: object, other: object) -> bool:
    return one is other


def _slot_restore(thing: Any, name: str) -> Restore:
    missing = object()
    value = getattr(thing, name, missing)

    def restore() -> None:
        now = getattr(thing, name, missing)
        if now is value:
            return
        if value is missing:
            object.__delattr__(thing, name)
        else:
            object.__setattr__(thing, name, value)

    return restore


def _cell_restore(cell: CellType) -> Restore:
    try:
        value = cell.cell_contents
    except ValueError:  # It is empty.
        return lambda: None
    return lambda: setattr(cell, "cell_contents", value)


def _iterator_restores(iterator: Any) -> list[Restore]:
    """Return what sets an iterator of a list, tuple, range or text back; the others are watched."""
    # Those of itertools do not tell all that they hold.
    if not hasattr(iterator, "__setstate__") or type(iterator).__module__ == "itertools":
        return []
    _, _, *index = iterator.__reduce__()
    return [partial(iterator.__setstate__, *index)] if index else []


def _variable_restores(variable: ContextVar[Any]) -> list[Restore]:
    missing = object()
    value = variable.get(missing)
    return [] if value is missing else [partial(variable.set, value)]


def _memory_restores(function: Any) -> list[Restore]:
    """Return what empties the memory of a memoized function that has been empty; others are watched."""
    return [] if function.cache_info().currsize else [function.cache_clear]


def _generator_restore(generator: Any) -> Restore:
    if isinstance(generator, torch.Generator):
        state = generator.get_state()
        return partial(generator.set_state, state)
    if isinstance(generator, np.random.Generator):
        return _generator_restore(generator.bit_generator)
    if isinstance(generator, np.random.BitGenerator):
        bits_state = generator.state
        return lambda: setattr(generator, "state", bits_state)
    if isinstance(generator, np.random.RandomState):
        legacy_state = generator.get_state()
        return lambda: generator.set_state(legacy_state)
    python_state = generator.getstate()
    return lambda: generator.setstate(python_state)


_MAKERS: ByKind[Callable[[Any], list[Restore]]] = ByKind(
    [
        (GENERATORS, lambda generator: [_generator_restore(generator)]),
        (dict, lambda mapping: [partial(refill, mapping, items_of(mapping))]),
        (COLLECTIONS, lambda collection: [partial(_replace, collection, elements_of(collection))]),
        (bytearray, lambda numbers: [partial(numbers.__setitem__, slice(None), bytes(numbers))]),
        (array, lambda numbers: [partial(numbers.__setitem__, slice(None), numbers[:])]),
        (
            CTYPES,
            lambda value: [partial(ctypes.memmove, ctypes.addressof(value), data := bytes(value), len(data))],
        ),
        (ContextVar, _variable_restores),
        (MEMOIZED, _memory_restores),
        (CellType, lambda cell: [_cell_restore(cell)]),
        (ITERATORS, _iterator_restores),
    ]
)
