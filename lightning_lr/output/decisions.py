"""Reports every decision about the LR where users look: the console, TensorBoard, and a file of the run.

The decisions of a run form one story. LRLogger saves it in checkpoints, so that a resumed run continues it.
"""

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from lightning_lr.fit.saved_state import Read, count, mapping, number, read_entries, text
from lightning_lr.output.plain import plain
from lightning_lr.output.points import logged_step, write_text

__all__ = ["Entry", "Story", "read_told", "run_folder", "story_of", "tell"]

_FILE = "decisions.jsonl"
_TAG = "decisions"
# Each text in TensorBoard repeats the whole story, and grows with it.
_LONGEST_TEXT = 200


@dataclass(frozen=True)
class Entry:
    """One decision.

    Args:
        source: The name of the callback that decided.
        kind: `range test`, `search`, `verdict`, `action`, ...
        summary: What was decided and why, in a sentence or two.
        effect: What that does to the run: `LR 0.001 -> 0.012`, or `LR stays 0.001`.
        evidence: The numbers and names behind it; anything that `plain` takes.
    """

    source: str
    kind: str
    summary: str
    effect: str
    evidence: Mapping[str, Any] = field(default_factory=dict)


class Story:
    """The decisions of one run in order, as plain values with time, step and epoch."""

    def __init__(self) -> None:
        self._entries: list[dict[str, Any]] = []
        self._told_before = 0
        self._inherited: list[dict[str, Any]] = []
        self._began_file = False
        self._file_failed = False

    @property
    def entries(self) -> list[dict[str, Any]]:
        """The decisions so far, as in `decisions.jsonl` and in checkpoints."""
        return list(self._entries)

    def begin_fit(self) -> None:
        """Begin a fit, which continues the story unless `restore` is called."""
        self._told_before = len(self._entries)

    def restore(self, entries: Iterable[Mapping[str, Any]]) -> None:
        """Continue the story of a checkpoint; the decisions that this fit has made already follow it."""
        self._inherited = [dict(entry) for entry in entries]
        self._entries = [*self._inherited, *self._entries[self._told_before :]]

    def add(self, entry: Mapping[str, Any]) -> None:
        """Append a decision."""
        self._entries.append(dict(entry))

    def append_to(self, folder: str) -> None:
        """Append the newest decision to `decisions.jsonl` in a folder.

        A new file begins with the decisions of the checkpoint. If it cannot be written, one warning says so
        and the run goes on.
        """
        if self._file_failed:
            return
        path = Path(folder) / _FILE
        try:
            if "://" in folder:
                raise OSError("the folder is not on a local disk")  # noqa: TRY301 (reported like other errors)
            self._append(path)
        except OSError as error:
            self._file_failed = True
            rank_zero_warn(
                f"Decisions about the learning rate are not written to {path}: {error}. They still appear in"
                " the console and in TensorBoard."
            )

    def _append(self, path: Path) -> None:
        entries = self._entries[-1:]
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._began_file = True
        if self._began_file:
            entries = [*self._inherited, *entries]
        self._inherited = []
        lines = "".join(json.dumps(entry, allow_nan=False) + "\n" for entry in entries)
        # In one write, so that a process that is killed leaves whole lines.
        with path.open("ab+", buffering=0) as file:
            file.write(_line_end(file, path) + lines.encode())

    def as_markdown(self) -> str:
        """Return the whole story as a list, since TensorBoard breaks words in the columns of a table."""
        shown = self._entries[-_LONGEST_TEXT:]
        left_out = len(self._entries) - len(shown)
        head = [f"The {left_out} decisions before these are in `{_FILE}`.", ""] * bool(left_out)
        return "\n".join([*head, *map(_item, shown)])


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


_stories: WeakKeyDictionary[Trainer, Story] = WeakKeyDictionary()


def story_of(trainer: Trainer) -> Story:
    """Return the story of a Trainer, which all its fits continue."""
    return _stories.setdefault(trainer, Story())


def tell(trainer: Trainer, entry: Entry) -> None:
    """Report a decision; all ranks call it, one writes.

    | where | what |
    |---|---|
    | console | one line |
    | text `decisions` in TensorBoard | the whole story so far as a list, since TensorBoard keeps few texts |
    | `decisions.jsonl` in the folder of the run's logs | one line of JSON, with the evidence |

    Without a logger there is no file. Lines are only ever appended to it. If a run resumes from a checkpoint
    older than the last line, the later lines describe steps that are made again: a line of kind `resume`
    says from which step.
    """
    rank_zero_info(f"{entry.source}: {entry.summary} ({entry.effect})")
    story, step = story_of(trainer), logged_step(trainer)
    moment = {"time": time.time(), "step": step, "epoch": trainer.current_epoch}
    story.add(moment | plain(asdict(entry)))
    if not trainer.is_global_zero:
        return
    folder = run_folder(trainer)
    if folder is not None:
        story.append_to(folder)
    write_text(trainer.loggers, _TAG, story.as_markdown(), step)


def run_folder(trainer: Trainer) -> str | None:
    """Return the folder of the run's logs, or None if no logger has one; for the rank that logs.

    It is the `log_dir` of a TensorBoardLogger or CSVLogger. Other loggers share their `save_dir` among all
    runs, so the folder is `save_dir/name/version`, as for ModelCheckpoint.
    """
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger | CSVLogger):
            return logger.log_dir
    for logger in trainer.loggers:
        if logger.save_dir is not None:
            version = logger.version if isinstance(logger.version, str) else f"version_{logger.version}"
            return str(Path(logger.save_dir, str(logger.name), version))
    return None


def _line_end(file: Any, path: Path) -> bytes:
    """Return the line end that is missing if a full disk or a power cut has cut off the last line."""
    size = path.stat().st_size
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
