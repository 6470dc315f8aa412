"""Code that keeps its state in modules, tensors, optimizers and what torch hangs on them."""

import copy
import math
from collections import namedtuple

import torch
from lightning.pytorch.utilities.combined_loader import CombinedLoader
from torch import nn
from torch.amp import GradScaler
from torch.nn.utils import parametrizations, parametrize, prune
from torch.optim import LBFGS, SGD, Adam, SparseAdam
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader
from torchmetrics import MeanMetric, MeanSquaredError, MetricCollection

from helpers.real_code.code import Code, case, listed


@case
class AverageOfTheWholeModule(Code):
    """torch's own EMA, updated where Lightning users do it."""

    def __init__(self, lr):
        super().__init__(lr)
        self.average = AveragedModel(self.net, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)

    def optimizer_step(self, *args, **kwargs):
        super().optimizer_step(*args, **kwargs)
        self.average.update_parameters(self.net)

    def training_step(self, batch, batch_idx):
        with torch.no_grad():
            target = self.average(batch[0])
        return self.loss(batch) + 0.01 * (self.net(batch[0]) - target).square().mean()

    def state(self):
        return listed([*self.average.parameters(), self.average.n_averaged])


@case
class MomentumEncoder(Code):
    """MoCo: a key encoder, and a queue of keys in buffers."""

    def __init__(self, lr):
        super().__init__(lr)
        self.key = copy.deepcopy(self.net).requires_grad_(False)
        self.register_buffer("queue", torch.zeros(1, 32))
        self.register_buffer("pointer", torch.zeros(1, dtype=torch.long))

    def training_step(self, batch, batch_idx):
        with torch.no_grad():
            for mine, theirs in zip(self.key.parameters(), self.net.parameters(), strict=True):
                mine.data = mine.data * 0.9 + theirs.data * 0.1
            keys = self.key(batch[0]).T
            at = int(self.pointer)
            self.queue[:, at : at + keys.shape[1]] = keys
            self.pointer[0] = (at + keys.shape[1]) % self.queue.shape[1]
        return self.loss(batch) + 0.001 * (self.net(batch[0]) @ self.queue).mean()

    def state(self):
        return listed([*self.key.parameters(), self.queue, self.pointer])


@case
class AdversarialPenalty(Code):
    """Two optimizers by hand, with the gradient of a gradient."""

    def __init__(self, lr):
        super().__init__(lr)
        self.critic = nn.Linear(1, 1)
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        generator, critic = self.optimizers()
        made = self.net(batch[0])
        if batch_idx % 2 == 0:
            self.toggle_optimizer(critic)
            mixed = made.detach().lerp(batch[1], torch.rand(len(made), 1)).requires_grad_()
            [gradient] = torch.autograd.grad(self.critic(mixed).sum(), mixed, create_graph=True)
            penalty = (gradient.norm(dim=1) - 1).square().mean()
            critic.zero_grad()
            self.manual_backward(self.critic(made.detach()).mean() - self.critic(batch[1]).mean() + penalty)
            critic.step()
            self.untoggle_optimizer(critic)
        self.toggle_optimizer(generator)
        loss = self.loss(batch) - 0.001 * self.critic(self.net(batch[0])).mean()
        generator.zero_grad()
        self.manual_backward(loss)
        generator.step()
        self.untoggle_optimizer(generator)
        return loss

    def configure_optimizers(self):
        betas = (0.0, 0.9)
        return [SGD(self.net.parameters(), lr=self.lr), Adam(self.critic.parameters(), self.lr, betas=betas)]

    def state(self):
        return [listed(each.values()) for each in self.optimizers()[1].optimizer.state.values()]


@case
class ScalerOfTheirOwn(Code):
    def __init__(self, lr):
        super().__init__(lr)
        self.automatic_optimization = False
        self.scaler = GradScaler("cpu", init_scale=2.0**10, growth_interval=3)

    def training_step(self, batch, batch_idx):
        optimizer = self.optimizers().optimizer
        loss = self.loss(batch)
        optimizer.zero_grad()
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(self.net.parameters(), 5.0)
        self.scaler.step(optimizer)
        self.scaler.update()
        return loss

    def state(self):
        return self.scaler.state_dict()


@case
class SpectralAndWeightNorm(Code):
    """Power iterations write to buffers in every forward pass in train mode."""

    def __init__(self, lr):
        super().__init__(lr)
        self.net = nn.Sequential(
            parametrizations.spectral_norm(nn.Linear(4, 8)), parametrizations.weight_norm(nn.Linear(8, 1))
        )

    def state(self):
        return listed(self.net.buffers())


class Scaled(nn.Module):
    """A parametrization that counts how often it was asked."""

    def __init__(self):
        super().__init__()
        self.asked = 0

    def forward(self, weight):
        self.asked += 1
        return weight * (1 + 1e-4 * self.asked)


@case
class ParametrizationWithACounter(Code):
    def __init__(self, lr):
        super().__init__(lr)
        parametrize.register_parametrization(self.net, "weight", Scaled())

    def state(self):
        return self.net.parametrizations.weight[0].asked


@case
class ParametrizedByAStep(Code):
    """The class of a module changes where a parametrization is added."""

    def training_step(self, batch, batch_idx):
        if batch_idx == 4 and not parametrize.is_parametrized(self.net):
            parametrize.register_parametrization(self.net, "bias", Scaled())
        return self.loss(batch)

    def state(self):
        return type(self.net).__name__, sorted(self.state_dict())


@case
class PrunedByAStep(Code):
    def training_step(self, batch, batch_idx):
        if batch_idx == 3:
            prune.l1_unstructured(self.net, "weight", amount=1)
        return self.loss(batch)

    def state(self):
        return listed(self.net.buffers()), sorted(self.state_dict()), len(self.net._forward_pre_hooks)


@case
class ModuleHooksThatCount(Code):
    def __init__(self, lr):
        super().__init__(lr)
        self.norms, self.calls = [], {"forward": 0}
        self.net = nn.Sequential(nn.Linear(4, 2), nn.Linear(2, 1))
        self.net[1].register_full_backward_hook(self.note)
        self.net.register_forward_pre_hook(lambda *_: self.calls.update(forward=self.calls["forward"] + 1))

    def note(self, module, inputs, outputs):
        self.norms.append(float(outputs[0].norm()))

    def training_step(self, batch, batch_idx):
        self.handle = self.net.register_forward_hook(lambda _, __, output: output * 1.001)
        return self.loss(batch)

    def state(self):
        return self.norms, self.calls, len(self.net._forward_hooks)


@case
class RecurrentStateThatIsKept(Code):
    """Truncated backpropagation: the state of the last batch begins the next."""

    def __init__(self, lr):
        super().__init__(lr)
        self.lstm = nn.LSTM(4, 4)
        self.hidden = None

    def training_step(self, batch, batch_idx):
        out, hidden = self.lstm(batch[0].unsqueeze(0), self.hidden)
        self.hidden = tuple(each.detach() for each in hidden)
        return nn.functional.mse_loss(self.net(out[0]), batch[1])

    def configure_optimizers(self):
        return SGD(self.parameters(), lr=self.lr)

    def state(self):
        return listed(self.hidden)


@case
class MetricsInListsAndCollections(Code):
    def __init__(self, lr):
        super().__init__(lr)
        self.metrics = [MeanSquaredError(), {"mean": MeanMetric()}]
        self.collection = MetricCollection({"mse": MeanSquaredError(), "mean": MeanMetric()})

    def training_step(self, batch, batch_idx):
        output = self.net(batch[0])
        self.metrics[0].update(output.detach(), batch[1])
        self.metrics[1]["mean"].update(output.detach())
        self.collection["mse"](output.detach(), batch[1])
        return nn.functional.mse_loss(output, batch[1])

    def state(self):
        found = [self.metrics[0], self.metrics[1]["mean"], self.collection["mse"]]
        return [(float(each.compute()), each.update_count) for each in found]


@case
class CompiledModule(Code):
    def __init__(self, lr):
        super().__init__(lr)
        self.norm = nn.BatchNorm1d(4)
        self.compiled = torch.compile(nn.Sequential(self.norm, self.net), backend="eager")

    def training_step(self, batch, batch_idx):
        return nn.functional.mse_loss(self.compiled(batch[0]), batch[1])

    def state(self):
        return listed(self.norm.buffers())


@case
class SparseEmbeddings(Code):
    def __init__(self, lr):
        super().__init__(lr)
        self.table = nn.Embedding(10, 1, sparse=True)
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        sparse, dense = self.optimizers()
        offset = self.table((batch[0][:, 0].abs() * 3).long().clamp(max=9))
        loss = nn.functional.mse_loss(self.net(batch[0]) + offset, batch[1])
        sparse.zero_grad()
        dense.zero_grad()
        self.manual_backward(loss)
        sparse.step()
        dense.step()
        return loss

    def configure_optimizers(self):
        return [
            SparseAdam(self.table.parameters(), lr=self.lr),
            SGD(self.net.parameters(), lr=self.lr, momentum=0.5),
        ]

    def state(self):
        return [
            listed([s["exp_avg"], s["exp_avg_sq"]]) for s in self.optimizers()[0].optimizer.state.values()
        ]


@case
class LineSearch(Code):
    def configure_optimizers(self):
        return LBFGS(self.net.parameters(), lr=self.lr, max_iter=3, history_size=4)

    def state(self):
        [state] = self.optimizers().optimizer.state.values()
        return state["func_evals"], listed([state["d"], *state["old_dirs"], *state["old_stps"]])


@case
class GeneratorOnTheModule(Code):
    def __init__(self, lr):
        super().__init__(lr)
        self.noise = torch.Generator().manual_seed(7)
        self.register_buffer("drawn", torch.zeros(4))

    def training_step(self, batch, batch_idx):
        self.drawn.normal_(generator=self.noise)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(batch_idx)
            dropped = nn.functional.dropout(batch[0], 0.1)
        return self.loss((dropped + 0.01 * self.drawn, batch[1]))

    def state(self):
        return self.drawn.tolist(), torch.rand(1, generator=self.noise).item()


@case
class Observers(Code):
    """Quantization-aware training: ranges that observers follow, switched off by a step."""

    def __init__(self, lr):
        super().__init__(lr)
        self.fake = torch.ao.quantization.FakeQuantize(
            observer=torch.ao.quantization.MovingAverageMinMaxObserver, dtype=torch.quint8
        )

    def training_step(self, batch, batch_idx):
        if batch_idx == 9:
            self.fake.disable_observer()
        return self.loss((self.fake(batch[0]), batch[1]))

    def state(self):
        return listed(self.fake.buffers())


Pair = namedtuple("Pair", ["left", "right"])  # noqa: PYI024 (what people write)


@case
class TensorsThatShareMemory(Code):
    """Views of one another must still be views of one another."""

    def __init__(self, lr):
        super().__init__(lr)
        self.flat = torch.zeros(8)
        self.pair = Pair(self.flat[:4], self.flat[4:].view(2, 2))
        self.turned = torch.zeros(3, 2).t()
        self.wave = torch.zeros(2, dtype=torch.complex64)
        self.half = torch.zeros(2, dtype=torch.bfloat16)
        self.empty = torch.zeros(0, 3)
        self.few = {torch.zeros(1)}
        self.jagged = [[torch.zeros(1)], [], [[torch.zeros(2), torch.zeros(3)]]]

    def training_step(self, batch, batch_idx):
        mean = batch[0].mean(0)
        self.pair.left.add_(mean)
        self.pair.right.add_(1)
        self.turned[0].add_(1)
        self.wave.add_(mean[0] * 1j)
        self.half.add_(mean[0])
        self.empty = torch.cat([self.empty, mean[:3].unsqueeze(0)])[-2:]
        next(iter(self.few)).add_(1)
        self.few.add(mean)
        self.jagged[2][0][1].add_(mean[0])
        self.jagged[1].append(batch_idx)
        return self.loss(batch) + 0.001 * self.flat.sum()

    def state(self):
        shared = self.flat.data_ptr() == self.pair.left.data_ptr() and self.pair.right._base is self.flat
        tensors = [self.flat, self.turned, self.half.float(), self.wave.imag, self.empty]
        return shared, listed(tensors), len(self.few), str(self.jagged), self.turned.stride()


@case
class TiedWeights(Code):
    def __init__(self, lr):
        super().__init__(lr)
        self.other = nn.Linear(4, 1)
        self.other.weight = self.net.weight
        self.hidden = {"same": self.net.weight, "part": self.net.weight.detach()[:, :2]}

    def training_step(self, batch, batch_idx):
        return self.loss(batch) + 0.1 * self.other(batch[0]).square().mean()

    def state(self):
        same = self.other.weight is self.net.weight and self.hidden["same"] is self.net.weight
        return (
            same,
            self.hidden["part"].data_ptr() == self.net.weight.data_ptr(),
            self.hidden["part"].tolist(),
        )


@case
class TiedByAStep(Code):
    def __init__(self, lr):
        super().__init__(lr)
        self.other = nn.Linear(4, 1)

    def training_step(self, batch, batch_idx):
        if batch_idx == 4:
            self.other.weight = self.net.weight
            self.extra = nn.Parameter(torch.zeros(1))
            self.more = nn.Linear(1, 1)
        return self.loss(batch) + 0.1 * self.other(batch[0]).square().mean()

    def state(self):
        return self.other.weight is self.net.weight, sorted(self.state_dict())


@case
class GraphThatIsKept(Code):
    """What the last step computed, with its graph, goes into the next loss."""

    def __init__(self, lr):
        super().__init__(lr)
        self.context = nn.Parameter(torch.ones(4))
        self.memory = self.context * 2

    def training_step(self, batch, batch_idx):
        loss = self.loss(batch) + 0.001 * self.memory.detach().sum()
        self.memory = self.net.weight[0] * 0.5
        return loss

    def state(self):
        return self.memory.tolist(), self.memory.requires_grad


@case
class WeightsReplaced(Code):
    """`.data` and `load_state_dict(assign=True)` give a parameter other memory; `half` in and out as well."""

    def training_step(self, batch, batch_idx):
        if batch_idx == 3:
            self.net.weight.data = self.net.weight.data.double().float() * 0.9
        if batch_idx == 5:
            self.net.to(torch.float64).to(torch.float32)
        if batch_idx == 7:
            self.net.weight.data = torch.cat([self.net.weight.data, torch.zeros(1, 4)])[:1]
        return self.loss(batch)

    def state(self):
        return self.net.weight.data.untyped_storage().nbytes()


@case
class GroupsAddedByAStep(Code):
    """Layers thaw one after the other."""

    def __init__(self, lr):
        super().__init__(lr)
        self.late = nn.Linear(4, 1).requires_grad_(False)

    def training_step(self, batch, batch_idx):
        if batch_idx == 5 and len(self.optimizers().param_groups) == 1:
            self.late.requires_grad_(True)
            self.optimizers().optimizer.add_param_group({"params": self.late.parameters(), "lr": 1e-4})
        return self.loss(batch) + self.late(batch[0]).square().mean()

    def state(self):
        return len(self.optimizers().param_groups), [p.requires_grad for p in self.parameters()]


@case
class HooksOfTheOptimizer(Code):
    def configure_optimizers(self):
        optimizer = super().configure_optimizers()
        self.steps = {"before": 0, "after": 0}
        optimizer.register_step_pre_hook(lambda *_: self.note("before"))
        optimizer.register_step_post_hook(lambda *_: self.note("after"))
        return optimizer

    def note(self, when):
        self.steps[when] += 1

    def state(self):
        return self.steps


@case
class HooksOfStateDicts(Code):
    def __init__(self, lr):
        super().__init__(lr)
        self.net.register_state_dict_post_hook(lambda *_: self.count())
        self.saved = 0

    def count(self):
        self.saved += 1

    def training_step(self, batch, batch_idx):
        if batch_idx % 4 == 0:
            self.best = {name: value.clone() for name, value in self.net.state_dict().items()}
        return self.loss(batch)

    def state(self):
        return self.saved, listed(self.best.values())


class Exploding(nn.Module):
    """Cannot be copied, compared, hashed in a set of equal ones, or shown."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.seen = 0

    def __deepcopy__(self, memo):
        raise TypeError("cannot be copied")

    def __reduce_ex__(self, protocol):
        raise TypeError("cannot be pickled")

    def __eq__(self, other):
        raise TypeError("cannot be compared")

    def __hash__(self):
        return 1

    def __len__(self):
        raise TypeError("has no length")

    def __bool__(self):
        raise TypeError("is neither true nor false")

    def __repr__(self):
        raise TypeError("cannot be shown")

    def forward(self, features):
        self.seen += 1
        return features * self.scale


@case
class ModuleThatCannotBeCopied(Code):
    def __init__(self, lr):
        super().__init__(lr)
        self.exploding = Exploding()

    def training_step(self, batch, batch_idx):
        return self.loss((self.exploding(batch[0]), batch[1]))

    def configure_optimizers(self):
        return SGD(self.parameters(), lr=self.lr)

    def state(self):
        return self.exploding.seen


@case
class SeveralLoaders(Code):
    def train_dataloader(self):
        self.generators = [torch.Generator().manual_seed(number) for number in (1, 2)]
        loaders = [DataLoader(self.data(), 8, shuffle=True, generator=each) for each in self.generators]
        return CombinedLoader({"a": loaders[0], "b": loaders[1]}, "max_size_cycle")

    def training_step(self, batch, batch_idx):
        return self.loss(batch["a"]) + self.loss(batch["b"])

    def state(self):
        return [torch.rand(1, generator=each).item() for each in self.generators]


@case
class ScheduleByHand(Code):
    """A warm-up of their own in plain numbers, of things that are not the LR."""

    def __init__(self, lr):
        super().__init__(lr)
        self.temperature = 5.0
        self.best = math.inf

    def on_before_optimizer_step(self, optimizer):
        self.temperature = max(1.0, self.temperature * 0.95)
        for group in optimizer.param_groups:
            group["momentum"] = min(0.9, group["momentum"] + 0.01)
            group["weight_decay"] = 1e-4 * self.temperature

    def training_step(self, batch, batch_idx):
        loss = self.loss(batch)
        self.best = min(self.best, float(loss.detach()))
        return loss * self.temperature

    def state(self):
        group = self.optimizers().param_groups[0]
        return self.temperature, self.best, group["momentum"], group["weight_decay"]
