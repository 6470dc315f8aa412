"""Turns values into plain ones, for JSON files and for `torch.load(weights_only=True)`."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["plain"]


def plain(value: Any) -> Any:
    """Return a value made of None, bool, int, float, str, list and dict only.

    JSON has finite numbers only: NaN and infinities become the texts `nan`, `inf` and `-inf`, which `float`
    reads back. A scalar array or tensor becomes a number, and an unknown object its `str`.

    Example:
        >>> plain({"loss": float("nan"), "lrs": (0.1, 0.01)})
        {'loss': 'nan', 'lrs': [0.1, 0.01]}
    """
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if value is None or type(value) in (bool, int, str):
        return value
    if type(value) is float:
        return value if math.isfinite(value) else str(value)
    if callable(getattr(value, "tolist", None)):
        return plain(value.tolist())  # an array or a tensor
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [plain(each) for each in value]
    return str(value)
