"""Everything that training steps can change, kept in memory and put back exactly.

Put back in place: other code holds on to the same tensors, lists and generators, and must find in them what
it left there.
"""

import random
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable
from functools import partial
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["Snapshot", "tensor_bytes"]

Restore = Callable[[], object]

# Objects of the user's own classes are followed this far in search of random number generators.
_SEARCH_DEPTH = 4
_SEARCH_WIDTH = 64


class Snapshot:
    """Remembers objects, and puts them back into the state they were in, as often as wanted.

    Args:
        device: Where copies of tensors are kept; None to keep each on its own device.

    Example:
        >>> model = nn.Linear(1, 1)
        >>> snapshot = Snapshot()
        >>> snapshot.add(model)
        >>> weight = model.weight.item()
        >>> with torch.no_grad():
        ...     _ = model.weight.fill_(7.0)
        >>> model.extra = "new"
        >>> snapshot.restore()
        >>> model.weight.item() == weight, hasattr(model, "extra")
        (True, False)
    """

    def __init__(self, device: torch.device | None = None) -> None:
        self._device = device
        self._restores: list[Restore] = []
        self._seen: dict[int, object] = {}

    def restore(self) -> None:
        """Put everything back; to do so again is harmless."""
        for restore in self._restores:
            restore()

    def add_module(self, root: nn.Module) -> None:
        """Remember a module with all its submodules, parameters, buffers, gradients and attributes.

        Non-persistent buffers, metric states and counters are attributes like others. Of an object of another
        class only the reference is remembered, not what is in it.
        """
        for module in root.modules():
            self.add(module)
        for parameter in root.parameters():
            self._add_gradient(parameter)

    def add_tensors(self, tensors: Iterable[Tensor]) -> None:
        """Remember the contents of tensors."""
        for tensor in tensors:
            self._add_value(tensor)

    def add(self, thing: object) -> None:
        """Remember the attributes of an object and the contents of those that are plain data."""
        if self._is_new(thing):
            attributes = vars(thing)
            self._add_mapping(attributes)

    def add_references(self, thing: object, *, depth: int = _SEARCH_DEPTH) -> None:
        """Remember an object that may hold much data: its attributes as they are bound, and its generators.

        Generators are also found in what it holds, through objects of any class but modules.

        Args:
            thing: The object.
            depth: How many objects deep to look.
        """
        if isinstance(thing, _GENERATORS):
            self._add_value(thing)
        elif isinstance(thing, list | tuple):
            for part in thing[:_SEARCH_WIDTH]:
                self.add_references(part, depth=depth)
        elif depth and _has_attributes(thing) and self._is_new(thing):
            attributes, items = vars(thing), dict(vars(thing))
            self._restores.append(lambda: _refill(attributes, items))
            for part in items.values():
                self.add_references(part, depth=depth - 1)

    def ignore(self, thing: object) -> None:
        """Leave an object alone, wherever it is found."""
        self._is_new(thing)

    def add_global_generators(self) -> None:
        """Remember the generators of torch (on every device), numpy and Python."""
        cpu, cuda = torch.get_rng_state(), torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        legacy, python = np.random.get_state(), random.getstate()  # noqa: NPY002 (others use it)
        self._restores += [
            lambda: torch.set_rng_state(cpu),
            lambda: torch.cuda.set_rng_state_all(cuda),
            lambda: np.random.set_state(legacy),  # noqa: NPY002
            lambda: random.setstate(python),
        ]

    def _is_new(self, thing: object) -> bool:
        if id(thing) in self._seen:
            return False
        # Held, so that no other object gets its id.
        self._seen[id(thing)] = thing
        return True

    def _add_value(self, value: Any) -> None:
        if not (isinstance(value, _CONTENTS) and self._is_new(value)):
            return
        if isinstance(value, Tensor):
            self._add_tensor(value)
        elif isinstance(value, dict):
            # Of a subclass only what it is bound to is kept: it may have rules of its own.
            if type(value) in _MAPPINGS:
                self._add_mapping(value)
        elif type(value) in _COLLECTIONS:
            self._add_collection(value)
        elif isinstance(value, np.ndarray):
            kept = value.copy()
            self._restores.append(lambda: np.copyto(value, kept))
        elif isinstance(value, _GENERATORS):
            self._restores.append(_generator_restore(value))

    def _add_mapping(self, mapping: dict[Any, Any]) -> None:
        items = dict(mapping)
        self._restores.append(lambda: _refill(mapping, items))
        for value in items.values():
            self._add_value(value)

    def _add_collection(self, collection: Any) -> None:
        items = list(collection)
        if not isinstance(collection, tuple):
            self._restores.append(lambda: _replace(collection, items))
        for value in items:
            self._add_value(value)

    def _add_tensor(self, tensor: Tensor) -> None:
        kept = self._copy(_writable(tensor))

        def restore() -> None:
            # A metric that a validation updated holds tensors that only inference mode may write.
            with torch.inference_mode() if tensor.is_inference() else torch.no_grad():
                # Looked up anew, since the storage may be another by now.
                _writable(tensor).copy_(kept)

        self._restores.append(restore)

    def _add_gradient(self, parameter: nn.Parameter) -> None:
        gradient = parameter.grad
        kept = None if gradient is None else self._copy(_writable(gradient))

        def restore() -> None:
            if gradient is not None and kept is not None:
                with torch.no_grad():
                    _writable(gradient).copy_(kept)
            parameter.grad = gradient

        self._restores.append(restore)

    def _copy(self, tensor: Tensor) -> Tensor:
        return tensor.detach().to(device=self._device or tensor.device, copy=True)


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


def _refill(mapping: dict[Any, Any], items: dict[Any, Any]) -> None:
    mapping.clear()
    mapping.update(items)


def _replace(collection: list[Any] | set[Any] | deque[Any], items: list[Any]) -> None:
    collection.clear()
    if isinstance(collection, set):
        collection.update(items)
    else:
        collection.extend(items)


def _has_attributes(thing: object) -> bool:
    return hasattr(thing, "__dict__") and not isinstance(
        thing, nn.Module | Tensor | type | ModuleType | FunctionType
    )


def _generator_restore(generator: Any) -> Restore:
    if isinstance(generator, torch.Generator):
        state = generator.get_state()
        return partial(generator.set_state, state)
    if isinstance(generator, np.random.Generator):
        bits = generator.bit_generator
        bits_state = bits.state
        return lambda: setattr(bits, "state", bits_state)
    if isinstance(generator, np.random.RandomState):
        legacy_state = generator.get_state()
        return lambda: generator.set_state(legacy_state)
    python_state = generator.getstate()
    return lambda: generator.setstate(python_state)


_MAPPINGS = (dict, OrderedDict, defaultdict)
_COLLECTIONS = (list, tuple, set, deque)
_GENERATORS = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)
_CONTENTS = (Tensor, np.ndarray, *_MAPPINGS, *_COLLECTIONS, *_GENERATORS)
