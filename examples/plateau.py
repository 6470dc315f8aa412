"""Train until validation stalls, and see it caught.

`python examples/plateau.py fit --config examples/plateau.yaml`

A small network learns to take noise off scikit-learn's digits, with an LR too high to settle. PlateauDetector
sees that the validation loss has stopped falling and lowers the LR, and the loss falls on.
"""

import statistics
import warnings
from collections.abc import Sequence

import torch
from digits import Batch, DigitsData
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import LightningCLI, OptimizerCallable
from torch import Tensor, nn
from torch.optim import Adam, Optimizer
from typing_extensions import override

from lightning_lr import PlateauDetector
from lightning_lr.plateau.record import Record

# So many validations tell the level of a noisy loss.
_LEVEL = 5


class DigitsDenoiser(LightningModule):
    """A network with one hidden layer that sees images with noise and is to return them without.

    Args:
        optimizer: Makes the optimizer from the parameters.
        width: Hidden units.
        noise: Standard deviation of the noise; pixels are in [0, 1].
    """

    def __init__(self, optimizer: OptimizerCallable = Adam, width: int = 128, noise: float = 0.3) -> None:
        super().__init__()
        self.optimizer = optimizer
        self.noise = noise
        self.network = nn.Sequential(
            nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 64), nn.Unflatten(1, (1, 8, 8))
        )

    @override
    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss under noise that is new every time."""
        images, _ = batch
        return self.loss(images, torch.randn_like(images))

    @override
    def validation_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss under noise that is always the same."""
        images, _ = batch
        noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(batch_idx))
        return self.loss(images, noise.to(images))

    def loss(self, images: Tensor, noise: Tensor) -> Tensor:
        """Return the mean squared error per pixel."""
        return nn.functional.mse_loss(self.network(images + self.noise * noise), images)

    @override
    def configure_optimizers(self) -> Optimizer:
        """Return the optimizer alone: PlateauDetector lowers its LR."""
        return self.optimizer(self.parameters())


class PlateauCLI(LightningCLI):
    """LightningCLI that closes a fit with what the detector saw and did."""

    def after_fit(self) -> None:
        """Say what happened at which validation, and what came of it."""
        print()
        for callback in self.trainer.callbacks:
            if isinstance(callback, PlateauDetector):
                print("\n".join(describe(callback.records)))
        if self.trainer.logger is not None:
            print(f"To see the curves: tensorboard --logdir {self.trainer.logger.save_dir}")


def describe(records: Sequence[Record]) -> list[str]:
    """Return a line for every action, with the level of the loss that it was taken at."""
    lines = []
    for record in records:
        if record.effects:
            loss = level(records[: record.validation])
            done = ", ".join(record.effects)
            lines.append(f"Validation {record.validation}: {record.verdict.state} at {loss:.4f}, {done}")
    return [*lines, f"Validation {len(records)}: the end, at {level(records):.4f}"]


def level(records: Sequence[Record]) -> float:
    """Return the median of the last few values."""
    return statistics.median(record.value for record in records[-_LEVEL:])


def main() -> None:
    """Run LightningCLI."""
    torch.set_num_threads(1)  # the images are too small to be shared among threads
    warnings.filterwarnings("ignore", "The '.*_dataloader' does not have many workers", UserWarning)
    warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated", FutureWarning)
    PlateauCLI(DigitsDenoiser, DigitsData, save_config_kwargs={"overwrite": True})


if __name__ == "__main__":
    main()
