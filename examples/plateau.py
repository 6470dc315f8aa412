"""Train until validation stalls, and see it caught.

`python examples/plateau.py fit --config examples/plateau.yaml`

A small network learns to take noise off scikit-learn's digits, with an LR too high to settle. PlateauDetector
sees that the validation loss has stopped falling and lowers the LR, and the loss falls on.
"""

import warnings

import torch
from digits import Batch, DigitsData
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import LightningCLI, OptimizerCallable
from torch import Tensor, nn
from torch.optim import Adam, Optimizer
from typing_extensions import override


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


def main() -> None:
    """Run LightningCLI."""
    torch.set_num_threads(1)  # the images are too small to be shared among threads
    warnings.filterwarnings("ignore", "The '.*_dataloader' does not have many workers", UserWarning)
    warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated", FutureWarning)
    LightningCLI(DigitsDenoiser, DigitsData, save_config_kwargs={"overwrite": True})


if __name__ == "__main__":
    main()
