"""Which fits allow no dry run, and what to do instead."""

from torch.nn.parameter import is_lazy

from lightning_lr.dry_run.streams import LIVE
from lightning_lr.fit.lightnings import (
    DeepSpeedStrategy,
    LightningModule,
    MisconfigurationException,
    Trainer,
    is_param_in_hook_signature,
)

__all__ = ["check_dry_run_possible"]


def check_dry_run_possible(trainer: Trainer, pl_module: LightningModule) -> None:
    """Refuse a fit whose steps could not be taken back, before a batch is touched.

    Args:
        trainer: The Trainer of the running fit.
        pl_module: Its module.

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
            f"`training_step(dataloader_iter)` takes its batches itself, so they cannot be rehearsed. {LIVE}"
        )
    if any(is_lazy(parameter) for parameter in pl_module.parameters()):
        raise MisconfigurationException(
            "The module has lazy parameters that have no shape yet. Run one batch through it first, for"
            " example in `setup`."
        )
