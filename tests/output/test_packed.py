"""What is packed is, byte for byte, what protobuf and TensorBoard make of the same points."""

import io
import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from lightning_lr.output.packed import packed, records_of, shown_tag
from lightning_lr.output.points import Point


def by_protobuf(point):
    values = [Summary.Value(tag=shown_tag(tag), simple_value=value) for tag, value in point.values.items()]
    return Event(
        step=point.step, wall_time=point.wall_time, summary=Summary(value=values)
    ).SerializeToString()


def by_tensorboard(events):
    file = io.BytesIO()
    writer = RecordWriter(file)
    for event in events:
        writer.write(event)
    return file.getvalue()


TAGS = [f"lr/AdamW/pg{number}" for number in range(300)]
VALUES = [0.1, 0, -1.5, 1e-42, 1e39, math.inf, -math.inf, math.nan, 3]


@pytest.mark.parametrize("tags", [["loss"], TAGS[:2], TAGS, ["é" * 100, "a" * 20_000]])
def test_points_are_packed_as_by_protobuf(tags):
    points = [
        Point(step, 1e9 + step / 3, {tag: VALUES[(step + place) % 9] for place, tag in enumerate(tags)})
        for step in [0, 1, 127, 128, 2**40]
    ]
    assert packed(points) == [by_protobuf(point) for point in points]


def test_points_of_different_curves_stay_in_their_order():
    points = [Point(step, 1.0, dict.fromkeys(TAGS[: step % 3 + 1], 0.5)) for step in range(9)]
    assert packed(points) == [by_protobuf(point) for point in points]


@given(st.lists(st.binary(min_size=4, max_size=300), min_size=1, max_size=8))
def test_records_are_those_of_tensorboard(events):
    assert records_of(events) == by_tensorboard(events)


@pytest.mark.parametrize("size", [4, 15, 16, 17, 31, 32, 33, 4095, 4096, 4097])
def test_records_of_every_length_are_those_of_tensorboard(size):
    events = [struct.pack("<I", 7 * size).ljust(size, b"\xa5"), b"\0" * size, b"short"]
    assert records_of(events) == by_tensorboard(events)
