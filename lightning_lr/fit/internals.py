"""The only file that uses private names of Lightning and torch; for TensorBoard: `output/event_file.py`."""

import copy
from collections.abc import Sequence
from functools import lru_cache, reduce
from inspect import getattr_static
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD
from torch.optim.lr_scheduler import ChainedScheduler, LRScheduler, SequentialLR, StepLR
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.dataloader import _BaseDataLoaderIter

from lightning_lr.fit.lightnings import (
    BatchSizeFinder,
    Callback,
    CombinedLoader,
    LearningRateFinder,
    LightningModule,
    MisconfigurationException,
    StochasticWeightAveraging,
    TensorBoardLogger,
    Trainer,
    lightning_of,
)
from lightning_lr.fit.neighbors import callbacks_of
from lightning_lr.fit.optimizers import groups_of

__all__ = [
    "LAST_LRS",
    "LIVE_ITERATOR",
    "PRIVATE_NAMES",
    "bar_metrics_of",
    "batches_taken",
    "belongs_to_tuner",
    "callback_metrics_of",
    "check_private_names",
    "inner_schedulers",
    "is_sequential",
    "keep_swa_lrs",
    "make_initial_step",
    "makes_hp_metric",
    "milestones_of",
    "prepared",
    "private_copy",
    "run_into",
    "state_key",
    "tensor_hooks",
    "tensor_version",
    "train_loaders",
    "uses_distributed_sampler",
    "validation_loaders",
]

PRIVATE_NAMES = {
    "trainer.fit_loop._combined_loader": "the train loaders with their mode and limits; the public "
    "`train_dataloader` knows neither",
    "trainer.fit_loop.epoch_loop.val_loop._combined_loader": "the same of the validation loaders",
    "trainer.fit_loop.epoch_loop.val_loop._is_sequential": "whether they run one after the other",
    "trainer._logger_connector._callback_metrics": "what `self.log` has logged, for steps that look at it",
    "trainer._logger_connector._progress_bar_metrics": "what the progress bar shows beside them",
    "trainer._accelerator_connector.use_distributed_sampler": "the argument of the Trainer, which keeps it "
    "nowhere else",
    "LightningModule._on_before_batch_transfer": "calls `on_before_batch_transfer` of the module or of the "
    "datamodule, whichever has it",
    "LearningRateFinder._early_exit": "tells the fit of a Tuner from one that trains",
    "StochasticWeightAveraging._swa_lrs": "the LRs that it sets again after a resume",
    "StochasticWeightAveraging._scheduler_state": "tells whether a checkpoint was saved while it averaged",
    "DataLoader._iterator": "what a copy of a loader must not share with it",
    "DataLoaderIter._num_yielded": "tells whether the iterator of a loader has been read on",
    "LRScheduler._initial_step": "begins a schedule again from another base LR",
    "LRScheduler._last_lr": "what a schedule says it has set",
    "SequentialLR._schedulers": "the schedules that follow one another",
    "SequentialLR._milestones": "after how many steps they do",
    "ChainedScheduler._schedulers": "the schedules that multiply one another",
    "TensorBoardLogger._default_hp_metric": "whether Lightning writes a row of HParams itself",
    "TensorBoardLogger._version": "the folder of a run, so that runs that begin at once have their own",
    "Tensor._version": "tells whether a tensor that is too large to be copied was written to",
    "Tensor._backward_hooks": "the gradient hooks of a tensor, which a step may add",
    "Tensor._post_accumulate_grad_hooks": "those that run once the gradient is there",
    "Callback._generate_state_key": "tells two callbacks of one class apart in checkpoints",
}

# The attribute of a loader with its iterator, which holds the workers.
LIVE_ITERATOR = "_iterator"
# The attribute of a scheduler with the LRs that it has set.
LAST_LRS = "_last_lr"


def check_private_names(**roots: Any) -> None:
    """Raise MisconfigurationException if Lightning or torch has renamed a private name in use.

    It looks at torch's names and at those that begin with one of `roots`: `trainer=`, ....
    """
    of_torch = _of_torch()
    for name, use in PRIVATE_NAMES.items():
        root, *path, last = name.split(".")
        try:
            owner = reduce(getattr, path, {**of_torch, **roots}.get(root))
            if owner is not None:
                # The name, not its value, which a property may not have yet.
                getattr_static(owner, last)
        except AttributeError as error:
            if root in roots or root in of_torch:
                raise MisconfigurationException(
                    _gone(name, use, None if root in of_torch else roots[root])
                ) from error


@lru_cache
def _of_torch() -> dict[str, object]:
    """Return an object of each class of torch; only instances have some of the attributes."""
    # With a generator of its own, since an iterator takes a seed from it.
    loader = DataLoader(TensorDataset(torch.zeros(1)), generator=torch.Generator())
    step = StepLR(SGD([torch.zeros(1)], lr=0.1), 1)
    sequential = SequentialLR(step.optimizer, [step, StepLR(step.optimizer, 1)], [1])
    return {
        "DataLoader": loader,
        "DataLoaderIter": iter(loader),
        "Tensor": torch.zeros(1),
        "LRScheduler": step,
        "SequentialLR": sequential,
        "ChainedScheduler": ChainedScheduler([step]),
    }


def _gone(name: str, use: str, root: object) -> str:
    if root is None:
        library, version, tested = "torch", torch.__version__, "torch<2.14"
    else:
        lightning = lightning_of(root)
        library, version = lightning.__name__.removesuffix(".pytorch"), lightning.__version__
        tested = f"{library}~=2.6.0"
    return (
        f"{library} {version} has no `{name}` any more, which lightning_lr uses: {use}. Nothing has been"
        f" changed in this run. Install a version that was tested, `pip install '{tested}'`, or a newer"
        " lightning_lr; until then, do without the callback that asks for it."
    )


def train_loaders(trainer: Trainer) -> CombinedLoader:
    """Return the train loaders of the running fit; raise MisconfigurationException before they exist."""
    loader = trainer.fit_loop._combined_loader
    if loader is None:
        raise MisconfigurationException("There are no train loaders yet: enter a DryRun in `on_train_start`.")
    return loader


def validation_loaders(trainer: Trainer) -> CombinedLoader | None:
    """Return the validation loaders of the running fit, or None if it does not validate."""
    return trainer.fit_loop.epoch_loop.val_loop._combined_loader


def private_copy(loader: Any) -> Any:
    """Return a loader over the same data with an iterator and workers of its own."""
    if hasattr(loader, "_iterator"):
        loader = copy.copy(loader)
        # The original keeps the Trainer's iterator, with workers that may persist between epochs.
        loader._iterator = None
    return loader


def batches_taken(iterator: object) -> int | None:
    """Return how many batches the iterator of a torch loader has given; None for any other object."""
    return iterator._num_yielded if isinstance(iterator, _BaseDataLoaderIter) else None


def is_sequential(trainer: Trainer) -> bool:
    """Return whether the validation loaders run one after the other, not side by side."""
    return trainer.fit_loop.epoch_loop.val_loop._is_sequential


def prepared(trainer: Trainer, pl_module: LightningModule, batch: Any, *, loader: int) -> Any:
    """Return a batch as a step gets it: converted, passed through the transfer hooks, and on the device."""
    batch = trainer.precision_plugin.convert_input(batch)
    batch = pl_module._on_before_batch_transfer(batch, dataloader_idx=loader)
    return trainer.strategy.batch_to_device(batch, dataloader_idx=loader)


def inner_schedulers(scheduler: Any) -> Sequence[Any]:
    """Return the schedulers inside a SequentialLR or ChainedScheduler, which have no public name."""
    inner: Sequence[Any] = vars(scheduler).get("_schedulers", ())
    return inner


def milestones_of(scheduler: SequentialLR) -> Sequence[int]:
    """Return after how many steps a SequentialLR goes on to the next scheduler, which has no public name."""
    milestones: Sequence[int] = scheduler._milestones
    return milestones


def make_initial_step(scheduler: LRScheduler) -> None:
    """Repeat the first step of a scheduler, which its constructor made."""
    scheduler.last_epoch = -1
    scheduler._initial_step()


def makes_hp_metric(logger: TensorBoardLogger) -> bool:
    """Return whether Lightning writes a row of HParams for this logger, with `hp_metric`."""
    return bool(vars(logger).get("_default_hp_metric"))


def callback_metrics_of(trainer: Trainer) -> dict[str, Any]:
    """Return the dict behind `trainer.callback_metrics`, which is made anew from it at each look."""
    metrics: dict[str, Any] = trainer._logger_connector._callback_metrics
    return metrics


def bar_metrics_of(trainer: Trainer) -> dict[str, Any]:
    """Return the dict behind `trainer.progress_bar_metrics`."""
    metrics: dict[str, Any] = trainer._logger_connector._progress_bar_metrics
    return metrics


def belongs_to_tuner(trainer: Trainer) -> bool:
    """Return whether a fit is one that a Tuner makes for `lr_find` or `scale_batch_size`."""
    kinds = (LearningRateFinder, BatchSizeFinder)
    return any(isinstance(each, kinds) and each._early_exit for each in callbacks_of(trainer, Callback))


def run_into(logger: Any, folder: str) -> None:
    """Let a logger that numbers its runs write this one into a folder below its own."""
    if "_version" in vars(logger) and hasattr(type(logger), "log_dir"):
        logger._version = folder


def tensor_version(tensor: Tensor) -> int:
    """Return how often a tensor was written to."""
    return tensor._version


def tensor_hooks(tensor: Tensor) -> dict[str, dict[Any, Any] | None]:
    """Return the gradient hooks of a tensor, as it holds them; None if it never had any."""
    return {
        "backward": tensor._backward_hooks,
        "accumulated": getattr(tensor, "_post_accumulate_grad_hooks", None),
    }


def state_key(callback: Callback, **kwargs: Any) -> str:
    """Return the key of a callback's state in checkpoints, one for each set of these arguments."""
    return callback._generate_state_key(**kwargs)


def uses_distributed_sampler(trainer: Trainer) -> bool:
    """Return whether the Trainer adds distributed samplers to loaders."""
    check_private_names(trainer=trainer)
    return trainer._accelerator_connector.use_distributed_sampler


def keep_swa_lrs(trainer: Trainer) -> None:
    """Let StochasticWeightAveraging keep the LRs of the checkpoint, which may have been rescaled.

    Called in `on_train_start`: after a resume, it would otherwise reset every group to its own LRs.
    """
    for callback in callbacks_of(trainer, StochasticWeightAveraging):
        check_private_names(StochasticWeightAveraging=callback)
        groups = groups_of(trainer.optimizers)
        if callback._scheduler_state is not None:
            callback._swa_lrs = [group["swa_lr"] for group in groups if "swa_lr" in group]
