"""Code that keeps its state in data sets, samplers, loaders and what they call."""

import copy
import itertools
import multiprocessing
import random
from collections import OrderedDict

import numpy as np
import torch
from torch.utils.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    Subset,
    WeightedRandomSampler,
    default_collate,
)

from helpers.real_code.code import NAMED, Code, case


@case
class WeightedSampler(Code):
    """Weights that steps sharpen, drawn with a generator of their own."""

    def train_dataloader(self):
        data = self.data()
        self.weights = torch.ones(len(data), dtype=torch.double)
        self.source = torch.Generator().manual_seed(2)
        sampler = WeightedRandomSampler(self.weights, len(data), generator=self.source)
        sampler.weights = self.weights
        return DataLoader(data, 8, sampler=sampler)

    def training_step(self, batch, batch_idx):
        self.weights[batch_idx] += 3.0
        return self.loss(batch)

    def state(self):
        return self.weights.tolist(), torch.rand(1, generator=self.source).item()


class Curriculum(Dataset):
    def __init__(self, inner):
        self.inner, self.level, self.served = inner, 0, 0

    def __len__(self):
        return len(self.inner)

    def __getitem__(self, index):
        self.served += 1
        features, target = self.inner[index]
        return features * (1 + 0.01 * self.level), target


@case
class CurriculumInADataset(Code):
    """Steps raise the level of the data set that loaders read in this process."""

    def train_dataloader(self):
        self.curriculum = Curriculum(self.data())
        return DataLoader(Subset(ConcatDataset([self.curriculum]), range(64)), 8, shuffle=True)

    def training_step(self, batch, batch_idx):
        self.curriculum.level += 1
        self.trainer.train_dataloader.dataset.dataset.datasets[0].level += 1
        return self.loss(batch)

    def state(self):
        return self.curriculum.level, self.curriculum.served


class Seeded:
    """A `worker_init_fn` with state."""

    def __init__(self):
        self.calls = []

    def __call__(self, worker):
        self.calls.append(worker)
        np.random.seed(worker)  # noqa: NPY002 (what people write)


@case
class WorkersWithACurriculum(Code):
    def train_dataloader(self):
        self.curriculum, self.seeded = Curriculum(self.data()), Seeded()
        return DataLoader(self.curriculum, 8, num_workers=1, worker_init_fn=self.seeded)

    def training_step(self, batch, batch_idx):
        self.curriculum.level += 1
        return self.loss(batch)

    def state(self):
        return self.curriculum.level, self.curriculum.served, self.seeded.calls


def make_transform(seed, calls):
    source = random.Random(seed)

    def transform(features):
        return features + 0.01 * source.random() + 0.0001 * next(calls)

    transform.source = source
    return transform


class Transformed(Dataset):
    def __init__(self, inner, *transforms):
        self.inner, self.transforms = inner, transforms

    def __len__(self):
        return len(self.inner)

    def __getitem__(self, index):
        features, target = self.inner[index]
        for transform in self.transforms:
            features = transform(features)
        return features, target


class CountInAClosure(Code):
    def train_dataloader(self):
        transform = make_transform(3, itertools.count())
        return DataLoader(Transformed(self.data(), transform), 8)


@case
class TransformsInClosures(Code):
    def train_dataloader(self):
        self.transform = make_transform(3, iter(range(10_000)))
        return DataLoader(Transformed(self.data(), self.transform, lambda x: x * 1.0), 8)

    def state(self):
        return self.transform.source.random(), self.transform(0.0)


class Mapped(Dataset):
    """Rows in a file that is mapped into memory."""

    def __init__(self, inner, path, mode):
        self.targets = torch.stack([target for _, target in inner])
        rows = np.stack([features.numpy() for features, _ in inner])
        np.memmap(path, np.float32, "w+", shape=rows.shape)[:] = rows
        self.rows = np.memmap(path, np.float32, mode, shape=rows.shape)

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, index):
        return torch.from_numpy(np.array(self.rows[index])), self.targets[index]


@case
class MappedFile(Code):
    def train_dataloader(self):
        self.mapped = Mapped(self.data(), self.folder / "rows.bin", "r")
        return DataLoader(self.mapped, 8)

    def state(self):
        return self.mapped.rows.sum().item()


class MappedFileThatIsWritten(Code):
    """Scores of samples, kept in a mapped file."""

    def train_dataloader(self):
        self.mapped = Mapped(self.data(), self.folder / "rows.bin", "r+")
        return DataLoader(self.mapped, 8)

    def training_step(self, batch, batch_idx):
        self.mapped.rows[batch_idx] *= 1.01
        return self.loss(batch)

    def state(self):
        return self.mapped.rows.tolist()


class HardFirst(BatchSampler):
    """Batches of hard examples, from the losses of the last pass."""

    def __init__(self, size, batch):
        super().__init__(RandomSampler(range(size), generator=torch.Generator().manual_seed(1)), batch, False)
        self.scores, self.passes = np.zeros(size), 0

    def __iter__(self):
        self.passes += 1
        order = np.argsort(-self.scores, kind="stable")
        for start in range(0, len(order), self.batch_size):
            chosen = order[start : start + self.batch_size].tolist()
            self.scores[chosen] *= 0.5
            yield chosen


@case
class BatchSamplerWithScores(Code):
    def train_dataloader(self):
        data = self.data()
        self.hard = HardFirst(len(data), 8)
        return DataLoader(data, batch_sampler=self.hard)

    def training_step(self, batch, batch_idx):
        loss = self.loss(batch)
        self.hard.scores[batch_idx] += float(loss.detach())
        return loss

    def state(self):
        return self.hard.scores.tolist(), self.hard.passes


class Bounded(OrderedDict):
    """An LRU cache of samples."""

    def __getitem__(self, key):
        value = super().__getitem__(key)
        self.move_to_end(key)
        return value

    def __setitem__(self, key, value):
        super().__setitem__(key, value)
        if len(self) > 20:
            self.popitem(last=False)


class Remembered(Dataset):
    def __init__(self, inner):
        self.inner, self.recent, self.misses = inner, Bounded(), 0

    def __len__(self):
        return len(self.inner)

    def __getitem__(self, index):
        if index not in self.recent:
            self.misses += 1
            self.recent[index] = tuple(copy.copy(each) for each in self.inner[index])
        return self.recent[index]


@case
class CacheOfRecentSamples(Code):
    def train_dataloader(self):
        self.remembered = Remembered(self.data())
        return DataLoader(self.remembered, 8, shuffle=True)

    def state(self):
        return self.remembered.misses, list(self.remembered.recent)


class Pairs(IterableDataset):
    """Shuffles with a buffer that it keeps between passes."""

    def __init__(self, inner):
        self.inner, self.buffer, self.random = inner, [], random.Random(0)

    def __iter__(self):
        for item in self.inner:
            self.buffer.append(item)
            if len(self.buffer) > 8:
                yield self.buffer.pop(self.random.randrange(len(self.buffer)))


@case
class StreamWithABuffer(Code):
    def train_dataloader(self):
        self.pairs = Pairs(self.data())
        return DataLoader(self.pairs, 8)

    def state(self):
        return len(self.pairs.buffer), self.pairs.random.random(), self.pairs.buffer[0][0].tolist()


@case
class HooksOfBatches(Code):
    """Counts batches, and changes them on their way."""

    def __init__(self, lr):
        super().__init__(lr)
        self.seen = []

    def on_after_batch_transfer(self, batch, dataloader_idx):
        self.seen.append(len(batch[0]))
        features, targets = batch
        return features * (1 + 0.0001 * len(self.seen)), targets

    def state(self):
        return len(self.seen)


class CollateThatPads:
    """Keeps the longest it has seen, and a reusable buffer that batches are views of."""

    def __init__(self):
        self.longest, self.buffer = 0, torch.zeros(8, 4)

    def __call__(self, items):
        features, targets = default_collate(items)
        self.longest = max(self.longest, len(features))
        self.buffer[: len(features)] = features
        return self.buffer[: len(features)], targets


@case
class BatchesInOneBuffer(Code):
    def train_dataloader(self):
        self.pads = CollateThatPads()
        return DataLoader(self.data(), 8, shuffle=True, collate_fn=self.pads)

    def training_step(self, batch, batch_idx):
        batch[0].mul_(0.5)
        return self.loss(batch)

    def state(self):
        return self.pads.longest, self.pads.buffer.tolist()


class Table:
    """A loader of their own, whose batches are views of one table."""

    def __init__(self, data):
        self.rows, self.targets = (torch.stack(column) for column in zip(*data, strict=True))

    def __len__(self):
        return len(self.rows) // 8

    def __iter__(self):
        return zip(self.rows.split(8), self.targets.split(8), strict=True)


@case
class StepsThatChangeTheData(Code):
    def train_dataloader(self):
        self.table = Table(self.data())
        return self.table

    def training_step(self, batch, batch_idx):
        batch[0].mul_(0.99)
        return self.loss(batch)

    def state(self):
        return self.table.rows.tolist()


class SharedCounter(Dataset):
    """Counts in memory that processes share."""

    def __init__(self, inner):
        self.inner = inner
        self.served, self.levels = multiprocessing.Value("i", 0), multiprocessing.Array("d", 3)

    def __len__(self):
        return len(self.inner)

    def __getitem__(self, index):
        with self.served.get_lock():
            self.served.value += 1
        self.levels[1] += 0.5
        features, target = self.inner[index]
        return features * (1 + 0.0001 * self.served.value), target


@case
class MemoryThatProcessesShare(Code):
    def train_dataloader(self):
        self.shared = SharedCounter(self.data())
        return DataLoader(self.shared, 8)

    def state(self):
        return self.shared.served.value, list(self.shared.levels)


NAMED |= {
    "`train_dataloader.dataset.transforms.0.<calls>`: it has been read on": CountInAClosure,
    "`module.mapped.rows`: its contents have changed": MappedFileThatIsWritten,
}
