"""What puts one object back to what it was, without the objects that it holds: each kind in its own way."""

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from io import IOBase
from multiprocessing.queues import Queue
from types import CellType
from typing import Any, TypeAlias

import numpy as np
import torch
from torch.utils.data import DataLoader

from lightning_lr.dry_run.snapshot.parts import (
    COLLECTIONS,
    GENERATORS,
    ITERATORS,
    elements_of,
    items_of,
    slots_of,
)

__all__ = ["Restore", "refill", "restores_of"]

Restore: TypeAlias = Callable[[], object]


def restores_of(thing: Any) -> list[Restore]:
    """Return what puts contents, attributes and slots of an object back, not those of tensors and arrays."""
    if isinstance(thing, Queue):
        return []
    found = next((make(thing) for kinds, make in _MAKERS if isinstance(thing, kinds)), [])
    attributes = getattr(thing, "__dict__", None)
    if isinstance(attributes, dict) and not isinstance(thing, DataLoader | IOBase):
        found.append(partial(refill, attributes, dict(attributes)))
    return [*found, *(_slot_restore(thing, name) for name in slots_of(type(thing)))]


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
    if not hasattr(iterator, "__setstate__"):
        return []
    _, _, *index = iterator.__reduce__()
    return [partial(iterator.__setstate__, *index)] if index else []


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


_MAKERS: list[tuple[Any, Callable[[Any], list[Restore]]]] = [
    (GENERATORS, lambda generator: [_generator_restore(generator)]),
    (dict, lambda mapping: [partial(refill, mapping, items_of(mapping))]),
    (COLLECTIONS, lambda collection: [partial(_replace, collection, elements_of(collection))]),
    (bytearray, lambda array: [partial(array.__setitem__, slice(None), bytes(array))]),
    (CellType, lambda cell: [_cell_restore(cell)]),
    (ITERATORS, _iterator_restores),
]
