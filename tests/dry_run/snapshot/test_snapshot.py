"""Whatever a training step can change is put back, in place and as often as wanted."""

import random
from array import array
from collections import defaultdict, deque
from io import BytesIO
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torchmetrics
from helpers.toy import LEDGER
from torch import nn

from lightning_lr.dry_run.snapshot.kept import KeptArray, KeptFile, KeptTensor
from lightning_lr.dry_run.snapshot.snapshot import PutBackError, Root, Snapshot, tensor_bytes


class Messy(nn.Module):
    """Holds every kind of state that modules are seen to hold."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(2)
        self.register_buffer("hidden", torch.ones(2), persistent=False)
        self.register_buffer("wide", torch.ones(1).expand(5))
        self.metric = torchmetrics.MeanMetric()
        self.count = 0
        self.plain = torch.zeros(3)
        self.history = [1, torch.ones(1)]
        self.table = defaultdict(list, {"a": [1]})
        self.recent = deque([1, 2], maxlen=2)
        self.names = {"x"}
        self.pair = (torch.zeros(1), [0])
        self.array = np.zeros(2)
        self.generators = [torch.Generator().manual_seed(3), np.random.default_rng(3), random.Random(3)]
        self.generators.append(np.random.RandomState(3))


def disturb(module):
    with torch.no_grad():
        for tensor in [*module.parameters(), *module.buffers()]:
            (tensor[:1] if 0 in tensor.stride() else tensor)[...] = 7
    module.norm.eval()
    module.hidden = torch.zeros(9)
    module.metric.update(3.0)
    module.count += 1
    module.plain += 1
    module.plain = torch.ones(1)
    module.history[1].add_(5)
    module.history.append(2)
    module.table["a"].append(2)
    module.table["new"].append(1)
    module.recent.append(9)
    module.names.clear()
    module.pair[1].append(1)
    module.array += 1
    module.added = 1
    module.norm.weight.grad = torch.ones(2)
    draw(module)


def draw(module):
    first, second, third, fourth = module.generators
    return torch.rand(1, generator=first).item(), second.random(), third.random(), fourth.random_sample()


def state(module):
    tensors = [tensor.tolist() for tensor in [*module.parameters(), *module.buffers()]]
    gradients = [None if each.grad is None else each.grad.tolist() for each in module.parameters()]
    values = [
        module.count,
        module.plain.tolist(),
        str(module.history),
        dict(module.table),
        list(module.recent),
    ]
    values += [module.names.copy(), str(module.pair), module.array.tolist(), sorted(vars(module))]
    metric = (module.metric.mean_value.item(), module.metric.update_count, module.metric._computed)
    return repr((tensors, gradients, values, metric, [each.training for each in module.modules()]))


def test_a_module_is_put_back_as_often_as_wanted():
    module = Messy()
    module.norm.bias.grad = torch.full((2,), 0.5)
    before, hidden, history = state(module), module.hidden, module.history
    snapshot = Snapshot()
    snapshot.add(Root(module))
    drawn = []
    for _ in range(2):
        drawn.append(draw(module))
        disturb(module)
        assert state(module) != before
        snapshot.restore()
        assert state(module) == before
    assert drawn[0] == drawn[1]
    assert module.hidden is hidden
    assert module.history is history


@pytest.mark.parametrize("make", [torch.optim.SGD, torch.optim.Adam, torch.optim.LBFGS])
@pytest.mark.parametrize("warm", [False, True])
def test_an_optimizer_is_put_back(make, warm):
    parameter = nn.Parameter(torch.ones(2))
    optimizer = make([parameter], lr=0.1, **({"momentum": 0.9} if make is torch.optim.SGD else {}))

    def step():
        def closure():
            optimizer.zero_grad()
            loss = parameter.square().sum()
            loss.backward()
            return loss

        optimizer.step(closure)

    if warm:
        step()
    group, before = optimizer.param_groups[0], repr((optimizer.state_dict(), parameter.tolist()))
    moments = tensors(optimizer.state.get(parameter, {}))
    snapshot = Snapshot()
    snapshot.add(Root(optimizer))
    step()
    group["lr"] = 5.0
    group["extra"] = 1
    snapshot.restore()
    assert repr((optimizer.state_dict(), parameter.tolist())) == before
    assert optimizer.param_groups[0] is group
    after = tensors(optimizer.state.get(parameter, {}))
    assert all(one is other for one, other in zip(moments, after, strict=True))


def tensors(of_parameter):
    return [each for each in of_parameter.values() if isinstance(each, torch.Tensor)]


def test_a_metric_that_was_updated_in_inference_mode_is_put_back():
    metric = torchmetrics.MeanMetric()
    with torch.inference_mode():
        metric.update(1.0)
    snapshot = Snapshot()
    snapshot.add(Root(metric))
    metric.update(5.0)
    snapshot.restore()
    assert metric.compute() == 1.0


def test_global_generators_are_put_back():
    def numbers():
        return torch.rand(1).item(), np.random.rand(), random.random()  # noqa: NPY002

    snapshot = Snapshot()
    snapshot.add_global_generators()
    first = numbers()
    snapshot.restore()
    assert numbers() == first


def test_an_object_with_data_keeps_its_counters_and_generators_and_is_not_copied_beyond_a_limit():
    class Transform:
        def __init__(self):
            self.generator = np.random.default_rng(0)

    class Data:
        def __init__(self):
            self.samples = torch.ones(10)
            self.position = 0
            self.transforms = [Transform()]
            self.itself = self

    data = Data()
    snapshot = Snapshot(most_bytes=8)
    snapshot.add(Root(data, "data", is_data=True))
    first = data.transforms[0].generator.random()
    data.position = 4
    data.samples.add_(1)
    snapshot.restore()
    assert snapshot.differences() == ["`data.samples`: its contents have changed"]
    assert data.position == 0
    assert data.transforms[0].generator.random() == first
    assert data.samples.sum() == 20


def test_what_is_ignored_is_left_alone():
    class Counter:
        value = 0

    counter = Counter()
    snapshot = Snapshot()
    snapshot.ignore(counter)
    snapshot.add(Root(counter))
    counter.value = 1
    snapshot.restore()
    assert counter.value == 1


def test_the_size_counts_distinct_elements():
    assert tensor_bytes([torch.zeros(3), torch.zeros(1).expand(100)]) == 16


class Lazy(dict):
    """Reads a value only when it is asked for it."""

    def __getitem__(self, key):
        LEDGER["reads"] += 1
        return super().__getitem__(key)

    def items(self):
        return ((key, self[key]) for key in self)

    __len__ = __iter__ = keys = None


class Stubborn(list):
    def __iter__(self):
        raise RuntimeError("one pass only")


def test_collections_with_rules_of_their_own_are_not_asked():
    LEDGER["reads"] = 0
    lazy, stubborn = Lazy(one=1), Stubborn([1, 2])
    snapshot = Snapshot()
    snapshot.add(Root({"lazy": lazy, "stubborn": stubborn}))
    dict.__setitem__(lazy, "two", 2)
    list.append(stubborn, 3)
    snapshot.restore()
    assert LEDGER["reads"] == 0
    assert list(dict.items(lazy)) == [("one", 1)]
    assert list(list.__iter__(stubborn)) == [1, 2]


class Anything:
    """Has whatever it is asked for, as stubs of remote objects have."""

    def __getattr__(self, name):
        LEDGER["asked"] += not name.startswith("__")
        return lambda *_: 1


def test_objects_that_have_whatever_they_are_asked_for_are_asked_for_nothing():
    LEDGER["asked"] = 0
    snapshot = Snapshot()
    snapshot.add(Root(Anything()))
    snapshot.restore()
    assert snapshot.differences() == []
    assert LEDGER["asked"] == 0


def test_one_part_that_cannot_be_put_back_does_not_keep_the_others():
    frozen = np.zeros(3)
    kept, fixed = [1], {"array": frozen, "list": None}
    fixed["list"] = kept
    snapshot = Snapshot()
    snapshot.add(Root(fixed, "fixed"))
    frozen[0] = 7
    kept.append(2)
    frozen.flags.writeable = False
    with pytest.raises(PutBackError, match=r"fixed\['array'\]: ValueError: .*read-only"):
        snapshot.restore()
    assert kept == [1]


def test_the_walk_is_bounded_and_says_where_it_ends():
    snapshot = Snapshot(most_objects=50)
    snapshot.add(Root({"items": [[number] for number in range(100)]}, "data"))
    [limit] = snapshot.limits
    assert limit.startswith("So many objects are held that from `data['items'][48]` on")


class Counted:
    class_wide = [0]  # noqa: RUF012 (what people write)

    def __init__(self):
        self.file = BytesIO(b"0123456789")
        self.numbers, self.array = array("d", [1.0]), np.array([1.0, np.nan])
        self.tensor = torch.tensor([1.0, np.nan])
        self.sources = [
            torch.Generator(),
            np.random.default_rng(0),
            random.Random(0),
            np.random.RandomState(0),
        ]

    def disturb(self):
        self.file.write(b"0123456789abc")
        self.numbers.append(2.0)
        self.array[0] = self.tensor[0] = 7
        self.class_wide.append(1)
        draw(SimpleNamespace(generators=self.sources))


def test_what_is_put_back_is_as_before_also_where_it_holds_nan():
    counted = Counted()
    snapshot = Snapshot()
    snapshot.add(Root(counted, "counted"))
    counted.disturb()
    snapshot.restore()
    assert snapshot.differences() == []
    assert (counted.file.tell(), counted.file.getvalue()) == (0, b"0123456789")
    assert counted.numbers.tolist() == [1.0]
    assert Counted.class_wide == [0]


def test_what_has_not_been_put_back_is_found_and_named(monkeypatch):
    for kind in (KeptArray, KeptFile, KeptTensor):
        monkeypatch.setattr(kind, "restore", lambda _: None)
    counted = Counted()
    snapshot = Snapshot()
    snapshot.add(Root(counted, "counted"))
    counted.disturb()
    snapshot.restore()
    # Somebody draws where nobody should.
    draw(SimpleNamespace(generators=counted.sources))
    contents = "its contents are not what they were before the test"
    assert sorted(snapshot.differences()) == [
        f"`counted.array`: {contents}",
        "`counted.file`: at 0 before the test, at 13 after it",
        *(f"`counted.sources[{index}]`: its state is another one" for index in range(4)),
        f"`counted.tensor`: {contents}",
    ]
