"""Code that keeps its state in plain objects of Python, of the standard library and of other libraries."""

import contextvars
import csv
import enum
import functools
import io
import itertools
import logging
import queue
import random
import tempfile
import threading
import types
import weakref
from array import array
from collections import ChainMap, Counter, defaultdict, deque
from dataclasses import dataclass, field

import numpy as np
import torch
from sklearn.decomposition import IncrementalPCA
from tqdm import tqdm

from helpers.real_code.code import NAMED, Code, case


@case
class ReplayBuffer(Code):
    def __init__(self, lr):
        super().__init__(lr)
        self.memory = deque(maxlen=10)
        self.random = random.Random(4)
        self.by_kind = defaultdict(lambda: deque(maxlen=3))
        self.priorities = np.zeros(10, dtype=np.float32)
        self.heap, self.numbers = [], array("d", [0.0])

    def training_step(self, batch, batch_idx):
        loss = self.loss(batch)
        self.memory.append((batch[0][0], float(loss.detach())))
        self.by_kind[batch_idx % 3].append(batch_idx)
        self.priorities[batch_idx % 10] += float(loss.detach())
        self.numbers.append(float(loss.detach()))
        self.numbers[0] += 1
        self.heap.append((float(loss.detach()), batch_idx))
        self.heap.sort()
        features, _ = self.random.choice(self.memory)
        return loss + 0.001 * self.net(features).sum()

    def state(self):
        kinds = {name: list(window) for name, window in self.by_kind.items()}
        memory = [(features.tolist(), loss) for features, loss in self.memory]
        return memory, kinds, self.priorities.tolist(), self.random.random(), self.heap, list(self.numbers)


@dataclass(frozen=True)
class Frozen:
    counts: dict = field(default_factory=dict)
    mean: torch.Tensor = field(default_factory=lambda: torch.zeros(4))


@case
class FrozenDataclass(Code):
    def __init__(self, lr):
        super().__init__(lr)
        self.frozen = Frozen()
        self.history = ()

    def training_step(self, batch, batch_idx):
        self.frozen.counts[batch_idx] = batch_idx
        self.frozen.mean.add_(batch[0].mean(0))
        object.__setattr__(self.frozen, "late", batch_idx)
        self.history = (*self.history, batch_idx)[-3:]
        return self.loss(batch)

    def state(self):
        return self.frozen.counts, self.frozen.mean.tolist(), vars(self.frozen).get("late"), self.history


class Base:
    __slots__ = ("__hidden", "count")

    def __init__(self):
        self.count = 0
        self.__hidden = [0]

    def step(self):
        self.count += 1
        self.__hidden.append(self.count)
        return self.__hidden


class Derived(Base):
    __slots__ = ("__weakref__", "extra")


@case
class SlotsWithInheritance(Code):
    def __init__(self, lr):
        super().__init__(lr)
        self.slotted = Derived()

    def training_step(self, batch, batch_idx):
        self.slotted.step()
        self.slotted.extra = batch_idx
        return self.loss(batch) * (1 + 0.001 * self.slotted.count)

    def state(self):
        return self.slotted.count, self.slotted.step(), self.slotted.extra


class Phase(enum.Enum):
    WARM = 1
    COLD = 2


class Thermostat:
    """State behind properties, in an enum and in names that are built when they are asked for."""

    def __init__(self):
        self._phase = Phase.WARM
        self._log = []

    @property
    def phase(self):
        return self._phase

    @phase.setter
    def phase(self, value):
        self._log.append((self._phase.name, value.name))
        self._phase = value

    @functools.cached_property
    def scale(self):
        return 1 + 0.1 * len(self._log)


@case
class PropertiesAndEnums(Code):
    def __init__(self, lr):
        super().__init__(lr)
        self.thermostat = Thermostat()

    def training_step(self, batch, batch_idx):
        if batch_idx % 3 == 1:
            self.thermostat.phase = Phase.COLD if self.thermostat.phase is Phase.WARM else Phase.WARM
        return self.loss(batch) * self.thermostat.scale

    def state(self):
        return self.thermostat.phase, self.thermostat._log, self.thermostat.scale


class Config(dict):
    """A dict whose keys are attributes, and that has whatever it is asked for (addict)."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return self.setdefault(name, Config())

    def __setattr__(self, name, value):
        self[name] = value


class Proxy:
    """Passes everything on to what it wraps."""

    def __init__(self, inner):
        object.__setattr__(self, "_inner", inner)

    def __getattr__(self, name):
        return getattr(object.__getattribute__(self, "_inner"), name)

    def __setattr__(self, name, value):
        setattr(self._inner, name, value)


@case
class ObjectsThatAnswerToAnything(Code):
    def __init__(self, lr):
        super().__init__(lr)
        self.settings = Config()
        self.settings.loss.scale = 1.0
        self.proxy = Proxy(types.SimpleNamespace(count=0, items=[]))
        self.chain = ChainMap({}, {"steps": 0})

    def training_step(self, batch, batch_idx):
        self.settings.loss.scale *= 1.001
        self.settings.seen[batch_idx] = True
        self.proxy.count = self.proxy.count + 1
        self.proxy.items.append(batch_idx)
        self.chain["steps"] = self.chain["steps"] + 1
        return self.loss(batch) * self.settings.loss.scale

    def state(self):
        return dict(self.settings), self.proxy.count, self.proxy.items, self.chain.maps


class Contrary:
    """Returns arrays from comparisons, and raises where it is copied, counted, shown or judged."""

    def __init__(self):
        self.values = np.zeros(3)
        self.count = 0

    def __eq__(self, other):
        return self.values == getattr(other, "values", other)

    __hash__ = None

    def __len__(self):
        raise TypeError("no length")

    def __bool__(self):
        raise ValueError("ambiguous")

    def __repr__(self):
        raise ValueError("never shown")

    def __deepcopy__(self, memo):
        raise TypeError("never copied")

    __copy__ = __deepcopy__


@case
class ObjectsThatCannotBeCompared(Code):
    def __init__(self, lr):
        super().__init__(lr)
        self.contrary = {"one": Contrary(), "many": [Contrary(), Contrary()]}

    def training_step(self, batch, batch_idx):
        for each in (self.contrary["one"], *self.contrary["many"]):
            each.values += batch_idx
            each.count += 1
        self.contrary["many"].append(Contrary())
        return self.loss(batch)

    def state(self):
        every = [self.contrary["one"], *self.contrary["many"]]
        return [(each.values.tolist(), each.count) for each in every]


@case
class FilesBarsAndLocks(Code):
    """A CSV file, a log of their own, a progress bar and a lock."""

    def __init__(self, lr):
        super().__init__(lr)
        self.file = (self.folder / "losses.csv").open("w", newline="")
        self.writer = csv.writer(self.file)
        self.bar = tqdm(total=100, disable=False, file=(self.folder / "bar.txt").open("w"))
        self.lock = threading.Lock()
        self.event = threading.Event()
        self.local = threading.local()

    def training_step(self, batch, batch_idx):
        loss = self.loss(batch)
        with self.lock:
            self.writer.writerow([batch_idx, float(loss.detach())])
        self.bar.update(1)
        return loss

    def state(self):
        self.bar.close()
        self.bar.fp.close()
        with self.file:
            pass
        return (self.folder / "losses.csv").read_text(), self.bar.n


@case
class LogFileOfTheirOwn(Code):
    def __init__(self, lr):
        super().__init__(lr)
        self.text = (self.folder / "mine.log").open("w", buffering=1)
        self.raw = (self.folder / "raw.bin").open("wb", buffering=0)

    def training_step(self, batch, batch_idx):
        loss = self.loss(batch)
        self.text.write(f"{batch_idx} {float(loss.detach())}\n")
        self.raw.write(b"x" * 10)
        return loss

    def state(self):
        with self.text, self.raw:
            pass
        return (self.folder / "mine.log").read_text(), (self.folder / "raw.bin").read_bytes()


@case
class LearnerOfAnotherLibrary(Code):
    def __init__(self, lr):
        super().__init__(lr)
        self.pca = IncrementalPCA(n_components=2)

    def training_step(self, batch, batch_idx):
        self.pca.partial_fit(batch[0].numpy())
        return self.loss(batch) * (1 + 0.01 * float(self.pca.explained_variance_ratio_[0]))

    def state(self):
        return self.pca.n_samples_seen_, self.pca.components_.tolist(), self.pca.mean_.tolist()


@case
class BoundMethodsOfCollections(Code):
    """Nothing but a method of a list holds the list; a buffer in memory is one, too."""

    def __init__(self, lr):
        super().__init__(lr)
        self.push, self.text = [].append, io.StringIO()
        self.rows = csv.DictWriter(self.text, ["step"])
        self.temporary = tempfile.NamedTemporaryFile()  # noqa: SIM115 (what people write)

    def training_step(self, batch, batch_idx):
        self.push(batch_idx)
        self.rows.writerow({"step": batch_idx})
        self.temporary.write(b"abc")
        return self.loss(batch) * (1 + 0.001 * len(self.push.__self__))

    def state(self):
        with self.temporary:
            return self.push.__self__, self.text.getvalue(), self.temporary.tell()


class Registry:
    def __init__(self):
        self.weak = weakref.WeakValueDictionary()
        self.by_object = weakref.WeakKeyDictionary()
        self.kept = []

    def add(self, number):
        node = types.SimpleNamespace(number=number)
        self.kept.append(Derived())
        self.kept[-1].extra = node
        self.weak[number] = self.kept[-1]
        self.by_object[self.kept[-1]] = number


@case
class WeakReferences(Code):
    def __init__(self, lr):
        super().__init__(lr)
        self.registry = Registry()
        self.registry.add(-1)

    def training_step(self, batch, batch_idx):
        self.registry.add(batch_idx)
        return self.loss(batch) * (1 + 0.001 * len(self.registry.weak))

    def state(self):
        return sorted(self.registry.weak), sorted(self.registry.by_object.values()), len(self.registry.kept)


class IteratorsOfItertools(Code):
    def __init__(self, lr):
        super().__init__(lr)
        self.count = itertools.count(1)
        self.cycle = itertools.cycle([1.0, 1.01, 1.02, 1.03])
        self.chain = itertools.chain([1.0] * 500, [2.0] * 500)
        self.pairs = enumerate(range(5000))

    def training_step(self, batch, batch_idx):
        scale = next(self.cycle) * next(self.chain) + 0.001 * next(self.count) + 0.001 * next(self.pairs)[0]
        return self.loss(batch) * scale


@case
class IteratorsOverOthers(Code):
    def __init__(self, lr):
        super().__init__(lr)
        self.zipped = zip(range(5000), range(5000))  # noqa: B905 (what people write)
        self.mapped = map(float, filter(None, range(5000)))

    def training_step(self, batch, batch_idx):
        return self.loss(batch) * (1 + 0.001 * next(self.zipped)[0] + 0.001 * next(self.mapped))

    def state(self):
        return next(self.zipped), next(self.mapped)


@case
class SharedBetweenObjects(Code):
    """Two objects hold one list, in a circle; after the test they must still share it."""

    def __init__(self, lr):
        super().__init__(lr)
        shared = [0]
        self.one, self.two = types.SimpleNamespace(items=shared), types.SimpleNamespace(items=shared)
        self.one.other, self.two.other = self.two, self.one
        shared.append(self.one)

    def training_step(self, batch, batch_idx):
        self.one.items.append(batch_idx)
        if batch_idx == 3:
            self.two.items = list(self.two.items)
        return self.loss(batch)

    def state(self):
        return self.one.items is self.two.items, self.one.items[2:], self.two.items[2:]


@case
class PluggedInMethods(Code):
    """Methods replaced on the instance, classes changed, and a property deleted by a step."""

    def training_step(self, batch, batch_idx):
        if batch_idx == 2:
            self.loss = types.MethodType(lambda self, batch: type(self).loss(self, batch) * 1.5, self)
        if batch_idx == 4:
            self.__class__ = PluggedInLater
        return self.loss(batch)

    def state(self):
        return type(self).__name__, "loss" in vars(self)


class PluggedInLater(PluggedInMethods):
    pass


class Walker:
    def __init__(self):
        self.mode = Straight()
        self.steps = 0

    def scale(self):
        self.steps += 1
        if self.steps == 4:
            self.mode.__class__ = Crooked
        return self.mode.scale()


class Straight:
    def scale(self):
        return 1.0


class Crooked:
    def scale(self):
        return 1.1


@case
class ClassOfAnObjectChanged(Code):
    def __init__(self, lr):
        super().__init__(lr)
        self.walker = Walker()

    def training_step(self, batch, batch_idx):
        return self.loss(batch) * self.walker.scale()

    def state(self):
        return type(self.walker.mode).__name__


@case
class FunctionAttributesAndDefaults(Code):
    def __init__(self, lr):
        super().__init__(lr)

        def scale(cache={}):  # noqa: B006 (what people write)
            cache["calls"] = cache.get("calls", 0) + 1
            scale.total += cache["calls"]
            return 1 + 0.001 * cache["calls"]

        scale.total = 0
        self.scale = scale
        self.wrapped = functools.wraps(scale)(lambda: scale() * 1.01)

    def training_step(self, batch, batch_idx):
        return self.loss(batch) * self.wrapped()

    def state(self):
        return self.scale.total, self.scale.__defaults__


class Recorder:
    """Wraps a module's forward and records: what monkeypatching libraries do."""

    def __init__(self, module):
        self.forward, self.records = module.forward, []
        module.forward = self

    def __call__(self, *args):
        out = self.forward(*args)
        self.records.append(float(out.detach().mean()))
        return out


@case
class ForwardReplaced(Code):
    def __init__(self, lr):
        super().__init__(lr)
        self.recorder = Recorder(self.net)

    def state(self):
        return self.recorder.records


class Singleton:
    instance = None

    def __new__(cls):
        if cls.instance is None:
            cls.instance = super().__new__(cls)
            cls.instance.calls = Counter()
        return cls.instance


@case
class SingletonMadeByAStep(Code):
    """It is held by its class alone; this one exists before."""

    @classmethod
    def reset(cls):
        Singleton.instance = None
        Singleton()

    def training_step(self, batch, batch_idx):
        Singleton().calls["step"] += 1
        return self.loss(batch) * (1 + 0.001 * Singleton().calls["step"])

    def state(self):
        return dict(Singleton().calls)


class Listener(logging.Handler):
    def __init__(self):
        super().__init__()
        self.lines = []

    def emit(self, record):
        self.lines.append(record.getMessage())


@case
class QueueOfThreads(Code):
    """A queue of threads, which somebody may wait at."""

    def __init__(self, lr):
        super().__init__(lr)
        self.queue = queue.Queue()

    def training_step(self, batch, batch_idx):
        self.queue.put(batch_idx)
        return self.loss(batch)

    def state(self):
        return list(self.queue.queue), self.queue.unfinished_tasks


class SimpleQueueOfThreads(QueueOfThreads):
    def __init__(self, lr):
        super().__init__(lr)
        self.queue = queue.SimpleQueue()

    def state(self):
        return self.queue.qsize()


SCALE = contextvars.ContextVar("SCALE", default=1.0)


@case
class ContextVariable(Code):
    @classmethod
    def reset(cls):
        SCALE.set(1.0)

    def training_step(self, batch, batch_idx):
        SCALE.set(SCALE.get() * 1.001)
        return self.loss(batch) * SCALE.get()


@case
class MemoizedMethod(Code):
    @classmethod
    def reset(cls):
        cls.scale.cache_clear()

    @functools.lru_cache(maxsize=None)  # noqa: B019, UP033 (what people write)
    def scale(self, number):
        return 1 + 0.001 * number

    def training_step(self, batch, batch_idx):
        return self.loss(batch) * self.scale(batch_idx)

    def state(self):
        return type(self).scale.cache_info()


@case
class LocalOfThreads(Code):
    def __init__(self, lr):
        super().__init__(lr)
        self.local = threading.local()
        self.local.calls = 0

    def training_step(self, batch, batch_idx):
        self.local.calls += 1
        return self.loss(batch) * (1 + 0.001 * self.local.calls)

    def state(self):
        return self.local.calls


@case
class LoggerOfPython(Code):
    def __init__(self, lr):
        super().__init__(lr)
        self.listener = Listener()

    def training_step(self, batch, batch_idx):
        self.listener.emit(logging.makeLogRecord({"msg": str(batch_idx)}))
        return self.loss(batch)

    def state(self):
        return self.listener.lines


class Growing:
    pass


def rounds(scales):
    while True:
        yield from scales


class GeneratorThatHasBegun(Code):
    """It is at the same place in its code after every step."""

    def __init__(self, lr):
        super().__init__(lr)
        self.scales = rounds([1.0, 1.01, 1.02])
        next(self.scales)

    def training_step(self, batch, batch_idx):
        return self.loss(batch) * next(self.scales)


class ClassThatGrows(Code):
    """What a step adds to a class stays there."""

    def __init__(self, lr):
        super().__init__(lr)
        self.growing = Growing()

    @classmethod
    def reset(cls):
        for name in [name for name in vars(Growing) if name.startswith("step")]:
            delattr(Growing, name)

    def training_step(self, batch, batch_idx):
        setattr(Growing, f"step{batch_idx}", True)
        return self.loss(batch)


NAMED |= {
    "`module.queue`: [0-9]+ entries more": SimpleQueueOfThreads,
    "`module.count`: it has been read on.*`module.cycle`.*`module.pairs`": IteratorsOfItertools,
    "`module.scales`: it has been read on": GeneratorThatHasBegun,
    "`Growing`: [0-9]+ entries more": ClassThatGrows,
}
