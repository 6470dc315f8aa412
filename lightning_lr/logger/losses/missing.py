"""Warns of the losses that LRLogger cannot show, once for each reason."""

import re
from typing import Any

from lightning_lr.fit.lightnings import rank_zero_warn
from lightning_lr.fit.losses import missing_loss

__all__ = ["MissingLosses"]


class MissingLosses:
    """The reasons of one fit why a loss is missing, each told when it is first met."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def warn_of_step(self, outputs: Any, *, manual: bool) -> None:
        """Warn that what `training_step` returned has no loss."""
        problem, mend = missing_loss(outputs, manual=manual)
        message = f"`training_step` returns {problem} for some batches: LRLogger shows none for them. {mend}"
        # Shapes may differ from batch to batch.
        self._warn_once(message.rstrip(), kind=re.sub(r"\(.*?\)", "", problem))

    def warn_of_validation(self, problem: str) -> None:
        """Warn that a validation has no loss, and why."""
        self._warn_once(f"LRLogger shows no validation loss: {problem}", kind="validation")

    def _warn_once(self, message: str, kind: str) -> None:
        if kind not in self._told:
            self._told.add(kind)
            rank_zero_warn(message)
