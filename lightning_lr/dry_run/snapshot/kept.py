"""Contents that a snapshot copies, of tensors, arrays and files: put back, and compared afterwards."""

import os
import sys
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

__all__ = ["Kept", "KeptArray", "KeptFile", "KeptTensor", "is_standard_stream", "local_part"]

_CHANGED = "its contents are not what they were before the test"


class Kept(ABC):
    """What was in an object when it was made."""

    @abstractmethod
    def restore(self) -> None:
        """Put it back."""

    @abstractmethod
    def difference(self) -> str:
        """Return what is not as it was, in words; empty if nothing is."""


class KeptTensor(Kept):
    """The elements of a tensor that are on this rank.

    Args:
        tensor: The tensor.
        device: Where to keep the copy; None for the device of the tensor.
    """

    def __init__(self, tensor: Tensor, device: torch.device | None) -> None:
        self._tensor = tensor
        self._elements = local_part(tensor).to(device=device or tensor.device, copy=True)

    @override
    def restore(self) -> None:
        # A metric that a validation updated holds tensors that only inference mode may write.
        with torch.inference_mode() if self._tensor.is_inference() else torch.no_grad():
            # Looked up anew, since the storage may be another by now.
            target = local_part(self._tensor)
            if self._fits(target):
                target.copy_(self._elements)
            else:
                # Resized in place, or given other data.
                self._tensor.data = self._elements.to(self._tensor.device, copy=True)

    @override
    def difference(self) -> str:
        now, before = local_part(self._tensor), self._elements
        # Of other layouts torch does not compare all.
        if before.layout != torch.strided or before.is_quantized:
            return ""
        return "" if self._fits(now) and _are_same(now.to(before.device), before) else _CHANGED

    def _fits(self, tensor: Tensor) -> bool:
        return tensor.shape == self._elements.shape and tensor.dtype == self._elements.dtype


def _are_same(one: Tensor, other: Tensor) -> bool:
    # The second look finds NaN where NaN was.
    return torch.equal(one, other) or bool(((one == other) | (one.isnan() & other.isnan())).all())


def local_part(tensor: Tensor) -> Tensor:
    """Return a view of all distinct elements of a tensor that are on this rank."""
    # A DTensor's shard is compared and copied as the plain tensor it is.
    local: Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    local = local.detach()
    if local.layout != torch.strided:
        return local
    return local[tuple(slice(0, 1) if stride == 0 else slice(None) for stride in local.stride())]


class KeptArray(Kept):
    """The elements of an array of NumPy's."""

    def __init__(self, array: Any) -> None:
        self._array, self._elements = array, array.copy()

    @override
    def restore(self) -> None:
        if self._array.shape != self._elements.shape:
            self._array.resize(self._elements.shape, refcheck=False)
        np.copyto(self._array, self._elements)

    @override
    def difference(self) -> str:
        now, before = self._array, self._elements
        if before.dtype.hasobject:
            return ""
        return "" if now.shape == before.shape and now.tobytes() == before.tobytes() else _CHANGED


class KeptFile(Kept):
    """The position in an open file, and its length if it can be written to.

    Raises:
        OSError: It does not tell its position.
    """

    def __init__(self, file: Any) -> None:
        self._file = file
        self._position = file.tell()
        self._length = self._length_now() if file.writable() else None

    @override
    def restore(self) -> None:
        if self._length is not None and self._length_now() > self._length:
            self._file.truncate(self._length)
        self._file.seek(self._position)

    @override
    def difference(self) -> str:
        now = self._file.tell()
        return "" if now == self._position else f"at {self._position} before the test, at {now} after it"

    def _length_now(self) -> int:
        self._file.flush()
        try:
            return os.fstat(self._file.fileno()).st_size
        except OSError:  # It is in memory.
            position = self._file.tell()
            length: int = self._file.seek(0, os.SEEK_END)
            self._file.seek(position)
            return length


def is_standard_stream(file: Any) -> bool:
    """Tell whether a file is the console, or stands for it."""
    streams = (sys.stdin, sys.stdout, sys.stderr, sys.__stdin__, sys.__stdout__, sys.__stderr__)
    try:
        return any(file is each for each in streams) or file.fileno() <= 2
    except (OSError, ValueError):
        return False
