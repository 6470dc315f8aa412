"""Code as FACTS of this project name it: each class broke a test or left a trace once."""

import copy
import random
from collections import Counter, OrderedDict, UserDict, deque, namedtuple
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.optim import SGD, Optimizer
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, Dataset, Sampler

from helpers.real_code.code import NAMED, Code, case, listed


class Teacher:
    """An EMA of a student, in an object of no framework."""

    def __init__(self, student):
        self.net = copy.deepcopy(student)
        self.updates = 0

    @torch.no_grad()
    def update(self, student):
        self.updates += 1
        for mine, theirs in zip(self.net.parameters(), student.parameters(), strict=True):
            mine.lerp_(theirs, 0.1)


@case
class TeacherInAPlainObject(Code):
    def __init__(self, lr):
        super().__init__(lr)
        self.teacher = Teacher(self.net)

    def training_step(self, batch, batch_idx):
        with torch.no_grad():
            target = self.teacher.net(batch[0])
        loss = self.loss(batch) + 0.01 * (self.net(batch[0]) - target).square().mean()
        self.teacher.update(self.net)
        return loss

    def state(self):
        return self.teacher.updates, listed(self.teacher.net.parameters())


@case
class ModulesInListsAndDicts(Code):
    def __init__(self, lr):
        super().__init__(lr)
        self.hidden = {"heads": [copy.deepcopy(self.net)], "average": (AveragedModel(self.net),)}

    def training_step(self, batch, batch_idx):
        self.hidden["average"][0].update_parameters(self.net)
        with torch.no_grad():
            self.hidden["heads"][0].weight.add_(self.net.weight, alpha=0.1)
        return self.loss(batch) + 0.001 * self.hidden["heads"][0](batch[0]).mean()

    def state(self):
        average = self.hidden["average"][0]
        return listed([*self.hidden["heads"][0].parameters(), *average.parameters(), average.n_averaged])


class Bank:
    __slots__ = ("pointer", "rows")

    def __init__(self):
        self.rows = torch.zeros(20, 4)
        self.pointer = 0

    def push(self, rows):
        for row in rows:
            self.rows[self.pointer] = row
            self.pointer = (self.pointer + 1) % len(self.rows)


@case
class MemoryBankInSlots(Code):
    def __init__(self, lr):
        super().__init__(lr)
        self.bank = Bank()

    def training_step(self, batch, batch_idx):
        self.bank.push(batch[0])
        return self.loss(batch) + 0.001 * self.net(self.bank.rows).mean()

    def state(self):
        return self.bank.pointer, self.bank.rows.tolist()


class SAM(Optimizer):
    """Two passes a step; the groups are those of the optimizer inside."""

    def __init__(self, parameters, base, rho=0.01, **kwargs):
        super().__init__(parameters, {"rho": rho, **kwargs})
        self.base = base(self.param_groups, **kwargs)
        self.param_groups = self.base.param_groups

    @torch.no_grad()
    def step(self, closure=None):
        with torch.enable_grad():
            loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                self.state[parameter]["old"] = parameter.clone()
                parameter.add_(parameter.grad, alpha=group["rho"])
        with torch.enable_grad():
            closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.copy_(self.state[parameter]["old"])
        self.base.step()
        return loss


@case
class SharpnessAware(Code):
    def configure_optimizers(self):
        return SAM(self.net.parameters(), SGD, lr=self.lr, momentum=0.5)

    def state(self):
        inner = self.optimizers().optimizer.base
        return listed(state["momentum_buffer"] for state in inner.state.values())


class Lookahead(Optimizer):
    """Wraps an optimizer whose constructor is never called for itself."""

    def __init__(self, inner, every=3):
        self.inner, self.every, self.made = inner, every, 0
        self.slow = [[each.detach().clone() for each in group["params"]] for group in inner.param_groups]

    @property
    def param_groups(self):
        return self.inner.param_groups

    @property
    def state(self):
        return self.inner.state

    @property
    def defaults(self):
        return self.inner.defaults

    def zero_grad(self, set_to_none=True):
        self.inner.zero_grad(set_to_none)

    def state_dict(self):
        return self.inner.state_dict()

    def load_state_dict(self, state):
        self.inner.load_state_dict(state)

    @torch.no_grad()
    def step(self, closure=None):
        loss = self.inner.step(closure)
        self.made += 1
        if self.made % self.every == 0:
            for group, slow in zip(self.inner.param_groups, self.slow, strict=True):
                for fast, kept in zip(group["params"], slow, strict=True):
                    fast.copy_(kept.lerp_(fast, 0.5))
        return loss


@case
class PrivateOptimizer(Code):
    def __init__(self, lr):
        super().__init__(lr)
        self.scale = nn.Parameter(torch.ones(1))
        self.own = torch.optim.Adam([self.scale], lr=0.01)

    def training_step(self, batch, batch_idx):
        (self.scale - self.net.bias.detach()).square().sum().backward()
        self.own.step()
        self.own.zero_grad()
        return self.loss(batch) + 0.001 * self.scale.detach().sum()

    def state(self):
        [moments] = self.own.state.values()
        return self.scale.tolist(), {name: value.tolist() for name, value in moments.items()}


Moments = namedtuple("Moments", ["mean", "square"])  # noqa: PYI024 (what people write)


@dataclass
class Statistics:
    moments: Moments = field(default_factory=lambda: Moments(torch.zeros(4), torch.zeros(4)))
    counts: Counter = field(default_factory=Counter)
    order: OrderedDict = field(default_factory=OrderedDict)


class Loud(dict):
    """A dict with rules of its own: it counts who writes to it."""

    def __init__(self):
        super().__init__()
        self.writes = 0

    def __setitem__(self, key, value):
        self.writes += 1
        super().__setitem__(key, value)

    def clear(self):
        raise TypeError("never")


class Window(deque):
    def __init__(self):
        super().__init__(maxlen=3)
        self.seen = 0

    def append(self, value):
        self.seen += 1
        super().append(value)


@case
class CollectionsOfEveryKind(Code):
    def __init__(self, lr):
        super().__init__(lr)
        self.statistics = Statistics()
        self.loud, self.window, self.user = Loud(), Window(), UserDict()

    def training_step(self, batch, batch_idx):
        mean = batch[0].mean(0)
        self.statistics.moments.mean.add_(mean)
        self.statistics.moments.square.add_(mean.square())
        self.statistics.counts[f"batch {batch_idx}"] += 1
        self.statistics.order[batch_idx] = float(mean.sum())
        self.statistics.order.move_to_end(batch_idx, last=False)
        self.loud[batch_idx] = 1
        self.user[batch_idx] = 1
        self.window.append(batch_idx)
        return self.loss(batch)

    def state(self):
        moments, counts, order = self.statistics.moments, self.statistics.counts, self.statistics.order
        collections = (dict(self.loud), self.loud.writes, list(self.window), self.window.seen, self.user.data)
        return listed(moments), dict(counts), list(order.items()), collections


class Shuffled(Sampler):
    """Shuffles its list in place, as samplers of long-tailed data do."""

    def __init__(self, size):
        self.order = list(range(size))
        self.random = random.Random(3)
        self.passes = 0

    def __iter__(self):
        self.passes += 1
        self.random.shuffle(self.order)
        return iter(self.order)

    def __len__(self):
        return len(self.order)


@case
class SamplerThatShufflesInPlace(Code):
    def train_dataloader(self):
        data = self.data()
        self.sampler = Shuffled(len(data))
        return DataLoader(data, 8, sampler=self.sampler)

    def state(self):
        return self.sampler.order, self.sampler.passes, self.sampler.random.random()


class Cached(Dataset):
    """Keeps what it has read, changes an item at each look, and reads on in an open file."""

    def __init__(self, inner, path):
        self.inner, self.cache = inner, {}
        self.weights = np.ones(len(inner))
        path.write_text("".join(f"{number % 7}\n" for number in range(100_000)))
        self.file = path.open("rb")

    def __len__(self):
        return len(self.inner)

    def __getitem__(self, index):
        if index not in self.cache:
            self.cache[index] = self.inner[index]
        self.weights[index] *= 0.9
        features, target = self.cache[index]
        return features * self.weights[index] + 0.01 * int(self.file.readline()), target


@case
class DatasetThatCachesAndReadsOn(Code):
    def train_dataloader(self):
        self.dataset = Cached(self.data(), self.folder / "numbers.txt")
        return DataLoader(self.dataset, 8)

    def state(self):
        with self.dataset.file as file:
            return sorted(self.dataset.cache), self.dataset.weights.tolist(), file.tell()


class Noise:
    def __init__(self, seed):
        self.deep = {"layers": [[{"source": np.random.default_rng(seed)}]]}

    def add(self, features):
        source = self.deep["layers"][0][0]["source"]
        return features + 0.01 * torch.from_numpy(source.standard_normal(features.shape)).float()


NOISE = Noise(5)


def noisy_by_global(batch):
    features, targets = torch.utils.data.default_collate(batch)
    return NOISE.add(features), targets


@case
class GeneratorInAGlobalOfCollate(Code):
    @classmethod
    def reset(cls):
        global NOISE  # noqa: PLW0603 (what people write)
        NOISE = Noise(5)

    def train_dataloader(self):
        return DataLoader(self.data(), 8, collate_fn=noisy_by_global)

    def state(self):
        return NOISE.deep["layers"][0][0]["source"].random()


@case
class GeneratorInAClosure(Code):
    def train_dataloader(self):
        noise, calls = Noise(5), 0

        def collate(batch):
            nonlocal calls
            calls += 1
            features, targets = torch.utils.data.default_collate(batch)
            return noise.add(features) + 0.001 * calls, targets

        self.look = lambda: (calls, noise.deep["layers"][0][0]["source"].random())
        return DataLoader(self.data(), 8, collate_fn=collate)

    def state(self):
        return self.look()


def noisy_by_partial(batch, noise):
    features, targets = torch.utils.data.default_collate(batch)
    return noise.add(features), targets


@case
class GeneratorInAPartial(Code):
    def train_dataloader(self):
        self.noise = Noise(5)
        return DataLoader(self.data(), 8, collate_fn=partial(noisy_by_partial, noise=self.noise))

    def state(self):
        return self.noise.deep["layers"][0][0]["source"].random()


class Collate:
    def __init__(self):
        self.noise = Noise(5)

    def collate(self, batch):
        return noisy_by_partial(batch, self.noise)


@case
class GeneratorInABoundMethod(Code):
    def train_dataloader(self):
        self.collate = Collate()
        return DataLoader(self.data(), 8, collate_fn=self.collate.collate)

    def state(self):
        return self.collate.noise.deep["layers"][0][0]["source"].random()


STEPS = 0
SEEN = []


@case
class GlobalVariables(Code):
    @classmethod
    def reset(cls):
        global STEPS  # noqa: PLW0603 (what people write)
        STEPS = 0
        SEEN.clear()

    def training_step(self, batch, batch_idx):
        global STEPS  # noqa: PLW0603
        STEPS += 1
        SEEN.append(batch_idx)
        return self.loss(batch) * (1 + 0.001 * STEPS)

    def state(self):
        return STEPS, list(SEEN)


@case
class ParametersFrozenByAStep(Code):
    def training_step(self, batch, batch_idx):
        if batch_idx == 5:
            self.net.bias.requires_grad_(False)
        return self.loss(batch)

    def state(self):
        return self.net.bias.requires_grad


@case
class HooksAddedByAStep(Code):
    def __init__(self, lr):
        super().__init__(lr)
        self.calls = Counter()
        self.net.register_forward_hook(lambda *_: self.calls.update(["forward"]))

    def training_step(self, batch, batch_idx):
        if batch_idx == 2:
            self.net.weight.register_hook(self.halve)
            self.net.bias.register_post_accumulate_grad_hook(lambda _: self.calls.update(["gradient"]))
        return self.loss(batch)

    def halve(self, gradient):
        self.calls["backward"] += 1
        return gradient / 2

    def state(self):
        return dict(self.calls)


@case
class BufferResizedInPlace(Code):
    def __init__(self, lr):
        super().__init__(lr)
        self.register_buffer("range", torch.zeros(0))

    def training_step(self, batch, batch_idx):
        if self.range.numel() == 0:
            self.range.resize_(2)
            self.range.copy_(torch.tensor([1e9, -1e9]))
        low, high = batch[0].min(), batch[0].max()
        self.range.copy_(torch.stack([self.range[0].minimum(low), self.range[1].maximum(high)]))
        return self.loss(batch)

    def state(self):
        return self.range.tolist()


@case
class StartHooks(Code):
    """What the module's own start hooks make must be there in the steps of a test."""

    def on_train_start(self):
        self.started = Counter(train=1)

    def on_train_epoch_start(self):
        self.started["epoch"] += 1
        self.net.eval()

    def on_train_batch_start(self, batch, batch_idx):
        self.started["batch"] += 1
        self.scale = 1 + 0.01 * batch_idx

    def on_train_batch_end(self, outputs, batch, batch_idx):
        self.started["end"] += 1
        self.last = float(outputs["loss"])

    def on_validation_epoch_start(self):
        self.factor = 2.0

    def validation_step(self, batch, batch_idx):
        return super().validation_step(batch, batch_idx) * self.factor

    def training_step(self, batch, batch_idx):
        self.started["step"] += 1
        return self.loss(batch) * self.scale

    def state(self):
        return dict(self.started), self.last, self.net.training


@case
class StepsThatLookAround(Code):
    def training_step(self, batch, batch_idx):
        loss = self.loss(batch)
        self.log("loss", loss)
        assert self.trainer.callbacks
        assert self.trainer.early_stopping_callback.patience == 9
        assert Path(self.trainer.log_dir).name == "run"
        assert Path(self.logger.experiment.log_dir).name == "run"
        self.logger.experiment.add_scalar("mine", float(loss.detach()), self.trainer.global_step)
        return loss + 0 * self.trainer.callback_metrics["loss"]


@case
class AccumulationByHand(Code):
    def __init__(self, lr):
        super().__init__(lr)
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        optimizer = self.optimizers()
        loss = self.loss(batch)
        self.manual_backward(loss / 3)
        if batch_idx % 3 == 2:
            optimizer.step()
            optimizer.zero_grad()
        return loss


@case
class IteratorThatIsKept(Code):
    def __init__(self, lr):
        super().__init__(lr)
        self.temperatures = iter([1 + 0.001 * number for number in range(10_000)])

    def training_step(self, batch, batch_idx):
        return self.loss(batch) * next(self.temperatures)

    def state(self):
        return next(self.temperatures)


class Shared:
    entries = {}  # noqa: RUF012 (what people write)


@case
class ClassAttribute(Code):
    def __init__(self, lr):
        super().__init__(lr)
        self.shared = Shared()

    @classmethod
    def reset(cls):
        Shared.entries.clear()

    def training_step(self, batch, batch_idx):
        Shared.entries[len(Shared.entries)] = batch_idx
        return self.loss(batch)

    def state(self):
        return Shared.entries


@cache
def scale_of(number):
    return 1 + 0.001 * number


@case
class MemoizedFunction(Code):
    @classmethod
    def reset(cls):
        scale_of.cache_clear()

    def __init__(self, lr):
        super().__init__(lr)
        self.scale = scale_of

    def training_step(self, batch, batch_idx):
        return self.loss(batch) * self.scale(batch_idx)

    def state(self):
        return scale_of.cache_info()


class MemoizedBefore(MemoizedFunction):
    @classmethod
    def reset(cls):
        scale_of.cache_clear()
        scale_of(-1)


def endless():
    number = 0
    while True:
        yield 1 + 0.001 * number
        number += 1


class GeneratorFunction(Code):
    def __init__(self, lr):
        super().__init__(lr)
        self.scales = endless()

    def training_step(self, batch, batch_idx):
        return self.loss(batch) * next(self.scales)


NAMED |= {
    "`module.scale`: [0-9]+ entries more": MemoizedBefore,
    "`module.scales`: it has been read on": GeneratorFunction,
}
