"""Reads what the parameter groups of a step have, each value under the tag of its curve."""

from collections.abc import Mapping, Sequence
from typing import Any

from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch import Tensor
from torch.optim import Optimizer

from lightning_lr.fit.group_names import group_names

__all__ = ["GroupRates"]

# The names of curves by the keys of a parameter group; `betas` stands in for a momentum.
_CURVES = {"lr": "lr", "initial_lr": "lr_base", "momentum": "momentum", "weight_decay": "weight_decay"}


class GroupRates:
    """The LR and the base LR of every parameter group, and what else is asked for.

    Args:
        keys: Further keys of the groups, `momentum` or `weight_decay`.
    """

    def __init__(self, keys: Sequence[str] = ()) -> None:
        self._keys = tuple(keys)
        self._optimizers: Sequence[Optimizer] = ()
        self._scheduled: Sequence[tuple[Optimizer, str | None]] = ()
        self._tags: dict[int, list[list[tuple[str, str]]]] = {}
        self._tags_with_base: dict[int, list[list[tuple[str, str]]]] = {}

    def begin(
        self, optimizers: Sequence[Optimizer], scheduled: Sequence[tuple[Optimizer, str | None]]
    ) -> None:
        """Name the groups of these optimizers.

        Args:
            optimizers: The optimizers of the fit.
            scheduled: The optimizer of every LR scheduler, and the name that the user gave that.

        Raises:
            MisconfigurationException: Two groups of one optimizer have the same name.
        """
        self._optimizers, self._scheduled = optimizers, scheduled
        try:
            names = group_names(optimizers, scheduled)
        except ValueError as error:
            raise MisconfigurationException(f"LRLogger: {error}") from error
        self._tags = self._tagged(names, ("lr", *self._keys))
        self._tags_with_base = self._tagged(names, ("lr", "initial_lr", *self._keys))

    def read(self, optimizer: Optimizer, *, with_base: bool = False) -> list[tuple[str, float | Tensor]]:
        """Return the tag and the value of everything that the groups of an optimizer have."""
        groups = optimizer.param_groups
        if len(groups) != len(self._tags[id(optimizer)]):
            self.begin(self._optimizers, self._scheduled)
        tags_of_groups = (self._tags_with_base if with_base else self._tags)[id(optimizer)]
        return [
            (tag, value)
            for group, tags in zip(groups, tags_of_groups, strict=True)
            for key, tag in tags
            if (value := _read(group, key)) is not None
        ]

    def lrs(self) -> dict[str, float]:
        """Return the LR of every group by tag."""
        rates = [rate for optimizer in self._optimizers for rate in self.read(optimizer)]
        return {tag: float(value) for tag, value in rates if tag.startswith("lr/")}

    def missing(self) -> dict[str, list[str]]:
        """Return for each further key the names of the optimizers that have nothing like it."""
        return {
            key: [
                type(each).__name__ for each in self._optimizers if _read(each.param_groups[0], key) is None
            ]
            for key in self._keys
        }

    def _tagged(
        self, names: Sequence[Sequence[str]], keys: Sequence[str]
    ) -> dict[int, list[list[tuple[str, str]]]]:
        return {
            id(optimizer): [
                [(key, f"{_CURVES[key]}/{name.removeprefix('lr-')}") for key in keys] for name in of_groups
            ]
            for optimizer, of_groups in zip(self._optimizers, names, strict=True)
        }


def _read(group: Mapping[str, Any], key: str) -> float | Tensor | None:
    value: float | Tensor | None = group.get(key)
    return group["betas"][0] if key == "momentum" and "betas" in group else value
