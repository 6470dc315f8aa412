"""Writes events to TensorBoard's files; the only file that uses private names of its writers."""

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from lightning_lr.fit.lightnings import TensorBoardLogger
from lightning_lr.output.packed import records_of

if TYPE_CHECKING:
    from queue import Queue
    from threading import Lock

    from tensorboard.compat.proto.event_pb2 import Event

__all__ = ["append_events", "append_serialized"]

# In bytes: TensorBoard takes about 0.1 ms for as many.
_SMALL_BLOCK = 1000


def append_events(logger: TensorBoardLogger, events: Sequence["Event"]) -> None:
    """Append events to the file of a logger, as `append_serialized` does."""
    append_serialized(logger, [event.SerializeToString() for event in events])


def append_serialized(logger: TensorBoardLogger, events: Sequence[bytes]) -> None:
    """Append events to the file of a logger; for the rank that logs.

    TensorBoard's own thread opens the file for every event and checks every byte in Python, and a caller with
    more events than its queue holds has to wait. Such events, and large ones, are written here, as one block.

    Raises:
        OSError: The file cannot be written, or TensorBoard's thread could not write to it before.
    """
    # Only this private method of torch opens the file again after a fit has closed it.
    writer = logger.experiment._get_file_writer()
    parts = _parts(writer.event_writer)
    if parts is None or (len(events) <= parts.queue.maxsize and sum(map(len, events)) <= _SMALL_BLOCK):
        from tensorboard.compat.proto.event_pb2 import Event

        for event in events:
            writer.event_writer.add_event(Event.FromString(event))
        return
    block = records_of(events)
    writer.flush()
    with parts.lock:  # No event is queued meanwhile.
        parts.queue.join()
        parts.file.write(block)


class _Parts(NamedTuple):
    """The file of TensorBoard's thread, the queue of events to write, and the lock of both."""

    file: Any
    queue: "Queue[bytes]"
    lock: "Lock"


def _parts(event_writer: Any) -> _Parts | None:
    """Return the parts of a writer, or None if blocks cannot be appended to its file."""
    with suppress(AttributeError):  # TensorFlow's writer, or that of another TensorBoard
        file, thread = event_writer._general_file_writer, event_writer._async_writer
        if file.fs_supports_append:
            return _Parts(file, thread._byte_queue, thread._lock)
    return None
