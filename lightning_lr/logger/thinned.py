"""A curve of any length in a bounded number of points."""

from collections.abc import Mapping
from typing import Any

__all__ = ["ThinnedCurve"]

_MOST_POINTS = 1000


class ThinnedCurve:
    """The points of a curve, or every 2nd, 4th, 8th, ... of them where there are more than `most`.

    Args:
        most: How many to keep, at least 2.

    Example:
        >>> curve = ThinnedCurve(most=4)
        >>> for x in range(10):
        ...     curve.add(x, 0.5**x)
        >>> curve.x, curve.y
        ([0, 4, 8], [1.0, 0.0625, 0.00390625])
    """

    def __init__(self, most: int = _MOST_POINTS) -> None:
        self._most = most
        self._count = 0
        self._stride = 1
        self.x: list[int] = []
        self.y: list[float] = []

    def add(self, x: int, y: float) -> None:
        """Add the next point."""
        if self._count % self._stride == 0:
            self.x.append(x)
            self.y.append(y)
        self._count += 1
        if len(self.x) > self._most:
            self._stride *= 2
            del self.x[1::2], self.y[1::2]

    def to_dict(self) -> dict[str, Any]:
        """Return the points kept, and what decides which will be, as plain values."""
        return {"count": self._count, "stride": self._stride, "x": list(self.x), "y": list(self.y)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ThinnedCurve":
        """Return the curve that `to_dict` gave.

        Raises:
            ValueError: There are not as many x as y.
        """
        if len(values["x"]) != len(values["y"]):
            raise ValueError(f"A curve of {len(values['x'])} x and {len(values['y'])} y.")
        curve = cls()
        curve._count, curve._stride = values["count"], values["stride"]
        curve.x, curve.y = list(values["x"]), list(values["y"])
        return curve
