"""The one place that uses private names of Lightning and of torch's loaders."""

import copy
from typing import Any

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities import CombinedLoader

__all__ = [
    "PRIVATE_NAMES",
    "all_loaders",
    "is_sequential",
    "prepared",
    "private_copy",
    "train_loaders",
    "uses_distributed_sampler",
    "validation_loaders",
]

PRIVATE_NAMES = {
    "trainer.fit_loop._combined_loader": "the train loaders with their mode and limits; the public "
    "`train_dataloader` knows neither",
    "trainer.fit_loop.epoch_loop.val_loop._combined_loader": "the same of the validation loaders",
    "trainer.fit_loop.epoch_loop.val_loop._is_sequential": "whether they come one after the other",
    "trainer._accelerator_connector.use_distributed_sampler": "the argument of the Trainer, which keeps it "
    "nowhere else",
    "LightningModule._on_before_batch_transfer": "calls `on_before_batch_transfer` of the module or of the "
    "datamodule, whichever has it",
}


def train_loaders(trainer: Trainer) -> CombinedLoader:
    """Return the train loaders of the running fit.

    Raises:
        MisconfigurationException: It is too early: there are none yet.
    """
    loader = trainer.fit_loop._combined_loader
    if loader is None:
        raise MisconfigurationException("There are no train loaders yet: enter a DryRun in `on_train_start`.")
    return loader


def validation_loaders(trainer: Trainer) -> CombinedLoader | None:
    """Return the validation loaders of the running fit, or None where it does not validate."""
    return trainer.fit_loop.epoch_loop.val_loop._combined_loader


def all_loaders(trainer: Trainer) -> list[Any]:
    """Return every train and validation loader of the running fit."""
    validation = validation_loaders(trainer)
    return [*train_loaders(trainer).flattened, *(() if validation is None else validation.flattened)]


def private_copy(loader: Any) -> Any:
    """Return a loader over the same data whose iterator, and workers, are its own."""
    if hasattr(loader, "_iterator"):
        loader = copy.copy(loader)
        # The Trainer's iterator lives on in the original, with the workers that it may keep between epochs.
        loader._iterator = None
    return loader


def is_sequential(trainer: Trainer) -> bool:
    """Tell whether the validation loaders are gone through one after the other, not side by side."""
    return trainer.fit_loop.epoch_loop.val_loop._is_sequential


def prepared(trainer: Trainer, pl_module: LightningModule, batch: Any, *, loader: int) -> Any:
    """Return a batch as a step gets it: converted, moved, and passed through the user's transfer hooks."""
    batch = trainer.precision_plugin.convert_input(batch)
    batch = pl_module._on_before_batch_transfer(batch, dataloader_idx=loader)
    return trainer.strategy.batch_to_device(batch, dataloader_idx=loader)


def uses_distributed_sampler(trainer: Trainer) -> bool:
    """Tell whether the Trainer puts a distributed sampler into loaders."""
    return trainer._accelerator_connector.use_distributed_sampler
