"""The one place for private names of Lightning and torch; TensorBoard's are in `output/event_file.py`."""

import copy
from collections.abc import Sequence
from functools import lru_cache, reduce
from inspect import getattr_static
from typing import Any

import lightning
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import StochasticWeightAveraging
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import CombinedLoader
from torch.optim import SGD
from torch.optim.lr_scheduler import ChainedScheduler, LRScheduler, SequentialLR, StepLR
from torch.utils.data import DataLoader, TensorDataset

from lightning_lr.fit.neighbors import callbacks_of

__all__ = [
    "LAST_LRS",
    "PRIVATE_NAMES",
    "all_loaders",
    "check_private_names",
    "inner_schedulers",
    "is_sequential",
    "keep_swa_lrs",
    "make_initial_step",
    "makes_hp_metric",
    "prepared",
    "private_copy",
    "state_key",
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
    "StochasticWeightAveraging._swa_lrs": "the LRs that it sets again after a resume",
    "StochasticWeightAveraging._scheduler_state": "tells whether a checkpoint is one of its averaging",
    "DataLoader._iterator": "what a copy of a loader must not share with it",
    "LRScheduler._initial_step": "begins a schedule again from another base LR",
    "LRScheduler._last_lr": "what a schedule says it has set",
    "SequentialLR._schedulers": "the schedules that follow one another",
    "ChainedScheduler._schedulers": "the schedules that multiply one another",
    "TensorBoardLogger._default_hp_metric": "whether Lightning writes a row of HParams itself",
    "Callback._generate_state_key": "tells two callbacks of one class apart in checkpoints",
}

# The entry of a scheduler that holds the LRs it has set.
LAST_LRS = "_last_lr"


def check_private_names(**roots: Any) -> None:
    """Refuse a Lightning or torch that has renamed what is used here, by that name and before any step.

    Args:
        roots: What the names begin with: `trainer=`, `LightningModule=`, `StochasticWeightAveraging=`.

    Raises:
        MisconfigurationException: A private name is gone.
    """
    of_torch = {"DataLoader": DataLoader(TensorDataset(torch.zeros(1))), **_schedulers()}
    for name, use in PRIVATE_NAMES.items():
        root, *path, last = name.split(".")
        try:
            owner = reduce(getattr, path, {**of_torch, **roots}.get(root))
            if owner is not None:
                # Not its value: a property may have none yet.
                getattr_static(owner, last)
        except AttributeError as error:
            if root in roots or root in of_torch:
                raise MisconfigurationException(_gone(name, use, of_torch=root in of_torch)) from error


@lru_cache
def _schedulers() -> dict[str, LRScheduler]:
    """Return one scheduler of each kind; only instances have the attributes."""
    step = StepLR(SGD([torch.zeros(1)], lr=0.1), 1)
    sequential = SequentialLR(step.optimizer, [step, StepLR(step.optimizer, 1)], [1])
    return {"LRScheduler": step, "SequentialLR": sequential, "ChainedScheduler": ChainedScheduler([step])}


def _gone(name: str, use: str, *, of_torch: bool) -> str:
    library, tested = ("torch", "torch<2.14") if of_torch else ("lightning", "lightning~=2.6.0")
    version = (torch if of_torch else lightning).__version__
    return (
        f"{library} {version} has no `{name}` any more, which lightning_lr uses: {use}. Nothing has been"
        f" changed in this run. Install a version that was tested, `pip install '{tested}'`, or a newer"
        " lightning_lr; until then, do without the callback that asks for it."
    )


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


def inner_schedulers(scheduler: Any) -> Sequence[Any]:
    """Return the schedulers inside a SequentialLR or ChainedScheduler, which have no public name."""
    inner: Sequence[Any] = vars(scheduler).get("_schedulers", ())
    return inner


def make_initial_step(scheduler: LRScheduler) -> None:
    """Make the first step of a scheduler again, as its constructor did."""
    scheduler.last_epoch = -1
    scheduler._initial_step()


def makes_hp_metric(logger: TensorBoardLogger) -> bool:
    """Tell whether Lightning writes a row of HParams for this logger, with `hp_metric`."""
    return bool(vars(logger).get("_default_hp_metric"))


def state_key(callback: Callback, **kwargs: Any) -> str:
    """Return the key of a callback's state in checkpoints, one for each choice of these arguments."""
    return callback._generate_state_key(**kwargs)


def uses_distributed_sampler(trainer: Trainer) -> bool:
    """Tell whether the Trainer puts a distributed sampler into loaders."""
    check_private_names(trainer=trainer)
    return trainer._accelerator_connector.use_distributed_sampler


def keep_swa_lrs(trainer: Trainer) -> None:
    """Let StochasticWeightAveraging go on with the LRs of the checkpoint, which may have been rescaled.

    To be called in `on_train_start`: after a resume it gives every group its own LRs again.
    """
    for callback in callbacks_of(trainer, StochasticWeightAveraging):
        check_private_names(StochasticWeightAveraging=callback)
        groups = [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
        if callback._scheduler_state is not None:
            callback._swa_lrs = [group["swa_lr"] for group in groups if "swa_lr" in group]
