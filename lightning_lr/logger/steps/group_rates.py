"""Reads the LR and other values of parameter groups, each under the tag of its curve."""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeAlias

from torch import Tensor
from torch.optim import Optimizer

from lightning_lr.fit.lightnings import MisconfigurationException, rank_zero_warn
from lightning_lr.fit.optimizers import group_names
from lightning_lr.momentum import momentum_of

__all__ = ["GroupRates"]

# The curve of each key of a parameter group; `betas` stands in for `momentum`.
_CURVES = {"lr": "lr", "initial_lr": "lr_base", "momentum": "momentum", "weight_decay": "weight_decay"}

Row: TypeAlias = tuple[tuple[str, ...], list[float | Tensor]]
"""The tags and the values of one key of all groups that have it."""


class GroupRates:
    """The LR and the base LR of every parameter group, and further values.

    Args:
        keys: Further keys of the groups: `momentum`, `weight_decay`.
    """

    def __init__(self, keys: Sequence[str] = ()) -> None:
        self._asked = self._keys = tuple(keys)
        self._optimizers: Sequence[Optimizer] = ()
        self._scheduled: Sequence[tuple[Optimizer, str | None]] = ()
        self._names: dict[int, tuple[str, ...]] = {}

    def add_keys(self, keys: Iterable[str]) -> None:
        """Read these keys too in this fit."""
        self._keys = tuple(dict.fromkeys([*self._asked, *keys]))

    def begin(
        self, optimizers: Sequence[Optimizer], scheduled: Sequence[tuple[Optimizer, str | None]]
    ) -> None:
        """Name the groups of these optimizers, as `group_names` does.

        Raises:
            MisconfigurationException: Two groups of one optimizer have the same name.
        """
        self._optimizers, self._scheduled = optimizers, scheduled
        try:
            names = group_names(optimizers, scheduled)
        except ValueError as error:
            raise MisconfigurationException(f"LRLogger: {error}") from error
        self._names = {
            id(optimizer): tuple(name.removeprefix("lr-") for name in of_groups)
            for optimizer, of_groups in zip(optimizers, names, strict=True)
        }

    def read(self, optimizer: Optimizer, *, with_base: bool = False) -> list[Row]:
        """Return tags and values for each key that groups of an optimizer have: the LRs first."""
        groups = optimizer.param_groups
        if len(groups) != len(self._names[id(optimizer)]):
            self.begin(self._optimizers, self._scheduled)
        names = self._names[id(optimizer)]
        keys = ("lr", "initial_lr", *self._keys) if with_base else ("lr", *self._keys)
        return [self._row(groups, names, key) for key in keys]

    def _row(self, groups: Sequence[Mapping[str, Any]], names: tuple[str, ...], key: str) -> Row:
        values = (
            [group.get(key) for group in groups] if key == "lr" else [_read(each, key) for each in groups]
        )
        tags = _tags(_CURVES[key], names)
        # In a hot path: this is fast if all are there.
        if type(None) in set(map(type, values)):
            pairs = [(tag, each) for tag, each in zip(tags, values, strict=True) if each is not None]
            return tuple(tag for tag, _ in pairs), [each for _, each in pairs]
        return tags, values  # type: ignore[return-value]

    def lrs(self) -> dict[str, float]:
        """Return the LR of every group by tag."""
        rows = [self.read(optimizer)[0] for optimizer in self._optimizers]
        return {tag: float(lr) for tags, lrs in rows for tag, lr in zip(tags, lrs, strict=True)}

    def warn_of_missing(self) -> None:
        """Warn of what there is nothing to show of: optimizers, their LRs, or one of the further keys."""
        if not any(optimizer.param_groups for optimizer in self._optimizers):
            rank_zero_warn(
                "LRLogger has no learning rate to show, only losses: `configure_optimizers` returns no"
                " optimizer. If the module steps one of its own, return that from `configure_optimizers`."
            )
        if names := self._lacking("lr"):
            rank_zero_warn(
                f"LRLogger shows no learning rate of {names}: it has parameter groups without one (`lr` is"
                " missing or None), since the optimizer sets it itself or has none. To see and control it,"
                " give the optimizer an `lr`."
            )
        for key in self._asked:
            if names := self._lacking(key):
                rank_zero_warn(f"`LRLogger(log_{key}=True)` has nothing to show for {names}.")

    def _lacking(self, key: str) -> str:
        lacking = [
            type(optimizer).__name__
            for optimizer in self._optimizers
            if any(_read(group, key) is None for group in optimizer.param_groups)
        ]
        return ", ".join(lacking)


@lru_cache(maxsize=64)
def _tags(curve: str, names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"{curve}/{name}" for name in names)


def _read(group: Mapping[str, Any], key: str) -> float | Tensor | None:
    value: float | Tensor | None = momentum_of(group) if key == "momentum" else group.get(key)
    return value
