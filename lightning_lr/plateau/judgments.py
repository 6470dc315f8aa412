"""What a detector makes of the validations of a fit, in their order."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, get_args

from lightning_lr.checkpoints.saved_state import Read, count, each_of, one_of
from lightning_lr.plateau.detectors.base import Detector, Mode, Observation, State, VerdictState
from lightning_lr.plateau.record import Record, read_record

__all__ = ["Judgments"]

# How many validations are remembered, for `verdicts` and the figure.
_REMEMBERED = 1000


class Judgments:
    """The verdicts of one fit, and the state from which its detector goes on.

    Args:
        detector: Judges the values.
        mode: Whether smaller or larger values are better.

    Attributes:
        count: How many validations have been judged.
        records: The last 1000 of them, with what followed.

    Example:
        >>> from lightning_lr.plateau import Patience
        >>> judgments = Judgments(Patience(1), "min")
        >>> for value in (1.0, 1.0, 1.0):
        ...     record = judgments.judge(Observation(value, 1.0, 9.0), step=8, lr=0.1)
        ...     _ = judgments.add(record, effects=[])
        >>> [record.verdict.state for record in judgments.records]
        ['improving', 'undecided', 'plateau']
    """

    def __init__(self, detector: Detector, mode: Mode) -> None:
        self.count = 0
        self.records: list[Record] = []
        self._detector = detector
        self._mode = mode
        self._state: State = detector.begin()
        # The state of the verdict that was told last.
        self._told = ""

    def judge(self, observation: Observation, *, step: int, lr: float) -> Record:
        """Judge a validation after a step that was made with an LR."""
        self.count += 1
        self._state, verdict = self._detector.judge(self._state, observation, mode=self._mode)
        return Record(self.count, step, observation.value, observation.training_loss, lr, verdict)

    def add(self, record: Record, *, effects: Iterable[str]) -> Record:
        """Remember a validation with what the actions did, and return both."""
        record = replace(record, effects=tuple(effects))
        self.records = [*self.records, record][-_REMEMBERED:]
        return record

    def is_news(self, record: Record) -> bool:
        """Return whether a validation has to be told: an action followed, or its verdict is a new one."""
        is_news = bool(record.effects) or record.verdict.state not in (self._told, "undecided")
        if is_news:
            self._told = record.verdict.state
        return is_news

    def start_afresh(self) -> None:
        """Begin a new history after a change of the LR or the weights."""
        self._state = self._detector.after_change(self._state)

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint."""
        return {
            "detector": self._state,
            "count": self.count,
            "told": self._told,
            "records": [record.to_dict() for record in self.records],
        }

    @property
    def entries(self) -> dict[str, Read]:
        """How the entries of `state_dict` are read from a checkpoint."""
        return {
            "detector": self._checked,
            "count": count,
            "told": one_of(("", *get_args(VerdictState))),
            "records": each_of(read_record),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state whose `entries` have been read."""
        self._state, self._told = state["detector"], state["told"]
        self.count, self.records = state["count"], state["records"]

    def _checked(self, state: State) -> State:
        self._detector.check_state(state)
        return state
