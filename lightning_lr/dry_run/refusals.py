"""Which fits allow no dry run, and what to do instead."""

from collections.abc import Iterable, Iterator
from typing import Any

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.strategies import DeepSpeedStrategy
from lightning.pytorch.utilities.signature_utils import is_param_in_hook_signature
from torch.nn.parameter import is_lazy
from torch.utils.data import IterableDataset

__all__ = ["check_dry_run_possible"]

_LIVE = (
    "Use `LRRangeTest(live=True, min_lr=..., max_lr=...)`, which ramps the LR over the first real batches"
    " instead."
)


def check_dry_run_possible(trainer: Trainer, pl_module: LightningModule, loaders: Iterable[Any]) -> None:
    """Refuse a fit whose steps could not be taken back, before a batch is touched.

    Args:
        trainer: The Trainer of the running fit.
        pl_module: Its module.
        loaders: Its train loaders.

    Raises:
        MisconfigurationException: Why not, and what to do instead.
    """
    if isinstance(trainer.strategy, DeepSpeedStrategy):
        raise MisconfigurationException(
            "The engine of DeepSpeed keeps weights and loss scale to itself, so steps cannot be taken back."
            " Find the LR with another strategy such as DDP or FSDP and give it to the optimizer."
        )
    if is_param_in_hook_signature(pl_module.training_step, "dataloader_iter", explicit=True):
        raise MisconfigurationException(
            f"`training_step(dataloader_iter)` takes its batches itself, so they cannot be rehearsed. {_LIVE}"
        )
    if any(is_lazy(parameter) for parameter in pl_module.parameters()):
        raise MisconfigurationException(
            "The module has lazy parameters that have no shape yet. Run one batch through it first, for"
            " example in `setup`."
        )
    for loader in loaders:
        if _is_one_shot(loader):
            raise MisconfigurationException(
                f"The train loader {type(loader).__name__} is a stream that can be read only once: batches of"
                f" a rehearsal would be lost. {_LIVE}"
            )


def _is_one_shot(loader: Any) -> bool:
    """Tell whether batches taken from it are gone: it, its data set, or what that reads is an iterator."""
    dataset = getattr(loader, "dataset", None)
    streams = [loader, dataset]
    if isinstance(dataset, IterableDataset):
        streams += vars(dataset).values()
    return any(isinstance(stream, Iterator) for stream in streams)
