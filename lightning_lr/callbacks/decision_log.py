"""Tells every decision about the LR where users look: the console, TensorBoard, and a file of the run."""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_info

__all__ = ["Entry", "tell"]


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


def tell(trainer: Trainer, entry: Entry) -> None:
    """Tell a decision in the console and append it to `decisions.jsonl` in the folder of the run's logs.

    To be called on every rank; one of them writes.
    """
    rank_zero_info(f"{entry.source}: {entry.summary} ({entry.effect})")
    # On every rank: Lightning broadcasts it.
    folder = trainer.log_dir if trainer.loggers else None
    if not trainer.is_global_zero or folder is None:
        return
    line = {
        "time": time.time(),
        "step": trainer.global_step,
        "epoch": trainer.current_epoch,
        **asdict(entry),
    }
    path = Path(folder) / "decisions.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")
