"""All that training steps can change, found from what the fit holds, kept in memory and put back exactly.

Put back in place: other code holds on to the same tensors, lists and generators, and must find in them what
it left there. What cannot be put back is watched, see `watches`.
"""

import gc
import random
from collections import deque
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

from lightning_lr.dry_run.snapshot.parts import classes_of, globals_of, is_left_alone, parts_of
from lightning_lr.dry_run.snapshot.restores import Restore, refill, restores_of
from lightning_lr.dry_run.snapshot.watches import Watch, digest, watches_of, watches_of_class
from lightning_lr.fit.internals import tensor_hooks, tensor_version

__all__ = ["PutBackError", "Snapshot", "tensor_bytes"]

# The walk ends after so many objects, of one collection after fewer, and copies so many bytes of what data
# sets hold; beyond, it says so.
_MOST_OBJECTS, _MOST_PARTS, _MOST_LIMITS = 50_000, 10_000, 5
_MOST_BYTES = 256 * 2**20


class PutBackError(RuntimeError):
    """Some parts could not be put back; all others were."""


class _Place(NamedTuple):
    """Where an object was found."""

    text: str
    parent: "_Place | None" = None

    @override
    def __str__(self) -> str:
        return f"{self.parent or ''}{self.text}"


class Snapshot:
    """Remembers objects and all that they hold, and puts them back as often as wanted.

    Args:
        device: Where copies of tensors are kept; None to keep each on its own device.
        most_objects: How many objects to follow, at most.
        most_bytes: How many bytes of data sets to copy, at most.

    Attributes:
        limits: What was not followed, in words.

    Example:
        >>> model = torch.nn.Linear(1, 1)
        >>> snapshot = Snapshot()
        >>> snapshot.add(model, "model")
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
        most_objects: int = _MOST_OBJECTS,
        most_bytes: int = _MOST_BYTES,
    ) -> None:
        self._device = device
        self._objects_left = most_objects
        self._bytes_left = most_bytes
        self._restores: list[tuple[_Place, Restore]] = []
        self._watches: list[tuple[_Place, Watch]] = []
        self._seen: dict[int, object] = {}
        self._queue: deque[tuple[Any, _Place, bool]] = deque()
        self._kinds: set[type] = set()
        self._variables: set[tuple[int, str]] = set()
        self.limits: list[str] = []

    def add(self, thing: object, name: str = "", *, is_data: bool = False) -> None:
        """Remember an object and what it holds.

        Args:
            thing: The object.
            name: Its name in messages.
            is_data: Whether it may hold much data: large tensors and arrays in it are then not copied.
        """
        self._queue.append((thing, _Place(name), is_data))
        collects = gc.isenabled()
        # Of all that is made here nothing is garbage, and to look for it takes longer than the walk.
        gc.disable()
        try:
            while self._queue:
                part, place, of_data = self._queue.popleft()
                self._visit(part, place, is_data=of_data)
        finally:
            if collects:
                gc.enable()

    def add_tensors(self, tensors: Iterable[Tensor]) -> None:
        """Remember the contents of tensors, and nothing else."""
        for tensor in tensors:
            if self._is_new(tensor):
                self._restores.append((_Place("a tensor"), self._content(tensor)))

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
        """Return what is no longer as it was and cannot be put back, each with its place."""
        found = ((place, watch.difference()) for place, watch in self._watches)
        return [f"`{place}`: {difference}" for place, difference in found if difference]

    def _is_new(self, thing: object) -> bool:
        if id(thing) in self._seen:
            return False
        # Held, so that no other object gets its id.
        self._seen[id(thing)] = thing
        return True

    def _visit(self, thing: Any, place: _Place, *, is_data: bool) -> None:
        if is_left_alone(thing) or not self._is_new(thing):
            return
        self._objects_left -= 1
        is_data = is_data or isinstance(thing, Dataset)
        self._restores += [(place, each) for each in self._restores_of(thing, place, is_data=is_data)]
        self._watches += [(place, watch) for watch in watches_of(thing)]
        if isinstance(thing, FunctionType):
            self._follow_globals(thing)
        if type(thing) not in self._kinds:
            self._kinds.add(type(thing))
            self._watch_classes(type(thing))
        self._follow(thing, place, is_data=is_data)

    def _follow(self, thing: Any, place: _Place, *, is_data: bool) -> None:
        followed = 0
        for text, part in parts_of(thing):
            if not is_left_alone(part):
                followed += 1
                if followed > _MOST_PARTS or len(self._queue) >= self._objects_left:
                    self._stop_at(_Place(text, place))
                    break
                self._queue.append((part, _Place(text, place), is_data))

    def _stop_at(self, place: _Place) -> None:
        if len(self.limits) < _MOST_LIMITS:
            self.limits.append(f"So many objects are held that from `{place}` on they are not followed")

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
            self._watches.append((place, Watch(partial(tensor_version, tensor), "its contents have changed")))
            return []
        found = [self._content(tensor)]
        before = {name: dict(hooks or {}) for name, hooks in tensor_hooks(tensor).items()}

        def put_hooks_back() -> None:
            for name, hooks in tensor_hooks(tensor).items():
                if hooks is not None:
                    refill(hooks, before[name])

        found.append(put_hooks_back)
        if tensor.is_leaf:
            found += self._restores_of_leaf(tensor)
        return found

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
            self._watches.append((place, Watch(partial(digest, array), "its contents have changed")))
            return []
        if not array.flags.writeable:
            return []
        kept = array.copy()

        def put_back() -> None:
            if array.shape != kept.shape:
                array.resize(kept.shape, refcheck=False)
            np.copyto(array, kept)

        return [put_back]

    def _restores_of_file(self, file: Any, place: _Place) -> list[Restore]:
        try:
            if file.closed or not file.seekable():
                return []
            position = file.tell()
        except (OSError, ValueError):
            self.limits.append(f"The position in the open file `{place}` cannot be read")
            return []
        return [partial(file.seek, position)]

    def _can_copy(self, size: int) -> bool:
        if size > self._bytes_left:
            return False
        self._bytes_left -= size
        return True

    def _content(self, tensor: Tensor) -> Restore:
        kept = self._copy(_writable(tensor))

        def restore() -> None:
            # A metric that a validation updated holds tensors that only inference mode may write.
            with torch.inference_mode() if tensor.is_inference() else torch.no_grad():
                # Looked up anew, since the storage may be another by now.
                target = _writable(tensor)
                if target.shape == kept.shape:
                    target.copy_(kept)
                else:
                    # Resized in place.
                    tensor.data = kept.to(tensor.device, copy=True)

        return restore

    def _copy(self, tensor: Tensor) -> Tensor:
        return tensor.detach().to(device=self._device or tensor.device, copy=True)

    def _follow_globals(self, function: FunctionType) -> None:
        variables = function.__globals__
        place = _Place(f"{function.__module__}.")
        for name, value in globals_of(function).items():
            if (id(variables), name) in self._variables:
                continue
            self._variables.add((id(variables), name))
            if _is_number_or_text(value):
                self._restores.append((_Place(name, place), partial(variables.__setitem__, name, value)))
            else:
                self._queue.append((value, _Place(name, place), True))

    def _watch_classes(self, kind: type) -> None:
        for each in classes_of(kind):
            if not self._is_new(each):
                continue
            for name, watch in watches_of_class(each):
                self._watches.append((_Place(f".{name}", _Place(each.__qualname__)), watch))
            for member in vars(each).values():
                function = getattr(member, "__func__", getattr(member, "fget", member))
                if isinstance(function, FunctionType) and not is_left_alone(function):
                    self._queue.append((function, _Place(function.__qualname__), True))


def tensor_bytes(things: Iterable[Tensor]) -> int:
    """Return the size of all tensors in bytes, on this rank."""
    return sum(_writable(tensor).nbytes for tensor in things)


def _writable(tensor: Tensor) -> Tensor:
    """Return a view of all distinct elements that are on this rank."""
    # A DTensor's shard is compared and copied as the plain tensor it is.
    local: Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    local = local.detach()
    if local.layout != torch.strided:
        return local
    return local[tuple(slice(0, 1) if stride == 0 else slice(None) for stride in local.stride())]


def _error_of(restore: Restore) -> Exception | None:
    """Put something back, and return what it raised: all others must be put back all the same."""
    try:
        restore()
    except Exception as error:  # noqa: BLE001 (collected, and raised at the end)
        return error
    return None


def _is_number_or_text(value: object) -> bool:
    return value is None or isinstance(value, int | float | str)
