"""What a task of the suggestion benchmark is, and what the tasks are put together from."""

import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from benchmarks.finders import data
from torch import Tensor, nn, optim
from torch.nn import functional

__all__ = [
    "Batch",
    "Task",
    "characters",
    "cosine",
    "gaussian",
    "logits",
    "optimizer",
    "reconstruction",
    "seeded",
]

Batch: TypeAlias = tuple[Tensor, Tensor]
Loss: TypeAlias = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Task:
    """Something to train, all of it determined by seeds.

    Args:
        name: Data, model and optimizer.
        make_model: Seed -> model.
        make_optimizer: Parameters, LR -> optimizer.
        split: The data, made when first asked for.
        criterion: Outputs, targets -> mean loss.
        batch_size: Rows per step.
        total_steps: Steps of a full training.
        score: Validation loss -> a positive number whose ratios mean something.
    """

    name: str
    make_model: Callable[[int], nn.Module]
    make_optimizer: Callable[[Iterable[nn.Parameter], float], optim.Optimizer]
    split: Callable[[], data.Split]
    criterion: Loss
    batch_size: int = 32
    total_steps: int = 300
    score: Callable[[float], float] = float

    def batches(self, seed: int) -> Iterator[Batch]:
        """Yield batches without end, every epoch in another order."""
        split = self.split()
        generator = torch.Generator().manual_seed(seed)
        while True:
            order = torch.randperm(len(split.inputs), generator=generator)
            for rows in order.split(self.batch_size):
                if len(rows) == self.batch_size:
                    yield split.inputs[rows], split.targets[rows]

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the mean loss of one batch."""
        inputs, targets = batch
        return self.criterion(model(inputs), targets)

    def validation_loss(self, model: nn.Module) -> float:
        """Return the scored loss on the validation rows."""
        split = self.split()
        model.eval()
        with torch.no_grad():
            loss = self.loss(model, (split.validation_inputs, split.validation_targets)).item()
        model.train()
        return self.score(loss)


def seeded(build: Callable[[], nn.Module]) -> Callable[[int], nn.Module]:
    def make_model(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        return build()

    return make_model


def optimizer(kind: type[optim.Optimizer], **settings: Any) -> Callable[..., optim.Optimizer]:
    return lambda parameters, lr: kind(parameters, lr=lr, **settings)


def logits(outputs: Tensor, targets: Tensor) -> Tensor:
    return functional.binary_cross_entropy_with_logits(outputs.squeeze(1), targets)


def reconstruction(outputs: Tensor, targets: Tensor) -> Tensor:
    del targets  # an autoencoder is its own target
    return functional.mse_loss(outputs[0], outputs[1])


def gaussian(outputs: Tensor, targets: Tensor) -> Tensor:
    mean, log_sd = outputs.chunk(2, dim=1)
    return (log_sd + 0.5 * ((targets - mean) * torch.exp(-log_sd)) ** 2).mean()


@functools.cache
def _anchors() -> Tensor:
    return torch.randn(10, 16, generator=torch.Generator().manual_seed(0))


def cosine(outputs: Tensor, targets: Tensor) -> Tensor:
    return -functional.cosine_similarity(outputs, _anchors()[targets]).mean()


def characters(outputs: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(outputs.flatten(0, 1), targets.flatten())
