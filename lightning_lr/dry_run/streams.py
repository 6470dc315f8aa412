"""Streams that can be read only once, which a dry run must not read: found wherever the loaders hold them."""

import gc
from collections import deque
from collections.abc import Iterable, Iterator
from functools import partial
from inspect import isgenerator
from io import IOBase
from itertools import islice
from multiprocessing.queues import Queue as ProcessQueue
from operator import length_hint
from queue import Queue, SimpleQueue
from types import FunctionType
from typing import Any

import numpy as np
import torch
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor
from torch.utils.data import IterableDataset

from lightning_lr.dry_run.snapshot.parts import ITERATORS, is_left_alone, parts_of
from lightning_lr.dry_run.snapshot.watches import Watch, watches_of
from lightning_lr.fit.internals import batches_taken
from lightning_lr.fit.lightnings import MisconfigurationException

__all__ = ["LIVE", "ReadOnceError", "Streams"]

LIVE = (
    "Use `LRRangeTest(live=True, min_lr=..., max_lr=...)`, which ramps the LR over the first real batches"
    " instead."
)
# So many objects of the loaders are looked at, and so many of one collection.
_MOST_OBJECTS = 20_000
_MOST_PARTS = 1_000
_QUEUES = (Queue, SimpleQueue, ProcessQueue)


class ReadOnceError(MisconfigurationException):
    """A loader reads a stream whose batches would be lost."""


class Streams:
    """Watches the iterators, queues and files that loaders read, as far as a snapshot cannot put them back.

    An iterator that a loader holds need not be what it reads: it may be left from an epoch before, and be
    replaced by a new one. So most of them are only refused when the first batch has moved them on. Where that
    cannot be seen, the first batch is read twice, and must be the same.

    Args:
        loaders: The loaders of the fit.
        kind: What they are, in messages: train or validation.

    Raises:
        ReadOnceError: One of the loaders can only be read once.
    """

    def __init__(self, loaders: Iterable[Any], kind: str = "train") -> None:
        self._kind = kind
        self._watches: list[tuple[str, Watch]] = []
        self._first: list[bytes] | None = None
        self.may_be_read_once = False
        for loader in loaders:
            for place, thing in _read_directly(loader):
                if _is_of_c(thing) and not isinstance(thing, IOBase):
                    self._refuse(f"`{place}` is a {type(thing).__name__}")
            for place, thing in _held(loader):
                self._add(place, thing)

    def check(self, batch: Any = None) -> None:
        """Raise ReadOnceError if reading has used a stream up, or gives another first batch.

        Args:
            batch: The first batch; None if there has been none.
        """
        for place, watch in self._watches:
            if watch.has_changed():
                self._refuse(f"it reads on in `{place}`")
        if self.may_be_read_once:
            now = [] if batch is None else _contents(batch)
            if self._first is not None and now != self._first:
                self._refuse("read again from the start, it gives another first batch")
            self._first = now

    def _add(self, place: str, thing: Any) -> None:
        if isinstance(thing, IOBase):
            if not _can_seek(thing):
                self._refuse(f"`{place}` cannot be read again")
        elif isinstance(thing, _QUEUES):
            self.may_be_read_once = True
            self._watches.append((place, Watch(partial(_waiting, thing))))
        elif batches_taken(thing) is not None:
            self._watches.append((place, Watch(partial(batches_taken, thing))))
        elif isinstance(thing, Iterator):
            self._add_iterator(place, thing)

    def _add_iterator(self, place: str, iterator: Any) -> None:
        if isgenerator(iterator):
            self._watches += [(place, watch) for watch in watches_of(iterator)]
        elif not _is_of_c(iterator):
            # It may well begin again.
            self.may_be_read_once = True
        elif hasattr(iterator, "__setstate__") and isinstance(iterator, ITERATORS):
            # Can be put back as long as it has not come to its end.
            self._watches.append((place, Watch(lambda: length_hint(iterator) == 0, "it has ended")))
        elif hasattr(iterator, "__length_hint__"):
            self._watches.append((place, Watch(partial(length_hint, iterator))))
        elif not _reads_others(iterator):
            self._refuse(f"`{place}` is a {type(iterator).__name__}")

    def _refuse(self, why: str) -> None:
        begin_again = "Give the validation a loader that begins again, or judge by `LRSearch(score='train')`."
        way_out = LIVE if self._kind == "train" else begin_again
        raise ReadOnceError(
            f"The {self._kind} loader is a stream that can be read only once: {why}, so batches of a"
            f" rehearsal would be lost. {way_out}"
        )


def _read_directly(loader: Any) -> Iterator[tuple[str, Any]]:
    name, dataset = type(loader).__name__, getattr(loader, "dataset", None)
    yield name, loader
    yield f"{name}.dataset", dataset
    if isinstance(dataset, IterableDataset):
        yield from ((f"{name}.dataset.{attribute}", value) for attribute, value in vars(dataset).items())


def _held(loader: Any) -> Iterator[tuple[str, Any]]:
    """Yield what a loader holds, with the way to it, the nearest first."""
    waiting = deque([(type(loader).__name__, loader)])
    seen: dict[int, Any] = {}
    while waiting and len(seen) < _MOST_OBJECTS:
        place, thing = waiting.popleft()
        if id(thing) in seen:
            continue
        seen[id(thing)] = thing
        yield place, thing
        parts = ((text, part) for text, part in _parts(thing) if _matters(part))
        waiting += [(place + text, part) for text, part in islice(parts, _MOST_PARTS)]


def _matters(part: Any) -> bool:
    return isinstance(part, (Iterator, *_QUEUES)) or not is_left_alone(part)


def _parts(thing: Any) -> Iterator[tuple[str, Any]]:
    if _reads_others(thing):
        # `zip`, `islice` and the like do not tell otherwise what they read.
        yield from (("", part) for part in gc.get_referents(thing))
    elif not is_left_alone(thing):
        yield from parts_of(thing)


def _is_of_c(thing: Any) -> bool:
    """Tell whether it is an iterator that is not written in Python, so that it cannot begin again."""
    return isinstance(thing, Iterator) and not isinstance(type(thing).__next__, FunctionType)


def _reads_others(thing: Any) -> bool:
    """Tell whether it is one of Python's own iterators over other iterators."""
    if isgenerator(thing) or isinstance(thing, ITERATORS) or not _is_of_c(thing):
        return False
    return type(thing).__module__ in ("builtins", "itertools")


def _waiting(items: Any) -> object:
    """Return what waits in a queue: how much, or which items, since others may have come by now."""
    return [id(item) for item in items.queue] if isinstance(items, Queue) else items.qsize()


def _can_seek(file: IOBase) -> bool:
    try:
        return file.closed or file.seekable()
    except (OSError, ValueError):
        return False


def _contents(batch: Any) -> list[bytes]:
    found = list[bytes]()
    kinds = (Tensor, np.ndarray, int, float, str, bytes)
    apply_to_collection(batch, kinds, lambda leaf: found.append(_content(leaf)))
    return found


def _content(leaf: Tensor | np.ndarray[Any, Any] | float | str | bytes) -> bytes:
    if isinstance(leaf, Tensor):
        leaf = leaf.detach().cpu()
        if leaf.layout != torch.strided:
            return b""
        return leaf.contiguous().view(-1).view(torch.uint8).numpy().tobytes()
    if isinstance(leaf, np.ndarray):
        return b"" if leaf.dtype.hasobject else leaf.tobytes()
    return repr(leaf).encode()
