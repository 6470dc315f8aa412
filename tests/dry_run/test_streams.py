"""Loaders that can be read only once are refused wherever the stream lies; those that begin again are not."""

import csv
import io
import itertools
import queue
import threading

import pytest
import torch
from helpers.dry_run import Rehearse
from helpers.toy import Notes, Toy, trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch.utils.data import ChainDataset, DataLoader, Dataset, IterableDataset

from lightning_lr import LRSearch


def batch_of(number):
    return torch.ones(4, 4) * (1 + number % 3), torch.full((4, 1), float(number % 7))


def lines(batches=200):
    for number in range(batches):
        yield batch_of(number)


class Reads(IterableDataset):
    """Reads on in whatever it is given."""

    def __init__(self, source):
        self.source = source

    def __iter__(self):
        yield from self.source() if callable(self.source) else self.source


class Holder:
    def __init__(self, thing):
        self.thing = thing

    def __iter__(self):
        return iter(self.thing)


class Taking(Dataset):
    """Each item is the next one of a stream, whatever its index."""

    def __init__(self, stream):
        self.stream = stream

    def __len__(self):
        return 60

    def __getitem__(self, index):
        return next(self.stream)


class Endless:
    """A loader that goes on and on with the iterator that it keeps."""

    def __init__(self):
        self.loader = DataLoader(Reads(lines), batch_size=None)
        self.iterator = iter(self.loader)

    def __iter__(self):
        return self

    def __next__(self):
        try:
            return next(self.iterator)
        except StopIteration:
            self.iterator = iter(self.loader)
            return next(self.iterator)


class Opaque:
    """An iterator written in Python that keeps its place where nobody looks."""

    def __init__(self):
        self.place = Notes()
        self.place.number = 0

    def __iter__(self):
        return self

    def __next__(self):
        self.place.number += 1
        return batch_of(self.place.number)


def fed():
    """Return a queue that another thread fills."""
    items = queue.Queue(3)

    def fill():
        for number in itertools.count():
            items.put(batch_of(number))

    threading.Thread(target=fill, daemon=True).start()
    return items


def table():
    rows = csv.reader(io.StringIO("\n".join(str(number) for number in range(200))))
    return lambda: (batch_of(int(row[0])) for row in rows)


def giving(stream):
    return lambda: stream


def taking_from(items):
    return lambda: iter(items.get, None)


def numbering(numbers):
    return lambda batch: (batch, next(numbers))[0]


def rounds(batches):
    """Goes round and round, so that it is always at the same place in its code."""
    while True:
        for batch in batches:  # noqa: UP028 (what people write)
            yield batch


def rounds_without_variables(batches):
    while True:
        yield from batches


def taken_from(items):
    while True:
        yield items.get()


def loader_of(dataset, **kwargs):
    return DataLoader(dataset, **{"batch_size": None} | kwargs)


def held_by_loader(generator):
    """Return a loader over a generator that has been read from before."""
    next(generator)
    return loader_of(Reads(Holder(generator)))


BATCHES = [batch_of(number) for number in range(5)]


READ_ONCE = {
    "generator": lambda: loader_of(Reads(lines())),
    "begun": lambda: held_by_loader(rounds(BATCHES)),
    "begun, without variables": lambda: held_by_loader(rounds_without_variables(BATCHES)),
    "begun, over another": lambda: held_by_loader(rounds_without_variables(rounds(BATCHES[:1] * 5))),
    "begun, with a queue": lambda: held_by_loader(taken_from(fed())),
    "in a chain": lambda: loader_of(ChainDataset([Reads(Holder(lines()))])),
    "in wrappers": lambda: loader_of(Reads(Holder(Holder([lines()][0])))),
    "map": lambda: loader_of(Reads(Holder(map(Holder, itertools.chain(lines()))))),
    "zip": lambda: loader_of(Reads(Holder(zip(lines(), itertools.count())))),
    "islice": lambda: loader_of(Reads(Holder(itertools.islice(lines(), 90)))),
    "items of a dict": lambda: loader_of(Reads(Holder(iter({n: batch_of(n) for n in range(90)}.values())))),
    "closure": lambda: loader_of(Reads(giving(lines()))),
    "items": lambda: DataLoader(Taking(lines()), batch_size=None),
    "kept iterator": Endless,
    "opaque iterator": Opaque,
    "queue": lambda: loader_of(Reads(iter(fed().get, None))),
    "queue in a function": lambda: loader_of(Reads(taking_from(fed()))),
    "table": lambda: loader_of(Reads(table())),
}


class Begins:
    """A stream with `__next__` that begins again at each `iter`, as those of litdata do."""

    def __iter__(self):
        self.stream = lines()
        return self

    def __next__(self):
        return next(self.stream)

    def __len__(self):
        return 200


class Counts:
    """An iterator that counts in an attribute."""

    def __init__(self):
        self.number = 0

    def __iter__(self):
        return self

    def __next__(self):
        self.number += 1
        if self.number > 200:
            raise StopIteration
        return batch_of(self.number)


class Stale(IterableDataset):
    """Keeps the iterator of the epoch before, and replaces it."""

    def __init__(self):
        self.cache = {}
        for _ in zip(self, range(3)):  # noqa: B905
            pass

    def __iter__(self):
        self.cache["iterator"] = lines()
        return self.cache["iterator"]


READ_AGAIN = {
    "function": lambda: loader_of(Reads(lines)),
    "begins again": Begins,
    "begins again, in a loader": lambda: loader_of(Reads(Begins())),
    "counts": Counts,
    "stale": lambda: loader_of(Stale()),
    "list": lambda: loader_of(Reads([batch_of(number) for number in range(90)])),
    "workers": lambda: loader_of(Reads(lines), num_workers=1),
    "a numbering collate_fn": lambda: loader_of(Reads(lines), collate_fn=numbering(itertools.count())),
}


class Streamed(Toy):
    def __init__(self, make, make_validation=None):
        super().__init__()
        self.loaders = Notes()
        self.loaders.make, self.loaders.make_validation = make, make_validation
        self.batches_seen = Notes()
        self.batches_seen.targets = []

    def training_step(self, batch, batch_idx):
        self.batches_seen.targets.append(int(batch[1][0, 0]))
        return super().training_step(batch, batch_idx)

    def train_dataloader(self):
        return self.loaders.make()

    def val_dataloader(self):
        return self.loaders.make_validation() if self.loaders.make_validation else super().val_dataloader()


@pytest.mark.parametrize("name", READ_ONCE)
def test_a_stream_that_is_read_once_is_refused_before_a_step(name):
    module = Streamed(READ_ONCE[name])
    with pytest.raises(MisconfigurationException, match=r"can be read only once.*live=True"):
        trainer(Rehearse(), max_steps=20).fit(module)
    assert not module.batches_seen.targets


@pytest.mark.parametrize("name", READ_AGAIN)
def test_a_stream_that_begins_again_is_taken(name):
    module, rehearse = Streamed(READ_AGAIN[name]), Rehearse()
    trainer(rehearse, max_steps=20).fit(module)
    plain = Streamed(READ_AGAIN[name])
    trainer(max_steps=20).fit(plain)
    assert module.batches_seen.targets[-20:] == plain.batches_seen.targets


@pytest.mark.parametrize("name", ["generator", "kept iterator", "opaque iterator", "queue"])
def test_a_validation_loader_that_is_read_once_is_refused(name):
    module = Streamed(lambda: loader_of(Reads(lines)), READ_ONCE[name])
    search = LRSearch(1e-3, 1.0, budget=100)
    with pytest.raises(MisconfigurationException, match="The validation loader is a stream"):
        trainer(search, max_steps=20, limit_val_batches=5, num_sanity_val_steps=0).fit(module)


class Doubled(DataLoader):
    """Does its work where it is iterated over, as many subclasses do."""

    def __iter__(self):
        for features, targets in super().__iter__():
            yield features, 100 + 0 * targets


def test_a_search_judges_on_what_the_users_own_loader_gives():
    seen = []

    class Looks(Streamed):
        def validation_step(self, batch, batch_idx):
            self.batches_seen.targets.append(batch[1].unique().tolist())
            return super().validation_step(batch, batch_idx)

    data = torch.utils.data.TensorDataset(torch.ones(64, 4), torch.arange(64.0).reshape(-1, 1))
    module = Looks(lambda: loader_of(Reads(lines)), lambda: Doubled(data, 8))
    trainer(LRSearch(1e-3, 1.0, budget=100), max_steps=3, num_sanity_val_steps=0).fit(module)
    seen = [targets for targets in module.batches_seen.targets if isinstance(targets, list)]
    assert seen
    assert all(targets == [100.0] for targets in seen)
