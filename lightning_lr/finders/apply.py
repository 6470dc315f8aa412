"""Makes a found learning rate the one that the run trains with, wherever it is written down."""

from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.core.saving import save_hparams_to_yaml
from lightning.pytorch.loggers import TensorBoardLogger

from lightning_lr.rates import rescale

__all__ = ["apply_lr"]

_NAMES = ("lr", "learning_rate")


def apply_lr(trainer: Trainer, pl_module: LightningModule, *, old: float, new: float) -> None:
    """Train with `new` where the run would have trained with `old`.

    Written are the optimizers and schedulers, an attribute or hyperparameter `lr` or `learning_rate` of the
    module, and the hyperparameters that were logged.

    Args:
        trainer: The Trainer of the running fit.
        pl_module: Its module.
        old: The highest peak LR of the parameter groups so far, in (0, inf).
        new: What it becomes, in (0, inf).
    """
    rescale(
        trainer.optimizers, [config.scheduler for config in trainer.lr_scheduler_configs], old=old, new=new
    )
    for name in _NAMES:
        if _is_number(vars(pl_module).get(name)):
            setattr(pl_module, name, new)
    changed = {name: new for name in _NAMES if _is_number(pl_module.hparams.get(name))}
    if changed:
        pl_module.hparams.update(changed)
        _log_again(trainer, changed)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _log_again(trainer: Trainer, changed: dict[str, float]) -> None:
    for logger in trainer.loggers:
        if not isinstance(logger, TensorBoardLogger):
            logger.log_hyperparams(changed)
            continue
        # To log them again would only repeat `hp_metric`: TensorBoard shows the first ones of a run.
        logger.hparams.update(changed)
        path = Path(logger.log_dir) / logger.NAME_HPARAMS_FILE
        # Saved at fit start already, and TensorBoardLogger keeps a file that is there.
        if trainer.is_global_zero and path.exists():
            save_hparams_to_yaml(path, logger.hparams)
