"""Where the LR of a run is written down: in optimizers and schedulers, in the module, in loggers."""

from collections.abc import Iterator, Mapping
from inspect import getattr_static
from pathlib import Path
from typing import Any

from lightning_lr.fit.lightnings import (
    LightningModule,
    MisconfigurationException,
    TensorBoardLogger,
    Trainer,
    lightning_of,
)
from lightning_lr.fit.names import plain_name
from lightning_lr.fit.neighbors import schedulers_of, write_schedules
from lightning_lr.fit.optimizers import group_names
from lightning_lr.peaks import lrs_left, peak_lr
from lightning_lr.rates import rescale

__all__ = ["check_attr", "lrs_by_name", "train_with", "write_down"]

_NAMES = ("lr", "learning_rate")


def train_with(
    trainer: Trainer, pl_module: LightningModule, *, old: float, new: float, attr: str | None = None
) -> float:
    """Replace the highest LR from now on, `old`, by `new` in optimizers and schedulers.

    Returns:
        The highest LR of the whole schedule with that, which is written down as the LR of the run. It is
        higher than `new` if the schedule has come down.
    """
    whole = peak_lr(trainer) if trainer.global_step else old
    peak = new if whole == old else whole / old * new
    rescale(trainer.optimizers, schedulers_of(trainer), old=old, new=new)
    write_schedules(trainer)
    write_down(trainer, pl_module, peak, attr=attr)
    return peak


def write_down(trainer: Trainer, pl_module: LightningModule, lr: float, *, attr: str | None) -> None:
    """Write an LR into the attributes and hyperparameters `lr`, `learning_rate` and `attr` that there are.

    Hyperparameters are changed in the loggers too.
    """
    changed: dict[str, Any] = {}
    for path in (*_NAMES, *([] if attr is None else [attr])):
        for holder, name in _holders(pl_module, path):
            _set(holder, name, lr)
            inside = path.removeprefix("hparams.").split(".")[0]
            if inside in pl_module.hparams and (path.startswith("hparams.") or holder is pl_module.hparams):
                changed[inside] = pl_module.hparams[inside]
    if changed:
        _log_again(trainer, changed)


def check_attr(pl_module: LightningModule, attr: str, owner: str) -> None:
    """Refuse a name under which the module holds no number that can be set.

    Raises:
        MisconfigurationException: With the names that are possible.
    """
    found = list(_holders(pl_module, attr))
    if not found:
        raise MisconfigurationException(
            f"`{owner}(attr={attr!r})`: {type(pl_module).__name__} has no number of that name, neither as an"
            f" attribute nor among its hyperparameters. Set `self.{attr}` in `__init__`, or leave `attr` out."
        )
    for holder, name in found:
        _check_settable(holder, name, f"`{owner}(attr={attr!r})`")


def lrs_by_name(trainer: Trainer) -> dict[str, float]:
    """Return the highest LR of each group from now on, by its name in LRLogger; all ranks call it."""
    names = group_names(trainer.optimizers)
    pairs = [zip(*each, strict=True) for each in zip(names, lrs_left(trainer), strict=True)]
    return {plain_name(name): lr for of_optimizer in pairs for name, lr in of_optimizer}


def _holders(pl_module: LightningModule, path: str) -> Iterator[tuple[Any, str]]:
    """Return what holds a number by this name: the module, its hyperparameters, or what a path leads to."""
    *parts, name = path.split(".")
    for holder in [pl_module] if parts else [pl_module, pl_module.hparams]:
        inner: Any = holder
        for part in parts:
            inner = inner.get(part) if isinstance(inner, Mapping) else getattr(inner, part, None)
        value = _get(inner, name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            yield inner, name


def _get(holder: Any, name: str) -> Any:
    # Of a property it is not known what setting it does.
    return holder.get(name) if isinstance(holder, Mapping) else getattr_static(holder, name, None)


def _check_settable(holder: Any, name: str, where: str) -> None:
    try:
        _set(holder, name, _get(holder, name))
    except Exception as error:
        raise MisconfigurationException(
            f"{where}: {type(holder).__name__} lets nobody set `{name}` ({error}). Leave `attr` out, or"
            " name a number that can be set."
        ) from error


def _set(holder: Any, name: str, value: Any) -> None:
    if isinstance(holder, Mapping):
        holder[name] = value  # type: ignore[index]
    else:
        setattr(holder, name, value)


def _log_again(trainer: Trainer, changed: dict[str, Any]) -> None:
    for logger in trainer.loggers:
        if not isinstance(logger, TensorBoardLogger):
            logger.log_hyperparams(changed)
            continue
        # TensorBoard shows the first hyperparameters of a run; logging again would only repeat `hp_metric`.
        logger.hparams.update(changed)
        path = Path(logger.log_dir) / logger.NAME_HPARAMS_FILE
        # TensorBoardLogger has saved them at fit start, and never overwrites the file.
        if trainer.is_global_zero and path.exists():
            lightning_of(logger).core.saving.save_hparams_to_yaml(path, logger.hparams)
