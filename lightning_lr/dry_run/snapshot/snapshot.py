"""All that training steps can change, found from what the fit holds, kept in memory and put back exactly.

Put back in place: other code holds on to the same tensors, lists and generators, and must find in them what
it left there. What cannot be put back is watched, see `watches`.
"""

import gc
import random
import re
from collections import OrderedDict, deque
from collections.abc import Iterable
from functools import partial
from io import IOBase
from types import FunctionType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from typing_extensions import override

from lightning_lr.dry_run.snapshot.kept import (
    Kept,
    KeptArray,
    KeptFile,
    KeptTensor,
    is_standard_stream,
    local_part,
)
from lightning_lr.dry_run.snapshot.parts import classes_of, is_left_alone, is_of_library, parts_of
from lightning_lr.dry_run.snapshot.restores import Restore, refill, restores_of
from lightning_lr.dry_run.snapshot.variables import KeptVariables
from lightning_lr.dry_run.snapshot.watches import Watch, digest, watches_of
from lightning_lr.fit.internals import tensor_hooks, tensor_version
from lightning_lr.fit.objects import is_installed, modules_in, names_in

__all__ = ["MOST_OBJECTS", "MOST_PARTS", "PutBackError", "Root", "Snapshot", "tensor_bytes"]

# The walk goes through what is held, then through the global variables that functions in it name, at last
# through the variables of modules that the user's functions name: the later must not crowd out the earlier.
_HELD, _GLOBAL, _ELSEWHERE = range(3)
# Each of the three ends after so many objects, of one collection after fewer, and all copy so many bytes of
# what data sets hold; beyond, it says so, but not of the last: modules of large libraries have no end.
MOST_OBJECTS, _MOST_ELSEWHERE, MOST_PARTS, _MOST_LIMITS = 50_000, 5_000, 10_000, 5
_MOST_BYTES = 256 * 2**20
_PLAIN = {dict, list, set, OrderedDict}


_OF_MODULES = re.compile(r"\._(?:modules|parameters|buffers)\['(\w+)'\]")


class PutBackError(RuntimeError):
    """Some parts could not be put back; all others were."""


class _Place(NamedTuple):
    """Where an object was found."""

    text: str
    parent: "_Place | None" = None

    @override
    def __str__(self) -> str:
        # `module.net.weight`, as users write it.
        return _OF_MODULES.sub(r".\1", f"{self.parent or ''}{self.text}")


class Root(NamedTuple):
    """An object that the walk begins with.

    Args:
        thing: The object.
        name: Its name in messages.
        is_data: Whether it may hold much data: large tensors and arrays in it are then not copied.
    """

    thing: object
    name: str = ""
    is_data: bool = False


class _Found(NamedTuple):
    """An object that is yet to be looked at, where it was found, and in which part of the walk."""

    thing: Any
    place: _Place
    is_data: bool
    part: int


class Snapshot:
    """Remembers objects and all that they hold, and puts them back as often as wanted.

    Args:
        device: Where copies of tensors are kept; None to keep each on its own device.
        most_objects: How many of the objects to follow that are held, at most.
        most_parts: How many of one collection, at most.
        most_bytes: How many bytes of data sets to copy, at most.

    Attributes:
        limits: What was not followed, in words.

    Example:
        >>> model = torch.nn.Linear(1, 1)
        >>> snapshot = Snapshot()
        >>> snapshot.add(Root(model, "model"))
        >>> weight = model.weight.item()
        >>> with torch.no_grad():
        ...     _ = model.weight.fill_(7.0)
        >>> model.extra = "new"
        >>> snapshot.restore()
        >>> model.weight.item() == weight, hasattr(model, "extra")
        (True, False)
    """

    def __init__(
        self,
        device: torch.device | None = None,
        *,
        most_objects: int = MOST_OBJECTS,
        most_parts: int = MOST_PARTS,
        most_bytes: int = _MOST_BYTES,
    ) -> None:
        self._device = device
        self._objects_left = [most_objects, MOST_OBJECTS, _MOST_ELSEWHERE]
        self._most_parts = most_parts
        self._bytes_left = most_bytes
        self._restores: list[tuple[_Place, Restore]] = [(_Place("what was empty"), self._empty_again)]
        self._watches: list[tuple[_Place, Watch | Kept]] = []
        self._contents: dict[int, KeptTensor] = {}
        self._seen: dict[int, object] = {}
        self._empty: list[Any] = []
        self._queues: list[deque[_Found]] = [deque(), deque(), deque()]
        self._kinds: set[type] = set()
        self._variables: dict[int, KeptVariables] = {}
        self.limits: list[str] = []

    def add(self, *roots: Root) -> None:
        """Remember objects, what they hold, and the variables that functions in them name."""
        self._queues[_HELD] += [_Found(root.thing, _Place(root.name), root.is_data, _HELD) for root in roots]
        collects = gc.isenabled()
        # Of all that is made here nothing is garbage, and to look for it takes longer than the walk.
        gc.disable()
        try:
            while waiting := next(filter(None, self._queues), None):
                self._visit(waiting.popleft())
        finally:
            if collects:
                gc.enable()

    def add_tensors(self, tensors: Iterable[Tensor]) -> None:
        """Remember the contents of tensors, and nothing else."""
        for tensor in tensors:
            if self._is_new(tensor):
                self._keep_tensor(_Place("a tensor"), tensor)

    def ignore(self, thing: object) -> None:
        """Leave an object alone, wherever it is found."""
        self._is_new(thing)

    def add_global_generators(self) -> None:
        """Remember the generators of torch (on every device), numpy and Python."""
        cpu, cuda = torch.get_rng_state(), torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        legacy, python = np.random.get_state(), random.getstate()  # noqa: NPY002 (others use it)
        self._restores += [
            (_Place("torch's generator"), lambda: torch.set_rng_state(cpu)),
            (_Place("torch's generators of the GPUs"), lambda: torch.cuda.set_rng_state_all(cuda)),
            (_Place("numpy's generator"), lambda: np.random.set_state(legacy)),  # noqa: NPY002
            (_Place("Python's generator"), lambda: random.setstate(python)),
        ]

    def has_changed(self, tensor: Tensor | None) -> bool:
        """Tell whether a tensor is not as it was, or was not remembered."""
        kept = self._contents.get(id(tensor))
        return kept is None or bool(kept.difference())

    def restore(self) -> None:
        """Put everything back; to do so again is harmless.

        Raises:
            PutBackError: Which parts could not be put back, and why; all others have been.
        """
        failed = [(place, _error_of(restore)) for place, restore in self._restores]
        problems = [
            f"{place}: {type(error).__name__}: {error}" for place, error in failed if error is not None
        ]
        if problems:
            shown = "; ".join(problems[:5]) + (f"; and {len(problems) - 5} more" if problems[5:] else "")
            raise PutBackError(f"These could not be put back to what they were before the test: {shown}")

    def differences(self) -> list[str]:
        """Return what is not as it was, though everything has been put back, each with its place."""
        found = ((place, watch.difference()) for place, watch in self._watches)
        return [f"`{place}`: {difference}" for place, difference in found if difference]

    def _empty_again(self) -> None:
        for collection in self._empty:
            if collection:
                collection.clear()

    def _is_new(self, thing: object) -> bool:
        if id(thing) in self._seen:
            return False
        # Held, so that no other object gets its id.
        self._seen[id(thing)] = thing
        return True

    def _visit(self, found: _Found) -> None:
        thing, place, is_data, part = found
        if is_left_alone(thing) or not self._is_new(thing):
            return
        if type(thing) in _PLAIN and not thing:
            # Of a module's attributes most are empty.
            self._empty.append(thing)
            return
        self._objects_left[part] -= 1
        is_data = is_data or isinstance(thing, Dataset)
        if issubclass(type(thing), type):
            place = _Place(thing.__qualname__)
        self._restores += [(place, each) for each in self._restores_of(thing, place, is_data=is_data)]
        for watch in watches_of(thing):
            self._watch(place, watch)
        if issubclass(type(thing), FunctionType):
            self._follow_variables(thing, part)
        if type(thing) not in self._kinds:
            self._kinds.add(type(thing))
            self._queues[part] += [_Found(each, place, True, part) for each in classes_of(type(thing))]
        self._follow(found._replace(place=place, is_data=is_data))

    def _watch(self, place: _Place, watch: Watch) -> None:
        if watch.is_blind:
            self._limit(f"What `{place}` holds cannot be looked at")
        else:
            self._watches.append((place, watch))

    def _keep_tensor(self, place: _Place, tensor: Tensor) -> None:
        self._contents[id(tensor)] = kept = KeptTensor(tensor, self._device)
        self._keep(place, kept)

    def _keep(self, place: _Place, kept: Kept) -> None:
        self._restores.append((place, kept.restore))
        self._watches.append((place, kept))

    def _follow(self, found: _Found) -> None:
        followed, waiting = 0, self._queues[found.part]
        for text, thing in parts_of(found.thing):
            if not is_left_alone(thing):
                followed += 1
                where = _Place(text, found.place)
                if followed > self._most_parts or not self._has_room(found.part):
                    self._end(found.part, where)
                    break
                waiting.append(found._replace(thing=thing, place=where))

    def _has_room(self, part: int) -> bool:
        return len(self._queues[part]) < self._objects_left[part]

    def _end(self, part: int, where: _Place) -> None:
        if part != _ELSEWHERE:
            self._limit(f"So many objects are held that from `{where}` on they are not followed")

    def _limit(self, limit: str) -> None:
        if len(self.limits) < _MOST_LIMITS:
            self.limits.append(limit)

    def _restores_of(self, thing: Any, place: _Place, *, is_data: bool) -> list[Restore]:
        """Return what puts an object itself back, without what it holds."""
        if isinstance(thing, Tensor):
            return [*self._restores_of_tensor(thing, place, is_data=is_data), *restores_of(thing)]
        if isinstance(thing, np.ndarray):
            return [*self._restores_of_array(thing, place, is_data=is_data), *restores_of(thing)]
        if isinstance(thing, IOBase):
            return self._restores_of_file(thing, place)
        return restores_of(thing)

    def _restores_of_tensor(self, tensor: Tensor, place: _Place, *, is_data: bool) -> list[Restore]:
        if is_data and not self._can_copy(tensor_bytes([tensor])):
            self._watch(place, Watch(partial(tensor_version, tensor), "its contents have changed"))
            return []
        self._keep_tensor(place, tensor)
        before = {name: dict(hooks or {}) for name, hooks in tensor_hooks(tensor).items()}

        def put_hooks_back() -> None:
            for name, hooks in tensor_hooks(tensor).items():
                if hooks is not None:
                    refill(hooks, before[name])

        return [put_hooks_back, *(self._restores_of_leaf(tensor) if tensor.is_leaf else [])]

    def _restores_of_leaf(self, tensor: Tensor) -> list[Restore]:
        # Not what is in the gradient: a dry run sets it aside.
        gradient, requires = tensor.grad, tensor.requires_grad

        def put_back() -> None:
            if tensor.requires_grad != requires:
                tensor.requires_grad_(requires)
            if tensor.grad is not gradient:
                tensor.grad = gradient

        return [put_back]

    def _restores_of_array(self, array: Any, place: _Place, *, is_data: bool) -> list[Restore]:
        if isinstance(array, np.memmap) or (is_data and not self._can_copy(array.nbytes)):
            self._watch(place, Watch(partial(digest, array), "its contents have changed"))
        elif array.flags.writeable:
            self._keep(place, KeptArray(array))
        return []

    def _restores_of_file(self, file: Any, place: _Place) -> list[Restore]:
        try:
            if not (file.closed or is_standard_stream(file)) and file.seekable():
                self._keep(place, KeptFile(file))
        except (OSError, ValueError):
            self._limit(f"The position in the open file `{place}` cannot be read")
        return []

    def _can_copy(self, size: int) -> bool:
        if size > self._bytes_left:
            return False
        self._bytes_left -= size
        return True

    def _follow_variables(self, function: FunctionType, part: int) -> None:
        names = names_in(function)
        self._keep_variables(function.__module__, function.__globals__, names, max(part, _GLOBAL))
        for module in () if is_installed(function) else modules_in(function, names):
            if not is_of_library(module.__name__):
                self._keep_variables(module.__name__, vars(module), names, _ELSEWHERE)

    def _keep_variables(self, module: str, variables: dict[str, Any], names: set[str], part: int) -> None:
        kept = self._variables.get(id(variables))
        if kept is None:
            self._variables[id(variables)] = kept = KeptVariables(variables)
            self._restores.append((_Place(f"variables of {module}"), kept.restore))
        for name, value in kept.add(names).items():
            where = _Place(f"{module}.{name}")
            if not self._has_room(part):
                self._end(part, where)
                break
            self._queues[part].append(_Found(value, where, True, part))


def tensor_bytes(things: Iterable[Tensor]) -> int:
    """Return the size of all tensors in bytes, on this rank."""
    return sum(local_part(tensor).nbytes for tensor in things)


def _error_of(restore: Restore) -> Exception | None:
    """Put something back, and return what it raised: all others must be put back all the same."""
    try:
        restore()
    except Exception as error:  # noqa: BLE001 (collected, and raised at the end)
        return error
    return None
