"""What an object holds: the parts that a snapshot follows it into, and the objects that it leaves alone."""

import csv
import ctypes
import gc
import itertools
import logging
import multiprocessing.process
import random
import socket
import sys
import threading
from array import array
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import suppress
from contextvars import ContextVar
from functools import cached_property, lru_cache, partial
from io import IOBase, StringIO
from multiprocessing.managers import BaseProxy
from multiprocessing.queues import Queue
from queue import SimpleQueue
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, GeneratorType, MethodType, ModuleType
from typing import Any, Generic, TypeAlias, TypeVar, cast
from weakref import ReferenceType, WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from lightning_lr.fit.internals import LIVE_ITERATOR
from lightning_lr.fit.lightnings import LightningDataModule, Logger, Trainer
from lightning_lr.fit.objects import package_of, slots_of

__all__ = [
    "COLLECTIONS",
    "CTYPES",
    "GENERATORS",
    "ITERATORS",
    "MEMOIZED",
    "OTHER_ITERATORS",
    "ByKind",
    "classes_of",
    "elements_of",
    "is_left_alone",
    "is_of_library",
    "items_of",
    "locals_of",
    "own_slots",
    "parts_of",
    "referents_of",
]

Parts: TypeAlias = Iterator[tuple[str, Any]]
Kinds: TypeAlias = tuple[type[Any], ...]

COLLECTIONS = (list, set, deque)
GENERATORS = (
    torch.Generator,
    np.random.Generator,
    np.random.BitGenerator,
    np.random.RandomState,
    random.Random,
)
# Iterators that know how far they have come, and Python's own generators, which do not tell.
ITERATORS: Kinds = (
    *map(type, (iter([]), iter(()), iter(range(0)), iter({}), iter(set()), iter(""))),
    GeneratorType,
)
# Iterators over others, and those that keep to themselves how far they have come.
_OVER_OTHERS: Kinds = (enumerate, zip, map, filter)
OTHER_ITERATORS: Kinds = (
    *_OVER_OTHERS,
    *(kind for kind in vars(itertools).values() if isinstance(kind, type)),
)
CTYPES: type = ctypes.Array.__mro__[1]
MEMOIZED: type = type(lru_cache(lambda: None))
# Of these only Python itself knows what they hold.
_OPAQUE: Kinds = (
    *_OVER_OTHERS,
    *(memoryview, type(csv.writer(StringIO())), type(csv.reader([]))),
    *(type({}.keys()), type({}.values()), type({}.items())),
)
_DECORATED: Kinds = (staticmethod, classmethod, property, cached_property)
# Values that never change, by their exact class.
_CONSTANTS = frozenset(
    {int, float, complex, bool, str, bytes, type(None), type(...), range, slice}
    | {CodeType, ReferenceType}
    | {torch.dtype, torch.device, torch.Size, torch.layout, torch.memory_format, np.dtype}
)
# Of others these know best what they are, and hold what is not the fit's.
_NEVER_FOLLOWED: Kinds = (
    *(ModuleType, Trainer, Logger, threading.Thread, multiprocessing.process.BaseProcess),
    *(socket.socket, logging.Logger, Executor, torch.device, np.generic),
)
# Libraries whose objects and functions hold nothing of the user's, but for what users fill and extend.
_LIBRARIES = {
    *("torch", "numpy", "lightning", "pytorch_lightning", "lightning_fabric", "lightning_utilities"),
    *("torchmetrics", "lightning_lr", "builtins", "tensorboard"),
    *(sys.stdlib_module_names - {"test"}),
}
_FILLED: Kinds = (
    *(nn.Module, Optimizer, LightningDataModule, IOBase, partial, MethodType, DataLoader, Queue),
    *(
        *GENERATORS,
        *ITERATORS,
        *OTHER_ITERATORS,
        *_OPAQUE,
        MEMOIZED,
        SimpleQueue,
        array,
        bytearray,
        ContextVar,
        threading.local,
    ),
    *(BaseProxy, CTYPES),
)
_CONTAINERS: Kinds = (Tensor, np.ndarray, Mapping, list, tuple, set, frozenset, deque)
_FILLED_MODULES = (
    *("torch.nn", "torch.optim", "torch.utils.data", "torch.amp", "torch.cuda.amp"),
    *("torch.distributed.optim", "torch.distributions", "torch.ao"),
    *("collections", "queue", "types", "argparse", "functools", "csv", "tempfile"),
    "multiprocessing.sharedctypes",
)
_LOADER_PARTS = ("dataset", "sampler", "batch_sampler", "generator", "collate_fn", "worker_init_fn")


# What is known of classes; they are asked about for every object.
_left_alone: WeakKeyDictionary[type, bool] = WeakKeyDictionary()
Found = TypeVar("Found")


def is_left_alone(thing: object) -> bool:
    """Tell whether an object holds nothing that a step could change, or what is not the user's."""
    kind: type[Any] = type(thing)
    # By its real class: functions of Boost.Python, for one, say that they are Python's.
    if issubclass(kind, FunctionType | type):
        return is_of_library(cast("type", thing).__module__)
    if issubclass(kind, BuiltinFunctionType):
        # A bound method of a list, for one.
        owner = cast("BuiltinFunctionType", thing).__self__
        return isinstance(owner, type) or is_left_alone(owner)
    if kind not in _left_alone:
        _left_alone[kind] = _is_left_alone(kind)
    return _left_alone[kind]


def _is_left_alone(kind: type[Any]) -> bool:
    if kind in _CONSTANTS or issubclass(kind, _NEVER_FOLLOWED):
        return True
    module = str(kind.__module__)
    if kind is CellType or issubclass(kind, _CONTAINERS + _FILLED):
        return False
    if module.startswith("torch.utils.data.dataloader"):
        return True  # The iterator of a loader, with its workers.
    return is_of_library(module) and not module.startswith(_FILLED_MODULES)


def is_of_library(module: object) -> bool:
    """Tell whether a module, by its name, holds nothing of the user's."""
    return package_of(module) in _LIBRARIES


class ByKind(Generic[Found]):
    """What is to be done with an object, by its class: the first of the entries that it fits."""

    def __init__(self, entries: list[tuple[Any, Found]]) -> None:
        self._entries = entries
        self._known: WeakKeyDictionary[type, Found | None] = WeakKeyDictionary()

    def of(self, thing: object) -> Found | None:
        """Return the entry of an object; None if there is none."""
        kind = type(thing)
        if kind not in self._known:
            fitting = (found for kinds, found in self._entries if issubclass(kind, kinds))
            self._known[kind] = next(fitting, None)
        return self._known[kind]


def parts_of(thing: Any) -> Parts:
    """Yield the objects that an object holds, with the way to each as it would be written."""
    if isinstance(thing, Queue | BaseProxy):
        return  # Its thread and its pipe are its own.
    if parts := _PARTS.of(thing):
        yield from parts(thing)
    if issubclass(type(thing), type):
        return
    for name, value in _attributes(thing):
        yield f".{name}", value


def items_of(mapping: dict[Any, Any]) -> dict[Any, Any]:
    """Return what a dict holds; a subclass is not asked, since it may have rules of its own."""
    kind: Any = OrderedDict if isinstance(mapping, OrderedDict) else dict
    return dict(kind.items(mapping))


def locals_of(generator: "GeneratorType[Any, Any, Any]") -> dict[str, Any]:
    """Return the local variables of a generator, without those of generators inside it."""
    return {} if generator.gi_frame is None else dict(generator.gi_frame.f_locals)


def referents_of(generator: "GeneratorType[Any, Any, Any]") -> list[Any]:
    """Return all that a generator holds: its variables, and also what its loops read, which have no name."""
    # Python 3.10 keeps it in the frame.
    return gc.get_referents(*filter(None, (generator, generator.gi_frame)))


def elements_of(collection: Any) -> list[Any]:
    """Return what a list, tuple, set or deque holds; a subclass is not asked."""
    kind: Any = next(each for each in (*COLLECTIONS, tuple, frozenset) if isinstance(collection, each))
    return list(kind.__iter__(collection))


def _parts_of_mapping(mapping: dict[Any, Any]) -> Parts:
    for key, value in items_of(mapping).items():
        if type(key) in _CONSTANTS:
            yield f"[{key!r}]", value
        else:
            yield f"[{type(key).__name__}]", value
            yield " (a key)", key


def _parts_of_collection(collection: Any) -> Parts:
    elements = elements_of(collection)
    if _CONSTANTS.issuperset(map(type, elements)):
        return
    names = getattr(type(collection), "_fields", ())
    for index, value in enumerate(elements):
        yield f".{names[index]}" if index < len(names) else f"[{index}]", value


def _parts_of_array(array: Any) -> Parts:
    if array.dtype.hasobject:
        for index, value in enumerate(array.flat):
            yield f"[{index}]", value


def _parts_of_method(method: MethodType) -> Parts:
    yield ".__self__", method.__self__
    yield "", method.__func__


def _parts_of_builtin_method(method: BuiltinFunctionType) -> Parts:
    yield ".__self__", method.__self__


def _parts_of_class(kind: type) -> Parts:
    for name, value in vars(kind).items():
        for part in _functions_of(value) if isinstance(value, _DECORATED) else [value]:
            if not name.startswith("__") or isinstance(part, FunctionType):
                yield f".{name}", part


def _functions_of(decorated: Any) -> list[Any]:
    return [getattr(decorated, name, None) for name in ("__func__", "fget", "fset", "func")]


def _parts_of_opaque(thing: Any) -> Parts:
    yield from (("", part) for part in gc.get_referents(thing))


def _parts_of_generator(generator: "GeneratorType[Any, Any, Any]") -> Parts:
    yield from ((f"<{name}>", value) for name, value in locals_of(generator).items())
    # What its loops and its `yield from` read.
    yield from (("", part) for part in referents_of(generator))


def _parts_of_partial(bound: partial[Any]) -> Parts:
    yield ".func", bound.func
    yield ".args", bound.args
    yield ".keywords", bound.keywords


def _parts_of_cell(cell: CellType) -> Parts:
    with suppress(ValueError):  # It is empty.
        yield "", cell.cell_contents


def _parts_of_loader(loader: DataLoader[Any]) -> Parts:
    # Of a loader only what it reads: the workers of its live iterator share its attributes.
    for name in _LOADER_PARTS:
        yield f".{name}", getattr(loader, name, None)


def _attributes(thing: Any) -> Parts:
    attributes = getattr(thing, "__dict__", None)
    if isinstance(attributes, dict) and not issubclass(type(thing), FunctionType):
        skipped = {*_LOADER_PARTS, LIVE_ITERATOR} if isinstance(thing, DataLoader) else ()
        yield from ((name, value) for name, value in attributes.items() if name not in skipped)
    yield from ((name, getattr(thing, name)) for name in own_slots(type(thing)) if hasattr(thing, name))


def own_slots(kind: type[Any]) -> tuple[str, ...]:
    """Return the names of the slots of a class that Python code has made."""
    return () if kind.__module__ == "builtins" or issubclass(kind, Tensor) else slots_of(kind)


def _parts_of_function(function: FunctionType) -> Parts:
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        yield f"<{name}>", cell
    yield " (its defaults)", function.__defaults__
    yield " (its defaults)", function.__kwdefaults__
    yield " (its attributes)", vars(function)


def classes_of(kind: type) -> list[type]:
    """Return a class and those it inherits from, as far as they are the user's."""
    return [each for each in kind.__mro__ if not is_left_alone(each)]


_PARTS: ByKind[Callable[[Any], Parts]] = ByKind(
    [
        (type, _parts_of_class),
        (dict, _parts_of_mapping),
        (tuple | list | set | frozenset | deque, _parts_of_collection),
        (np.ndarray, _parts_of_array),
        (FunctionType, _parts_of_function),
        (MethodType, _parts_of_method),
        (BuiltinFunctionType, _parts_of_builtin_method),
        (partial, _parts_of_partial),
        (CellType, _parts_of_cell),
        (GeneratorType, _parts_of_generator),
        (DataLoader, _parts_of_loader),
        (_OPAQUE, _parts_of_opaque),
    ]
)
