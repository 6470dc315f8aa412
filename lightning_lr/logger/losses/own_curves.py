"""Finds the curves of ours that the module logs itself, so that none is drawn twice."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from lightning_lr.checkpoints.saved_state import mapping, text
from lightning_lr.output.points import Point

__all__ = ["OwnCurves"]

# For means of many batches in single precision. One in half precision may differ by more, and stays.
_SAME = 1e-4
_LOADER = "/dataloader_idx_"


class OwnCurves:
    """The curves of the module that have the values of ours at the same steps.

    A curve of ours is left out as long as that holds from its first value on. Once it is drawn, it goes on.

    Attributes:
        names: The name of the curve that is drawn, by our tag: the module's name, or the tag itself.

    Example:
        >>> import torch
        >>> own = OwnCurves()
        >>> own.lacking({"loss/val": 0.5}, {"val_loss": torch.tensor(0.5)}), own.names
        ({}, {'loss/val': 'val_loss'})
        >>> own.lacking({"loss/val": 0.4}, {"val_loss": torch.tensor(0.3)}), own.names
        ({'loss/val': 0.4}, {'loss/val': 'loss/val'})
    """

    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        self._stale: dict[str, Any] = {}
        self._waiting: list[Point] = []
        self._finds_more = True

    @property
    def of_module(self) -> list[str]:
        """The names that are the module's."""
        return sorted({name for tag, name in self.names.items() if name != tag})

    def begin(self, logged: Mapping[str, Any]) -> None:
        """Begin a validation; `logged` are the Trainer's `logged_metrics` before it."""
        self._stale = dict(logged)

    def lacking(self, values: Mapping[str, float], logged: Mapping[str, Any]) -> dict[str, float]:
        """Return those of our values, by tag, that the module does not log.

        Args:
            values: The values of one step.
            logged: The Trainer's `logged_metrics`. A value that has not been logged anew is the same tensor.
        """
        fresh = {name: value for name, value in logged.items() if value is not self._stale.get(name)}
        for tag, value in values.items():
            if self.names.get(tag) != tag:
                self.names[tag] = self._name_of(tag, value, fresh)
        return {tag: value for tag, value in values.items() if self.names[tag] == tag}

    def wait(self, points: Iterable[Point]) -> list[Point]:
        """Keep points until `lacking_points` can compare them; return those that need not wait."""
        points = list(points)
        known = [point for point in points if all(self.names.get(tag) == tag for tag in point.values)]
        self._waiting += [point for point in points if point not in known]
        return known

    def lacking_points(self, logged: Mapping[str, Any]) -> list[Point]:
        """Return the points that have waited if the module does not log the last one of them."""
        waiting, self._waiting = self._waiting, []
        return waiting if waiting and self.lacking(waiting[-1].values, logged) else []

    def left(self) -> list[Point]:
        """Return the points that wait in vain, since the fit ends, if no curve of the module has them."""
        waiting, self._waiting = self._waiting, []
        return [point for point in waiting if not any(tag in self.names for tag in point.values)]

    def restore(self, names: object) -> None:
        """Continue with the `names` of a checkpoint, None from older versions; else raise ValueError."""
        if names is None:
            # The curves of the interrupted run go on.
            self._finds_more = False
        else:
            self.names = {text(tag): text(name) for tag, name in mapping(names).items()}

    def _name_of(self, tag: str, value: float, fresh: Mapping[str, Any]) -> str:
        if "step" in fresh or not self._finds_more:
            return tag  # Lightning takes a `step` for the x of what the module logs.
        known = self.names.get(tag)
        names = [known] if known else sorted(fresh, key=lambda name: ("loss" not in name.lower(), name))
        # Other numbers than losses are 0 or NaN too.
        says_little = not known and (value == 0 or math.isnan(value))
        for name in names:
            is_of_loader = name.partition(_LOADER)[2] in ("", tag.partition(_LOADER)[2])
            is_candidate = is_of_loader and ("loss" in name.lower() or not says_little)
            if is_candidate and _is_same(fresh.get(name), value):
                return name
        return tag


def _is_same(logged: object, value: float) -> bool:
    if not isinstance(logged, Tensor) or logged.numel() != 1 or logged.is_complex():
        return False
    other = float(logged)
    return math.isclose(other, value, rel_tol=_SAME) or (math.isnan(other) and math.isnan(value))
