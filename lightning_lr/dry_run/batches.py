"""Batches from copies of the run's loaders, whose own iterators, workers and order stay untouched."""

import copy
import math
from collections.abc import Generator, Iterator
from itertools import islice
from typing import Any

from torch.utils.data import BatchSampler, DataLoader, IterableDataset

from lightning_lr.dry_run.streams import Streams
from lightning_lr.fit.internals import is_sequential, private_copy, train_loaders, validation_loaders
from lightning_lr.fit.lightnings import CombinedLoader, MisconfigurationException, Trainer

__all__ = ["endless_batches", "spread_batches"]


def endless_batches(trainer: Trainer, streams: Streams) -> Generator[tuple[int, Any], None, None]:
    """Yield numbered training batches from the start of the loaders, those of one epoch again and again.

    Raises:
        MisconfigurationException: The loaders have no batches, or can be read only once.
    """
    loader = _private_copy_of_all(train_loaders(trainer))
    most = trainer.num_training_batches
    limit = None if math.isinf(most) else int(most)
    index = 0
    try:
        while True:
            start = index
            # No more than the fit reads: some loaders go on for ever, or raise where they have ended.
            for batch, _, _ in islice(loader, limit):
                if index == 0:
                    streams.check(batch)
                yield index, batch
                index += 1
            if index == start:
                streams.check()
                raise MisconfigurationException(
                    "The train loader has no batches: there is nothing to rehearse."
                )
    finally:
        loader.reset()


def spread_batches(trainer: Trainer, batches: int) -> list[tuple[int, int, Any]]:
    """Return a few validation batches of every loader, of samples from all over its data.

    A validation set is often sorted, by class for example, so its first batches say little. Where the
    loader is a stream or has a batch sampler of its own, whole batches are taken as they come.

    Args:
        trainer: The Trainer of the running fit.
        batches: How many of each loader, at most.

    Returns:
        For each batch the number of its loader, its number there, and the batch; none where the fit does
        not validate.

    Raises:
        ReadOnceError: A loader can be read only once.
    """
    combined = validation_loaders(trainer)
    if combined is None:
        return []
    streams = Streams(combined.flattened, "validation")
    found = _read_spread(trainer, combined, batches)
    streams.check(found)
    if streams.may_be_read_once:
        streams.check(_read_spread(trainer, combined, batches))
    return found


def _read_spread(trainer: Trainer, combined: CombinedLoader, batches: int) -> list[tuple[int, int, Any]]:
    if not is_sequential(trainer):
        every = ((0, index, batch) for batch, index, _ in _private_copy_of_all(combined))
        return list(islice(every, batches))
    loaders = zip(combined.flattened, trainer.num_val_batches, strict=True)
    return [
        (number, index, batch)
        for number, (loader, limit) in enumerate(loaders)
        for index, batch in enumerate(_spread(loader, limit, min(batches, limit)))
    ]


def _private_copy_of_all(combined: CombinedLoader) -> CombinedLoader:
    loader = copy.copy(combined)
    loader.flattened = [private_copy(each) for each in loader.flattened]
    return loader


def _spread(loader: Any, limit: float, wanted: float) -> Iterator[Any]:
    loader = private_copy(loader)
    sampler = loader.batch_sampler if isinstance(loader, DataLoader) else None
    if type(sampler) is BatchSampler and not isinstance(loader.dataset, IterableDataset):
        indices = [index for batch in islice(sampler, int(limit)) for index in batch]
        size, count = sampler.batch_size, min(len(indices), int(wanted) * sampler.batch_size)
        chosen = [indices[place * len(indices) // count] for place in range(count)]
        # Not by `setattr`, which a loader refuses. It is the user's loader still, with its own `__iter__`.
        vars(loader)["batch_sampler"] = [chosen[start : start + size] for start in range(0, count, size)]
        vars(loader)["num_workers"] = min(loader.num_workers, int(wanted))
    return islice(loader, int(wanted))
