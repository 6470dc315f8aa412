"""LRLogger writes every LR and every loss of a fit to the Trainer's loggers."""

from lightning_lr.logger.lr_logger import LRLogger

__all__ = ["LRLogger"]
