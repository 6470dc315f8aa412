"""Tells every decision about the LR where users look: the console, TensorBoard, and a file of the run.

The decisions of a run are one story. It is kept in the checkpoints of LRLogger, so a resumed run goes on
telling it from where the checkpoint was saved.
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
# A text in TensorBoard repeats the ones before it, and grows with them.
_LONGEST_TEXT = 200


@dataclass(frozen=True)
class Entry:
    """One decision.

    Args:
        source: The name of the callback that decided.
        kind: Of what kind it is, in the words of the log: `range test`, `search`, `verdict`, `action`, ...
        summary: What was decided and why, in a sentence or two.
        effect: What that does to the run: `LR 0.001 -> 0.012`, or `LR stays 0.001`.
        evidence: The numbers and names behind it, plain and serializable.
    """

    source: str
    kind: str
    summary: str
    effect: str
    evidence: Mapping[str, Any] = field(default_factory=dict)


class Story:
    """The decisions of one run in their order, as plain values with time, step and epoch."""

    def __init__(self) -> None:
        self._entries: list[dict[str, Any]] = []
        self._told_before = 0
        self._inherited: list[dict[str, Any]] = []
        self._began_file = False
        self._file_failed = False

    @property
    def entries(self) -> list[dict[str, Any]]:
        """The decisions so far, as `decisions.jsonl` and checkpoints hold them."""
        return list(self._entries)

    def begin_fit(self) -> None:
        """Begin a fit, which continues the story unless `restore` is called."""
        self._told_before = len(self._entries)

    def restore(self, entries: Iterable[Mapping[str, Any]]) -> None:
        """Go on from the entries of a checkpoint; what this fit has told already follows them."""
        self._inherited = [dict(entry) for entry in entries]
        self._entries = [*self._inherited, *self._entries[self._told_before :]]

    def add(self, entry: Mapping[str, Any]) -> None:
        """Append a decision."""
        self._entries.append(dict(entry))

    def append_to(self, folder: str) -> None:
        """Append the newest decision to `decisions.jsonl` in a folder.

        A folder that has no such file yet gets those of the checkpoint first. A run does not end because
        this file cannot be written; that is told once.
        """
        if self._file_failed:
            return
        path = Path(folder) / _FILE
        try:
            if "://" in folder:
                raise OSError("the folder is not on a local disk")  # noqa: TRY301 (one way to tell it)
            self._append(path)
        except OSError as error:
            self._file_failed = True
            rank_zero_warn(
                f"Decisions about the learning rate are not written to {path}: {error}. They are told in the"
                " console and in TensorBoard all the same."
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
        # One write to the end of the file: a process that is killed leaves whole lines.
        with path.open("ab+", buffering=0) as file:
            file.write(_line_end(file, path) + lines.encode())

    def as_markdown(self) -> str:
        """Return the whole story as a list: TensorBoard breaks words in the columns of a table."""
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
    """Read an entry of a story, as checkpoints hold it.

    Raises:
        ValueError: Not a valid entry.
    """
    return read_entries(value, _TOLD)


_stories: WeakKeyDictionary[Trainer, Story] = WeakKeyDictionary()


def story_of(trainer: Trainer) -> Story:
    """Return the story of a Trainer's run, which all its fits continue."""
    return _stories.setdefault(trainer, Story())


def tell(trainer: Trainer, entry: Entry) -> None:
    """Tell a decision; all ranks call it, one of them writes.

    | where | what |
    |---|---|
    | console | one line |
    | text `decisions` in TensorBoard | the whole story so far as a list, since TensorBoard keeps few texts |
    | `decisions.jsonl` in the folder of the run's logs | one line of JSON, with the evidence |

    The file is only ever appended to. Where a run resumes from a checkpoint that is older than the file's
    last line, the lines between tell of steps that are made again; a line of kind `resume` says from where.
    Without a logger there is no file.
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
    """Return the folder of the run's logs; None where no logger has one on a file system.

    That of a TensorBoardLogger or CSVLogger is its `log_dir`; of another logger, `save_dir/name/version`, as
    ModelCheckpoint has it, since its `save_dir` is shared by all runs. For the rank that logs.
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
    """Return what ends a line that a full disk or a power cut has left half written."""
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
    # What would end the item; also in names that users have given.
    return f"1. {' '.join(text.split())}"
