"""Blocks of events in TensorBoard's files."""

import threading
import time
from pathlib import Path

import pytest
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.tensorflow_stub.io.gfile import LocalFileSystem

from lightning_lr.output.event_file import append_events

QUEUE = 10  # torch's default


@pytest.fixture
def logger(tmp_path):
    return TensorBoardLogger(tmp_path, name="", version="run")


@pytest.fixture
def writes(logger, monkeypatch):
    """In which thread the file was written to, each time that it was, once it is there."""
    threads = []
    write = LocalFileSystem._write

    def noted(self, *arguments):
        threads.append(threading.current_thread())
        write(self, *arguments)

    logger.experiment.flush()
    monkeypatch.setattr(LocalFileSystem, "_write", noted)
    return threads


def events(count, tag="loss"):
    values = ([Summary.Value(tag=tag, simple_value=step)] for step in range(count))
    return [
        Event(step=step, wall_time=1.0, summary=Summary(value=value)) for step, value in enumerate(values)
    ]


def points(logger):
    """Return tag and step of every point in the order of the file, which is read to its end."""
    logger.experiment.flush()
    [path] = Path(logger.log_dir).glob("events*")
    read = EventFileLoader(str(path)).Load()
    return [(value.tag, event.step) for event in read for value in event.summary.value]


def test_more_events_than_the_queue_holds_are_written_as_one_block(logger, writes):
    append_events(logger, events(50))
    assert writes == [threading.main_thread()]
    assert points(logger) == [("loss", step) for step in range(50)]


def test_a_few_are_left_to_the_thread_of_tensorboard(logger, writes):
    append_events(logger, events(QUEUE))
    logger.experiment.flush()
    assert len(writes) == QUEUE
    assert threading.main_thread() not in writes
    assert points(logger) == [("loss", step) for step in range(QUEUE)]


@pytest.mark.parametrize("gone", ["_general_file_writer", "_async_writer"])
def test_the_events_are_the_same_where_no_block_can_be_written(gone, logger, tmp_path, monkeypatch):
    append_events(logger, events(50))
    other = TensorBoardLogger(tmp_path, name="", version="other")
    writer = other.experiment._get_file_writer().event_writer

    class WithoutTheName:
        def __getattr__(self, name):
            if name == gone:
                raise AttributeError(name)
            return getattr(writer, name)

    monkeypatch.setattr(other.experiment.file_writer, "event_writer", WithoutTheName())
    append_events(other, events(50))
    assert points(other) == points(logger)
    assert len(points(other)) == 50


def test_what_was_handed_over_before_stays_before(logger):
    append_events(logger, events(5, tag="before"))
    append_events(logger, events(50))
    append_events(logger, events(5, tag="after"))
    assert [tag for tag, _ in points(logger)] == ["before"] * 5 + ["loss"] * 50 + ["after"] * 5


def test_another_thread_may_write_meanwhile(logger, monkeypatch):
    begun = threading.Event()
    assert logger.experiment  # It is made at its first use, which is not for two threads at once.
    inside = threading.Lock()
    alone = []
    append = LocalFileSystem._write

    def slow(self, *arguments):
        alone.append(inside.acquire(blocking=False))
        time.sleep(0.001)
        append(self, *arguments)
        if alone[-1]:
            inside.release()

    monkeypatch.setattr(LocalFileSystem, "_write", slow)

    def write():
        begun.set()
        for event in events(300, tag="another"):
            append_events(logger, [event])

    thread = threading.Thread(target=write)
    thread.start()
    begun.wait()
    for _ in range(30):
        append_events(logger, events(50))
    thread.join()
    found = points(logger)
    assert all(alone)
    assert [step for tag, step in found if tag == "another"] == list(range(300))
    assert [step for tag, step in found if tag == "loss"] == list(range(50)) * 30


def test_a_second_fit_writes_on(logger):
    append_events(logger, events(50))
    logger.experiment.close()
    append_events(logger, events(50, tag="again"))
    logger.experiment.close()
    paths = sorted(Path(logger.log_dir).glob("events*"))
    counts = [sum(len(event.summary.value) for event in EventFileLoader(str(path)).Load()) for path in paths]
    assert counts == [50, 50]
