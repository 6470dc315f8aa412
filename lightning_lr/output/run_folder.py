"""Finds the folder that belongs to one run, among the ways in which loggers name folders."""

from pathlib import Path

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

__all__ = ["run_folder"]


def run_folder(trainer: Trainer) -> str | None:
    """Return the folder of the run's logs; None where no logger has one on a file system.

    That of a TensorBoardLogger or CSVLogger is its `log_dir`; of another logger, `save_dir/name/version`, as
    ModelCheckpoint has it, since its `save_dir` is shared by all runs. To be called on the rank that logs.
    """
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger | CSVLogger):
            return logger.log_dir
    for logger in trainer.loggers:
        if logger.save_dir is not None:
            version = logger.version if isinstance(logger.version, str) else f"version_{logger.version}"
            return str(Path(logger.save_dir, str(logger.name), version))
    return None
