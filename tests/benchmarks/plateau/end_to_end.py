"""What a PlateauDetector is worth: the validation loss at the end of real trainings, beside the alternatives.

`python tests/benchmarks/plateau/end_to_end.py` prints a table for each of two tasks that overfit, at two
learning rates: digits, a fifth of whose training labels are wrong, and diabetes, 331 rows with much noise.
Every row of a table is the same module with another way to move the learning rate, over the same five seeds.
"""

import logging
import statistics
import sys
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from sklearn.datasets import load_diabetes, load_digits
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.utils.data import DataLoader, TensorDataset
from tqdm import tqdm

from lightning_lr import LRDecay, PlateauDetector
from lightning_lr.plateau import ReduceLR
from lightning_lr.policies import Linear

SEEDS = range(5)
DETECTOR, REDUCING = "PlateauDetector()", "PlateauDetector, ReduceLR only"
CONSTANT, TORCH, LINEAR = "constant LR", "ReduceLROnPlateau()", "linear decay"
Split = tuple[TensorDataset, TensorDataset]


@dataclass(frozen=True)
class Task:
    """Something to train.

    Args:
        name: What it is.
        split: Makes training and validation data from a seed.
        criterion: Outputs, targets -> mean loss.
        sizes: Units of the layers.
        lr: The base LR of AdamW.
        batch_size: Rows per step.
        epochs: Length of the training.
    """

    name: str
    split: Callable[[int], Split]
    criterion: Callable[[Tensor, Tensor], Tensor]
    sizes: tuple[int, ...]
    lr: float
    batch_size: int
    epochs: int


def noisy_digits(seed: int) -> Split:
    """Return scikit-learn's digits, a fifth of the training labels replaced by random ones."""
    digits = load_digits()
    images = torch.tensor(digits.data, dtype=torch.float32) / 16
    labels = torch.tensor(digits.target)
    train, val = train_test_split(range(len(labels)), test_size=0.4, stratify=labels, random_state=seed)
    generator = torch.Generator().manual_seed(seed)
    wrong = torch.rand(len(train), generator=generator) < 0.2
    given = torch.where(wrong, torch.randint(10, (len(train),), generator=generator), labels[train])
    return TensorDataset(images[train], given), TensorDataset(images[val], labels[val])


def diabetes(seed: int) -> Split:
    """Return scikit-learn's diabetes data, inputs and targets standardized."""
    inputs, targets = load_diabetes(return_X_y=True)
    train, val = train_test_split(range(len(targets)), test_size=0.25, random_state=seed)
    scaled = StandardScaler().fit(inputs[train]).transform(inputs)
    centered = (targets - targets[train].mean()) / targets[train].std()
    rows, wanted = (torch.tensor(each, dtype=torch.float32) for each in (scaled, centered[:, None]))
    return TensorDataset(rows[train], wanted[train]), TensorDataset(rows[val], wanted[val])


# Both at a usual LR and at one that is rather high: what reduces it matters more there.
TASKS = tuple(
    replace(task, name=f"{task.name}, LR {lr}", lr=lr)
    for task in (
        Task("digits, 20 % wrong labels", noisy_digits, functional.cross_entropy, (64, 128, 10), 0, 64, 100),
        Task("diabetes", diabetes, functional.mse_loss, (10, 64, 1), 0, 32, 100),
    )
    for lr in (0.003, 0.01)
)


class Perceptron(LightningModule):
    """A network of fully connected layers.

    Args:
        task: What it learns.
        on_plateau: Whether torch's scheduler is to reduce the LR.
    """

    def __init__(self, task: Task, *, on_plateau: bool) -> None:
        super().__init__()
        self.task = task
        self.on_plateau = on_plateau
        *hidden, last = [nn.Linear(n, m) for n, m in zip(task.sizes, task.sizes[1:], strict=False)]
        self.network = nn.Sequential(*(part for layer in hidden for part in (layer, nn.ReLU())), last)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        """Return the loss."""
        return self.task.criterion(self.network(batch[0]), batch[1])

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        """Log and return the loss."""
        loss = self.task.criterion(self.network(batch[0]), batch[1])
        self.log("val_loss", loss)
        return loss

    def configure_optimizers(self) -> Any:
        """Return AdamW, with a scheduler or without."""
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.task.lr)
        if not self.on_plateau:
            return optimizer
        scheduler = {"scheduler": ReduceLROnPlateau(optimizer), "monitor": "val_loss"}
        return {"optimizer": optimizer, "lr_scheduler": scheduler}


METHODS: dict[str, Callable[[], list[Callback]]] = {
    CONSTANT: list,
    TORCH: list,
    LINEAR: lambda: [LRDecay(Linear())],
    DETECTOR: lambda: [PlateauDetector()],
    REDUCING: lambda: [
        PlateauDetector(on_plateau=ReduceLR(), on_overfitting=ReduceLR(), on_divergence=ReduceLR())
    ],
}


def final_loss(task: Task, method: str, seed: int, epochs: int | None = None) -> float:
    """Train once and return the validation loss of the last weights."""
    seed_everything(seed, verbose=False)
    module = Perceptron(task, on_plateau=method == TORCH)
    train, val = task.split(seed)
    loaders = DataLoader(train, task.batch_size, shuffle=True), DataLoader(val, len(val))
    trainer = Trainer(
        max_epochs=epochs or task.epochs,
        accelerator="cpu",
        callbacks=METHODS[method](),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(module, *loaders)
    [result] = trainer.validate(module, loaders[1], verbose=False)
    return result["val_loss"]


def measure(
    tasks: Iterable[Task] = TASKS, seeds: Iterable[int] = SEEDS, epochs: int | None = None
) -> dict[str, dict[str, list[float]]]:
    """Return the final losses by task, method and seed."""
    runs = [(task, method, seed) for task in tasks for seed in seeds for method in METHODS]
    losses: dict[str, dict[str, list[float]]] = {}
    for task, method, seed in tqdm(runs, desc="trainings", disable=not sys.stderr.isatty()):
        of_task = losses.setdefault(task.name, {name: [] for name in METHODS})
        of_task[method].append(final_loss(task, method, seed, epochs))
    return losses


def report(losses: dict[str, dict[str, list[float]]]) -> str:
    """Return the tables as Markdown."""
    lines = []
    for task, by_method in losses.items():
        lines += [
            f"**{task}**",
            "",
            "| | final validation loss | no worse than constant LR |",
            "|---|---|---|",
        ]
        for method, found in by_method.items():
            wins = sum(one <= other for one, other in zip(found, by_method[CONSTANT], strict=True))
            spread = statistics.stdev(found) if len(found) > 1 else 0.0
            lines.append(
                f"| {method} | {statistics.fmean(found):.4f} ± {spread:.4f} | {wins} of {len(found)} |"
            )
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    print(report(measure()))


if __name__ == "__main__":
    main()
