"""A plain loop of torch that trains a task once, and lets a method move the LR.

It is what a fit with the callbacks does, without Lightning, so that thousands of runs are cheap;
`test_the_plain_loop_is_a_fit` holds it to a Trainer.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from benchmarks.plateau.tasks import Data, Task
from torch import Tensor, nn, optim

__all__ = ["Method", "Run", "Training", "train"]


@dataclass
class Run:
    """What came of one training.

    Args:
        values: The scored validation losses.
        training_losses: The mean training loss before each of them.
        lrs: The LR at each of them.
        final: The scored validation loss of the last weights.
        actions: The validations, counted from 1, at which something was done.
    """

    values: list[float] = field(default_factory=list)
    training_losses: list[float] = field(default_factory=list)
    lrs: list[float] = field(default_factory=list)
    final: float = math.nan
    actions: list[int] = field(default_factory=list)

    @property
    def best(self) -> float:
        """The best validation loss."""
        return min([value for value in self.values if math.isfinite(value)], default=math.inf)


@dataclass
class Training:
    """A training on its way, as a method sees it."""

    task: Task
    model: nn.Module
    optimizer: optim.Optimizer
    run: Run
    step: int = 0
    is_over: bool = False

    @property
    def total(self) -> int:
        """The steps of the whole run."""
        return self.task.validations * self.task.steps

    @property
    def lr(self) -> float:
        """The LR in force."""
        return float(self.optimizer.param_groups[0]["lr"])

    @lr.setter
    def lr(self, value: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = value

    def act(self) -> None:
        """Note that something was done at this validation."""
        self.run.actions.append(len(self.run.values))


class Method:
    """Moves the LR of one training; this one keeps it."""

    def before_step(self, training: Training) -> None:
        """Look at the training before a step."""

    def after_step(self, training: Training, loss: float) -> None:
        """Look at the training after a step."""

    def after_validation(self, training: Training, value: float, training_loss: float) -> None:
        """Look at a validation; its value is not scored."""


def train(task: Task, seed: int, make: Callable[[], Method]) -> Run:
    """Train once."""
    data = task.data(seed)
    torch.manual_seed(seed)
    model = task.model()
    training = Training(task, model, task.optimizer(model.parameters(), task.lr), Run())
    method, generator = make(), torch.Generator().manual_seed(seed)
    order = torch.empty(0, dtype=torch.long)
    for _ in range(task.validations):
        losses = []
        for _ in range(task.steps):
            if len(order) < task.batch_size:
                order = torch.randperm(len(data.inputs), generator=generator)
            rows, order = order[: task.batch_size], order[task.batch_size :]
            method.before_step(training)
            loss = _step(training, data.inputs[rows], data.targets[rows])
            training.step += 1
            losses.append(loss)
            method.after_step(training, loss)
        value = validation_loss(task, model, data)
        training.run.values.append(_scored(task, value))
        training.run.training_losses.append(sum(losses) / len(losses))
        training.run.lrs.append(training.lr)
        method.after_validation(training, value, training.run.training_losses[-1])
        if training.is_over:
            break
    training.run.final = _scored(task, validation_loss(task, model, data))
    return training.run


def validation_loss(task: Task, model: nn.Module, data: Data) -> float:
    """Return the mean loss on the validation rows."""
    model.eval()
    with torch.no_grad():
        loss = task.criterion(model(data.validation_inputs), data.validation_targets).item()
    model.train()
    return loss


def _step(training: Training, inputs: Tensor, targets: Tensor) -> float:
    loss = training.task.criterion(training.model(inputs), targets)
    training.optimizer.zero_grad()
    loss.backward()
    training.optimizer.step()
    return loss.item()


def _scored(task: Task, value: float) -> float:
    try:
        return task.score(value)
    except OverflowError:
        return math.inf
