"""Packs points into the records of TensorBoard's event files, many at a time.

TensorBoard makes an object of every value and a checksum of every byte in Python, which takes about 12
microseconds per value. The checksums of many records are computed here side by side.
"""

import struct
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from itertools import groupby
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["packed", "records_of", "shown_tag"]

# TensorBoard sorts charts by name, capital letters first, and opens the first two groups only: these come
# before `epoch`, which Lightning logs.
_FIRST = {"lr": "LR", "loss": "Loss"}

# CRC-32C, Castagnoli's polynomial with its bits reversed (RFC 3720, appendix B.4).
_POLYNOMIAL = 0x82F63B78
_MASK_DELTA = 0xA282EAD8
# Bytes that are read one after the other; the pieces of all records are read side by side.
_PIECE = 16

_Words = NDArray[np.uint32]


class _Point(Protocol):
    @property
    def step(self) -> int: ...
    @property
    def wall_time(self) -> float: ...
    @property
    def values(self) -> Mapping[str, float]: ...


def shown_tag(tag: str) -> str:
    """Return the name of a curve in TensorBoard; other loggers and the Trainer's metrics have the tag itself.

    Example:
        >>> [shown_tag(tag) for tag in ("lr/AdamW", "loss/val", "lr_base/AdamW", "range_test/lr")]
        ['LR/AdamW', 'Loss/val', 'lr_base/AdamW', 'range_test/lr']
    """
    group, slash, rest = tag.partition("/")
    return f"{_FIRST.get(group, group)}/{rest}" if slash else tag


def packed(points: Sequence[_Point]) -> list[bytes]:
    """Return one serialized event with all values for each point, as protobuf would make it.

    The names of the curves are those of `shown_tag`.
    """
    from tensorboard.compat.proto.event_pb2 import Event

    events = []
    for tags, group in groupby(points, key=lambda point: tuple(point.values)):
        run = list(group)
        rows = [list(point.values.values()) for point in run]
        with np.errstate(over="ignore"):  # Beyond the range of 32 bits it is infinite, as in TensorBoard.
            values = np.array(rows, dtype=np.float64).astype("<f4")
        template, places = _template(tags)
        summaries = np.tile(template, (len(run), 1))
        summaries[:, places] = values.view(np.uint8)
        events += [
            Event(step=point.step, wall_time=point.wall_time).SerializeToString() + summary.tobytes()
            for point, summary in zip(run, summaries, strict=True)
        ]
    return events


@lru_cache(maxsize=16)
def _template(tags: tuple[str, ...]) -> tuple[NDArray[np.uint8], NDArray[np.intp]]:
    """Return an event with a value for each tag, and the places of the bytes of the values in it."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    # The four bytes of a value are the last of its message.
    values = [Summary.Value(tag=shown_tag(tag), simple_value=1.0) for tag in tags]
    lengths = np.array([len(Summary(value=[value]).SerializeToString()) for value in values])
    event = Event(summary=Summary(value=values)).SerializeToString()
    ends = len(event) - lengths.sum() + lengths.cumsum()
    return np.frombuffer(event, np.uint8), (ends[:, None] + np.arange(-4, 0)).reshape(-1)


def records_of(events: Sequence[bytes]) -> bytes:
    """Return the records of some events: length, its checksum, event, its checksum."""
    checks = _masked(_crc32c(events)).astype("<u4")
    records = [
        _header(len(event)) + event + check.tobytes() for event, check in zip(events, checks, strict=True)
    ]
    return b"".join(records)


@lru_cache(maxsize=1024)
def _header(length: int) -> bytes:
    header = struct.pack("<Q", length)
    return header + struct.pack("<I", int(_masked(_crc32c([header]))[0]))


def _masked(crc: _Words) -> _Words:
    masked: _Words = ((crc >> 15) | (crc << 17)) + np.uint32(_MASK_DELTA)
    return masked


def _crc32c(texts: Sequence[bytes]) -> _Words:
    """Return the CRC-32C of each text of at least 4 bytes.

    A CRC that begins with 0 does not change with zeros before the text, and inverting the first 4 bytes
    stands for the usual beginning with ones. So all texts get one length, and each piece a CRC of its own;
    the CRC of two pieces is that of the first one with zeros after it, xor that of the second.
    """
    width = _PIECE
    while width < max(map(len, texts)):
        width *= 2
    data = np.zeros((len(texts), width), np.uint8)
    for row, text in zip(data, texts, strict=True):
        row[width - len(text) :] = np.frombuffer(text, np.uint8)
        row[width - len(text) :][:4] ^= 0xFF
    pieces = data.reshape(len(texts), -1, _PIECE)
    crc = np.zeros(pieces.shape[:2], np.uint32)
    for place in range(_PIECE):
        crc = _table()[(crc ^ pieces[:, :, place]) & 0xFF] ^ (crc >> 8)
    zeros = _PIECE
    while crc.shape[1] > 1:
        crc = _after_zeros(crc[:, ::2], zeros) ^ crc[:, 1::2]
        zeros *= 2
    return ~crc[:, 0]


@cache
def _table() -> _Words:
    """Return the CRC of each byte."""
    crc = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        crc = np.where(crc & 1, (crc >> 1) ^ np.uint32(_POLYNOMIAL), crc >> 1)
    return crc


def _after_zeros(crc: _Words, zeros: int) -> _Words:
    """Return what CRCs become with some zeros after the text."""
    first, second, third, fourth = _zeros_table(zeros)
    after: _Words = first[crc & 255] ^ second[(crc >> 8) & 255] ^ third[(crc >> 16) & 255] ^ fourth[crc >> 24]
    return after


@cache
def _zeros_table(zeros: int) -> _Words:
    """Return what each value of each of the 4 bytes of a CRC becomes with some zeros after the text."""
    if zeros > _PIECE:
        return _after_zeros(_zeros_table(zeros // 2), zeros // 2)
    crc = np.arange(256, dtype=np.uint32) << np.array([[0], [8], [16], [24]], dtype=np.uint32)
    for _ in range(zeros):
        crc = _table()[crc & 0xFF] ^ (crc >> 8)
    return crc
