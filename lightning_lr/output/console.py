"""Writes a line to the console, beside the progress bars that are there."""

import sys
from contextlib import nullcontext

from lightning_lr.fit.lightnings import rank_zero_info

__all__ = ["say"]


def say(line: str) -> None:
    """Write a line as Lightning writes its own; all ranks call it, rank 0 writes.

    It goes through the logger `lightning.pytorch.utilities.rank_zero`, whose level users set.
    """
    # A bar of tqdm ends without a line break, so the line would stick to it.
    bars = sys.modules.get("tqdm")
    with nullcontext() if bars is None else bars.tqdm.external_write_mode(file=sys.stderr):
        rank_zero_info(line)
