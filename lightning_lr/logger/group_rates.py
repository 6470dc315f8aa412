"""Reads what steps are made with, each value under the tag of its curve."""

from collections.abc import Mapping, Sequence
from typing import Any

from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch import Tensor
from torch.optim import Optimizer

from lightning_lr.fit.group_names import group_names
from lightning_lr.logger.step_buffer import StepRecord
from lightning_lr.output.points import Point

__all__ = ["GroupRates", "point_of", "with_factors"]

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


def point_of(record: StepRecord) -> Point:
    """Return the point of a step: its rates with their factors, and its loss."""
    values = with_factors(record.rates)
    if record.losses:
        values["loss/train"] = sum(record.losses) / len(record.losses)
    return Point(record.step, record.wall_time, values)


def with_factors(rates: Mapping[str, float]) -> dict[str, float]:
    """Add to the rates of a step the factor, LR / base LR, of every group whose base is there and not 0.

    Example:
        >>> with_factors({"lr/SGD": 0.05, "lr_base/SGD": 0.1})
        {'lr/SGD': 0.05, 'lr_base/SGD': 0.1, 'lr_factor/SGD': 0.5}
    """
    factors = {
        f"lr_factor/{tag.removeprefix('lr_base/')}": rates[f"lr/{tag.removeprefix('lr_base/')}"] / base
        for tag, base in rates.items()
        if tag.startswith("lr_base/") and base
    }
    return {**rates, **factors}


def _read(group: Mapping[str, Any], key: str) -> float | Tensor | None:
    value: float | Tensor | None = group.get(key)
    return group["betas"][0] if key == "momentum" and "betas" in group else value
