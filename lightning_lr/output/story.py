"""The decisions of a run: as lines of a file, as a list to read, and as plain values for checkpoints."""

import json
import os
from collections.abc import Iterable, Mapping
from datetime import datetime
from io import FileIO
from pathlib import Path
from typing import Any

from lightning_lr.checkpoints.saved_state import Read, count, mapping, number, read_entries, text
from lightning_lr.fit.lightnings import rank_zero_info, rank_zero_warn

__all__ = ["Story", "read_told"]

_FILE = "decisions.jsonl"
_MOST_KEPT = 1000
# As long as the file cannot be written.
_MOST_WAITING = 10_000
_LONGEST_LIST = 200
# TensorBoard keeps every text: one that repeats a long story with each decision would grow with its square.
_SHORT_LIST = 20


class Story:
    """The decisions of one run in order, as plain values with time, step and epoch.

    It keeps the newest 1000, and up to 10,000 that the file does not have yet.
    """

    def __init__(self) -> None:
        self._entries: list[dict[str, Any]] = []
        self._forgotten = 0
        self._of_fit = 0
        self._waiting: list[dict[str, Any]] = []
        # The file that has all decisions but those that wait; None if that is not known.
        self._file: Path | None = None
        self._is_failing = False
        self._unlisted = 0

    @property
    def entries(self) -> list[dict[str, Any]]:
        """The newest 1000 decisions, as in `decisions.jsonl` and in checkpoints."""
        return self._entries[-_MOST_KEPT:]

    @property
    def left_out(self) -> int:
        """The number of decisions before these."""
        return self._forgotten + max(0, len(self._entries) - _MOST_KEPT)

    @property
    def list_is_due(self) -> bool:
        """Whether the list has to be shown again: a short one with each decision, a long one more rarely."""
        told = self._forgotten + len(self._entries)
        return self._unlisted >= (1 if told <= _SHORT_LIST else min(told - self._unlisted, _LONGEST_LIST))

    @property
    def list_is_old(self) -> bool:
        """Whether the list that was shown last lacks a decision."""
        return self._unlisted > 0

    def begin_fit(self) -> None:
        """Begin a fit, which continues the story unless `restore` is called."""
        self._of_fit = 0

    def restore(self, entries: Iterable[Mapping[str, Any]], left_out: int = 0) -> None:
        """Continue the story of a checkpoint; the decisions that this fit has made already follow it."""
        made = self._entries[len(self._entries) - self._of_fit :] if self._of_fit else []
        self._entries = [*map(dict, entries), *made]
        self._forgotten = left_out
        self._file = None

    def add(self, entry: Mapping[str, Any]) -> None:
        """Append a decision."""
        self._entries.append(dict(entry))
        self._waiting.append(self._entries[-1])
        self._unlisted += 1
        most = _MOST_WAITING if self._is_failing else _MOST_KEPT
        self._of_fit = min(self._of_fit + 1, most)
        surplus = max(0, len(self._entries) - most)
        self._forgotten += surplus
        del self._entries[:surplus], self._waiting[:-most]

    def was_listed(self) -> None:
        """Note that the list was shown."""
        self._unlisted = 0

    def write_to(self, folder: str) -> None:
        """Append to `decisions.jsonl` in a folder what it lacks; a new file gets all that is kept.

        If it cannot be written, one warning says so, the run goes on, and the next call tries again.
        """
        if not self._entries:
            return
        path = Path(folder, _FILE)
        try:
            if "://" in folder:
                raise OSError("the folder is not on a local disk")  # noqa: TRY301 (reported like other errors)
            self._append(path)
        except OSError as error:
            if not self._is_failing:
                rank_zero_warn(
                    f"Decisions about the learning rate are not written to {path}: {error}. They still appear"
                    " in the console and in TensorBoard, and the file gets them as soon as it can be written."
                )
            self._is_failing = True
            return
        if self._is_failing:
            rank_zero_info(f"{path} has all decisions again.")
        self._is_failing = False

    def _append(self, path: Path) -> None:
        is_known = path == self._file and path.exists()
        if is_known and not self._waiting:
            return
        if path == self._file and not is_known:
            # Whoever deleted it may have deleted the list with it.
            self._unlisted = self._forgotten + len(self._entries)
        self._file = None
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+", buffering=0) as file:
            if not is_known:
                self._waiting = self._lacking(file)
            size = file.seek(0, os.SEEK_END)
            data = _line_end(file, size) + b"".join(_line(entry) + b"\n" for entry in self._waiting)
            try:
                # In one write, if the disk has room, so that a process that is killed leaves whole lines.
                while data:
                    data = data[file.write(data) :]
            except OSError:
                file.truncate(size)
                self._file = path
                raise
        self._file, self._waiting = path, []

    def _lacking(self, file: FileIO) -> list[dict[str, Any]]:
        file.seek(0)
        written = set(file.read().splitlines())
        return [entry for entry in self._entries if _line(entry) not in written]

    def as_markdown(self) -> str:
        """Return the story as a list, since TensorBoard breaks words in the columns of a table."""
        shown = self._entries[-_LONGEST_LIST:]
        left_out = self._forgotten + len(self._entries) - len(shown)
        head = [f"The {left_out} decisions before these are in `{_FILE}`.", ""] * bool(left_out)
        return "\n".join([*head, *map(_item, shown)])

    def newest(self) -> str:
        """Return the newest decision as a text."""
        return _item(self._entries[-1]).removeprefix("1. ")


_TOLD: dict[str, Read] = {
    "time": number,
    "step": count,
    "epoch": count,
    "source": text,
    "kind": text,
    "summary": text,
    "effect": text,
    "evidence": mapping,
}


def read_told(value: object) -> dict[str, Any]:
    """Read an entry of a story from a checkpoint."""
    return read_entries(value, _TOLD)


def _line(entry: Mapping[str, Any]) -> bytes:
    return json.dumps(entry, allow_nan=False).encode()


def _line_end(file: FileIO, size: int) -> bytes:
    """Return the line end that is missing if a full disk or a power cut has cut off the last line."""
    if not size:
        return b""
    file.seek(size - 1)
    return b"" if file.read(1) == b"\n" else b"\n"


def _item(entry: Mapping[str, Any]) -> str:
    time = datetime.fromtimestamp(entry["time"]).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    text = (
        f"**Step {entry['step']}, epoch {entry['epoch']}: {entry['effect']}.**"
        f" {entry['source']}, {entry['kind']}: {entry['summary']} ({time})"
    )
    # A line break, also one in a user's name for something, would end the item.
    return f"1. {' '.join(text.split())}"
