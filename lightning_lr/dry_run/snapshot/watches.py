"""What cannot be put back but can be looked at: whether it is still what it was before the test."""

from collections.abc import Callable, Iterator, Sized
from functools import partial
from inspect import isgenerator
from multiprocessing.queues import Queue
from operator import length_hint
from typing import Any

import numpy as np
from torch import Tensor

from lightning_lr.dry_run.snapshot.parts import ITERATORS
from lightning_lr.fit.internals import tensor_version

__all__ = ["Watch", "digest", "watches_of", "watches_of_class"]

# So many elements of a large array are compared.
_SAMPLED = 4096
_READ_ON = "it has been read on, which cannot be taken back"


class Watch:
    """Compares what a look at something gives with what it gave at first.

    Args:
        look: Returns a value that can be compared.
        changed: What to say if it is another one; sizes, which are whole numbers, are told by themselves.
    """

    def __init__(self, look: Callable[[], object], changed: str = "") -> None:
        self._look = look
        self._changed = changed
        self._before = self._now()

    def has_changed(self) -> bool:
        """Tell whether it is no longer what it was."""
        return self._now() != self._before

    def difference(self) -> str:
        """Return what has changed, in words; empty if nothing has."""
        now = self._now()
        if now == self._before:
            return ""
        if self._changed or not (isinstance(now, int) and isinstance(self._before, int)):
            return self._changed or f"{self._before} before the test, {now} after it"
        more = now - self._before
        return f"{abs(more)} entries {'more' if more > 0 else 'less'} than before the test"

    def _now(self) -> object:
        try:
            return self._look()
        except Exception as error:  # noqa: BLE001 (queues of macOS do not tell their size, for one)
            return f"{type(error).__name__}: {error}"


def watches_of(thing: Any) -> list[Watch]:
    """Return what watches an object that a snapshot cannot put back."""
    if isinstance(thing, Queue):
        return [Watch(thing.qsize)]
    if isgenerator(thing):
        return [Watch(partial(_frame_of, thing), _READ_ON)]
    if isinstance(thing, ITERATORS):
        return [Watch(partial(length_hint, thing), _READ_ON)]
    if callable(information := getattr(type(thing), "cache_info", None)):
        return [Watch(lambda: information(thing).currsize)]
    return []


def watches_of_class(kind: type) -> Iterator[tuple[str, Watch]]:
    """Yield the attributes of a class that steps may change, each with its watch."""
    for name, value in vars(kind).items():
        if name.startswith("__") or callable(value) or hasattr(value, "__get__"):
            continue
        if isinstance(value, Tensor):
            yield name, Watch(partial(tensor_version, value), "its contents have changed")
        elif isinstance(value, np.ndarray):
            yield name, Watch(partial(digest, value), "its contents have changed")
        elif isinstance(value, Sized) and not isinstance(value, str | bytes):
            yield name, Watch(partial(len, value))
        yield name, Watch(partial(_named, kind, name))


def digest(array: Any) -> int:
    """Return a number that is another one if a sample of an array changes."""
    step = max(1, array.size // _SAMPLED)
    return hash(np.ascontiguousarray(array.reshape(-1)[::step]).tobytes())


def _frame_of(generator: Any) -> object:
    frame = generator.gi_frame
    if frame is None:
        return None
    numbers = {name: value for name, value in frame.f_locals.items() if isinstance(value, int | float | str)}
    return frame.f_lasti, repr(numbers)


def _named(kind: type, name: str) -> object:
    """Return the value of a class attribute as far as it can be compared."""
    value = getattr(kind, name, None)
    return repr(value) if isinstance(value, int | float | str | None) else id(value)
