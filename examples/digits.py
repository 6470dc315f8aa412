"""Train a small CNN on scikit-learn's digits: `python examples/digits.py fit --config examples/digits.yaml`.

The module below is an ordinary one. How its learning rate moves and what is logged about it is all in the
callbacks of `digits.yaml`.
"""

import warnings

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.cli import LightningCLI, OptimizerCallable
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.utils.data import DataLoader, TensorDataset
from typing_extensions import override

Batch = tuple[Tensor, Tensor]


class DigitsClassifier(LightningModule):
    """A small CNN for images of 8 x 8 pixels.

    Args:
        optimizer: Makes the optimizer from the parameters; its `lr` is the base LR
            where no LRRangeTest replaces it.
        width: Channels of the first convolution; the second has twice as many.
    """

    def __init__(self, optimizer: OptimizerCallable = AdamW, width: int = 32) -> None:
        super().__init__()
        self.optimizer = optimizer
        self.network = nn.Sequential(
            nn.Conv2d(1, width, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(width, 2 * width, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(),
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Linear(2 * width * 4 * 4, 10),
        )

    @override
    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of shape (batch, 10) for images of shape (batch, 1, 8, 8)."""
        logits: Tensor = self.network(images)
        return logits

    @override
    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss, which is all that LRLogger needs to draw it."""
        images, labels = batch
        return nn.functional.cross_entropy(self(images), labels)

    @override
    def validation_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Log the accuracy and return the loss."""
        images, labels = batch
        logits = self(images)
        accuracy = (logits.argmax(dim=1) == labels).float().mean()
        self.log("val_acc", accuracy, prog_bar=True)
        return nn.functional.cross_entropy(logits, labels)

    @override
    def configure_optimizers(self) -> Optimizer:
        """Return the optimizer alone: no scheduler, LRDecay does that."""
        return self.optimizer(self.parameters())


class DigitsData(LightningDataModule):
    """The 1,797 handwritten digits that ship with scikit-learn, split into training and validation.

    Args:
        batch_size: Images per batch.
        val_fraction: Share of the images held out, every digit alike, in (0, 1).
        split_seed: Which images are held out.
    """

    def __init__(self, batch_size: int = 64, val_fraction: float = 0.2, split_seed: int = 0) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.val_fraction = val_fraction
        self.split_seed = split_seed

    @override
    def setup(self, stage: str) -> None:
        """Load and split the images."""
        digits = load_digits()
        images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16  # pixels are 0 to 16
        labels = torch.tensor(digits.target)
        train, val = train_test_split(
            range(len(labels)), test_size=self.val_fraction, stratify=labels, random_state=self.split_seed
        )
        self.train = TensorDataset(images[train], labels[train])
        self.val = TensorDataset(images[val], labels[val])

    @override
    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """Return the training images, shuffled anew every epoch."""
        return DataLoader(self.train, self.batch_size, shuffle=True)

    @override
    def val_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """Return the validation images."""
        return DataLoader(self.val, batch_size=512)


def main() -> None:
    """Run LightningCLI."""
    # Images of 8 x 8 pixels are too small to be shared among threads, which would wait for one another.
    torch.set_num_threads(1)
    # Lightning advises worker processes, which are slower than reading images that are in memory.
    warnings.filterwarnings("ignore", "The '.*_dataloader' does not have many workers", UserWarning)
    # Lightning 2.6 uses a name that torch 2.13 deprecates.
    warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated", FutureWarning)
    # Without a logger the config is written to the working directory, where the second run would refuse.
    LightningCLI(DigitsClassifier, DigitsData, save_config_kwargs={"overwrite": True})


if __name__ == "__main__":
    main()
