"""What is looked at once everything has been put back: whether it is still what it was before the test."""

import random
import warnings
from collections.abc import Callable
from functools import partial
from inspect import isgenerator
from multiprocessing.managers import BaseProxy
from multiprocessing.queues import Queue
from operator import length_hint
from queue import SimpleQueue
from typing import Any

import numpy as np
import torch
from typing_extensions import override

from lightning_lr.dry_run.snapshot.parts import (
    GENERATORS,
    ITERATORS,
    MEMOIZED,
    OTHER_ITERATORS,
    ByKind,
    locals_of,
    referents_of,
)

__all__ = ["Watch", "digest", "watches_of"]

# So many elements of a large array are compared.
_SAMPLED = 4096
_READ_ON = "it has been read on, which cannot be taken back"


class Watch:
    """Compares what a look at something gives with what it gave at first.

    Args:
        look: Returns a value that can be compared.
        changed: What to say if it is another one; sizes, which are whole numbers, are told by themselves.

    Attributes:
        is_blind: Whether the first look has failed, so that nothing can be compared.
    """

    def __init__(self, look: Callable[[], object], changed: str = "") -> None:
        self._look = look
        self._changed = changed
        self.is_blind, self._before = False, None
        try:
            self._before = look()
        except Exception:  # noqa: BLE001 (queues of macOS do not tell their size, for one)
            self.is_blind = True

    def has_changed(self) -> bool:
        """Tell whether it is no longer what it was."""
        return self._now() != self._before

    def difference(self) -> str:
        """Return what has changed, in words; empty if nothing has."""
        now = self._now()
        if self.is_blind or now == self._before:
            return ""
        if self._changed or not (isinstance(now, int) and isinstance(self._before, int)):
            return self._changed or f"{self._before} before the test, {now} after it"
        more = now - self._before
        return f"{abs(more)} entries {'more' if more > 0 else 'less'} than before the test"

    def _now(self) -> object:
        try:
            return self._look()
        except Exception as error:  # noqa: BLE001 (it could be looked at before)
            return f"{type(error).__name__}: {error}"


def watches_of(thing: Any) -> list[Watch]:
    """Return what watches an object, of those that tell how they are."""
    make = _MAKERS.of(thing)
    return make(thing) if make else []


def digest(array: Any) -> int:
    """Return a number that is another one if a sample of an array changes."""
    step = max(1, array.size // _SAMPLED)
    return hash(np.ascontiguousarray(array.reshape(-1)[::step]).tobytes())


def _members_of(kind: type) -> int:
    return sum(not name.startswith("__") for name in vars(kind))


def _state_of(generator: Any) -> object:
    if isinstance(generator, torch.Generator):
        return generator.get_state().numpy().tobytes()
    if isinstance(generator, random.Random):
        return hash(generator.getstate())
    if isinstance(generator, np.random.Generator):
        generator = generator.bit_generator
    state = generator.state if isinstance(generator, np.random.BitGenerator) else generator.get_state()
    with np.printoptions(threshold=10_000):
        return repr(state)


class _Itself:
    """Equals only what holds the very same object."""

    def __init__(self, thing: object) -> None:
        self._thing = thing

    @override
    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Itself) and other._thing is self._thing

    __hash__ = None  # type: ignore[assignment]


def _position_of(iterator: Any, within: tuple[object, ...] = ()) -> object:
    """Return what tells how far an iterator has come; `within` are the generators that read it."""
    if isgenerator(iterator):
        return _frame_of(iterator, (*within, iterator))
    if (left := length_hint(iterator, -1)) >= 0:
        return left
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Those of itertools tell no more from 3.14 on.
        _, *state = iterator.__reduce__()
    return _flat(state, within)


def _flat(state: object, within: tuple[object, ...]) -> object:
    if isinstance(state, tuple | list):
        return [_flat(each, within) for each in state]
    if isinstance(state, ITERATORS + OTHER_ITERATORS):
        return _position_of(state, within)
    return state if isinstance(state, int) else None


def _frame_of(generator: Any, within: tuple[object, ...]) -> object:
    if generator.gi_frame is None:
        return None
    # One that goes round a loop is at the same place again; its variables hold other objects by then.
    variables = [(name, _Itself(value)) for name, value in locals_of(generator).items()]
    read = [
        (_Itself(each), _position_of(each, within))
        for each in referents_of(generator)
        if isinstance(each, ITERATORS + OTHER_ITERATORS) and not any(each is outer for outer in within)
    ]
    return generator.gi_frame.f_lasti, variables, read


_MAKERS: ByKind[Callable[[Any], list[Watch]]] = ByKind(
    [
        (Queue | SimpleQueue, lambda queue: [Watch(queue.qsize)]),
        (BaseProxy, lambda proxy: [Watch(lambda: hash(str(proxy)), "it has changed")]),
        (ITERATORS + OTHER_ITERATORS, lambda iterator: [Watch(partial(_position_of, iterator), _READ_ON)]),
        (MEMOIZED, lambda function: [Watch(lambda: function.cache_info().currsize)]),
        (GENERATORS, lambda generator: [Watch(partial(_state_of, generator), "its state is another one")]),
        (type, lambda kind: [Watch(partial(_members_of, kind))]),
    ]
)
