"""Reports every decision about the LR where users look: the console, TensorBoard, and a file of the run.

The decisions of a run form one story. LRLogger saves it in checkpoints, so that a resumed run continues it.
"""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from lightning_lr.fit.lightnings import CSVLogger, TensorBoardLogger, Trainer
from lightning_lr.output.console import say
from lightning_lr.output.plain import plain
from lightning_lr.output.points import logged_step, write_text
from lightning_lr.output.story import Story

__all__ = ["Entry", "run_folder", "save_decisions", "story_of", "tell"]

_TAG = "decisions"
_NEWEST_TAG = "decisions_newest"


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


_stories: WeakKeyDictionary[Trainer, Story] = WeakKeyDictionary()


def story_of(trainer: Trainer) -> Story:
    """Return the story of a Trainer, which all its fits continue."""
    return _stories.setdefault(trainer, Story())


def tell(trainer: Trainer, entry: Entry, *, line: str | None = None) -> None:
    """Report a decision; all ranks call it, one writes.

    | where | what |
    |---|---|
    | console | one line, which begins with what changes |
    | text `decisions` in TensorBoard | the whole story so far as a list, since TensorBoard keeps few texts |
    | text `decisions_newest` | the decision alone, if the list was not renewed with it |
    | `decisions.jsonl` in the folder of the run's logs | one line of JSON, with the evidence |

    A list of more than 20 decisions is renewed when it has doubled, one of more than 200 with every 200th
    decision, and any by `save_decisions`. Without a logger there is no file. Lines are only ever appended to
    it. If a run resumes from a checkpoint older than the last line, the later lines describe steps that are
    made again: a line of kind `resume` says from which step.

    Args:
        trainer: The Trainer of the running fit.
        entry: The decision.
        line: What the console shows after the source. None for the effect and the summary; an empty text for
            nothing, since there is nothing to do about it or a warning has said it.
    """
    line = f"{entry.effect}. {entry.summary}" if line is None else line
    if line:
        say(f"{entry.source}: {line}")
    story, step = story_of(trainer), logged_step(trainer)
    moment = {"time": time.time(), "step": step, "epoch": trainer.current_epoch}
    story.add(moment | plain(asdict(entry)))
    if not trainer.is_global_zero:
        return
    _append(trainer, story)
    if story.list_is_due:
        _show_list(trainer, story, step)
    else:
        write_text(trainer.loggers, _NEWEST_TAG, story.newest(), step)


def save_decisions(trainer: Trainer, *, is_last: bool = False) -> None:
    """Write what `decisions.jsonl` still lacks, and at the end of a fit the list; for the rank that logs."""
    story = story_of(trainer)
    _append(trainer, story)
    if is_last and story.list_is_old:
        _show_list(trainer, story, story.entries[-1]["step"])


def _append(trainer: Trainer, story: Story) -> None:
    folder = run_folder(trainer)
    if folder is not None:
        story.write_to(folder)


def _show_list(trainer: Trainer, story: Story, step: int) -> None:
    if write_text(trainer.loggers, _TAG, story.as_markdown(), step):
        story.was_listed()


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
