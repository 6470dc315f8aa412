"""What a finder decides: an LR with its evidence, or why it found none, as plain serializable values."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, TypeAlias

from typing_extensions import override

from lightning_lr.checks import In, check_fields
from lightning_lr.shown import table_html

__all__ = ["Abstention", "Decision", "Suggestion", "combine", "decision_from_dict"]

# Repeats of one test on the benchmark's tasks lie within a factor of 8 of each other.
_WIDEST_SPREAD = 30.0


@dataclass(frozen=True)
class Suggestion:
    """An LR with the evidence for it.

    Args:
        lr: The base LR for a schedule that warms up.
        low: Lower end of the range in which the best LR of the run may lie. That of LRSearch and of the rule
            `Basin` is as wide as the benchmark's tasks ask, that of other rules tells only what the noise of
            the losses makes of the LR.
        high: Upper end.
        rule: Name of the rule.
        reason: What the rule saw, as a sentence.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: `lr` is not in (0, inf), or `low` or `high` is NaN or negative.

    Example:
        >>> Suggestion(lr=0.013624, low=0.0045, high=0.041, rule="Basin", reason="The loss fell.")
        Suggestion(lr=0.0136, low=0.0045, high=0.041, rule='Basin', ...)
    """

    lr: Annotated[float, In("(0, inf)")]
    low: Annotated[float, In("[0, inf]")]
    high: Annotated[float, In("[0, inf]")]
    rule: str
    reason: str

    def __post_init__(self) -> None:
        check_fields(self)
        _check_texts(self.rule, self.reason)

    @override
    def __repr__(self) -> str:
        return (
            f"Suggestion(lr={self.lr:.3g}, low={self.low:.3g}, high={self.high:.3g}, rule={self.rule!r}, ...)"
        )

    def _repr_html_(self) -> str:
        span = f"{self.low:.3g} to {self.high:.3g}"
        rows = {"LR": f"{self.lr:.3g}", "range": span, "rule": self.rule, "reason": self.reason}
        return table_html(rows)

    @property
    def text(self) -> str:
        """The LR, its range and the rule, in a few words."""
        return f"LR {self.lr:.3g} ({self.low:.2g} to {self.high:.2g}) by {self.rule}"

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain numbers and strings."""
        return asdict(self)


@dataclass(frozen=True)
class Abstention:
    """No LR, and why: the user's LR stays.

    Args:
        rule: Name of the rule.
        reason: What is missing or contradictory, and how to mend it, as a sentence.
        seen: Its part before how to mend it; empty where they are not apart. It is not kept in states.

    Raises:
        TypeError: An argument is no text.

    Example:
        >>> Abstention("Basin", "Only 4 finite losses, at least 10 are needed: start at a lower LR.").text
        'no LR by Basin'
    """

    rule: str
    reason: str
    seen: str = field(default="", repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_texts(self.rule, self.reason)

    def _repr_html_(self) -> str:
        return table_html({"LR": "none", "rule": self.rule, "reason": self.reason})

    @property
    def text(self) -> str:
        """That there is no LR, and the rule, in a few words."""
        return f"no LR by {self.rule}"

    def to_dict(self) -> dict[str, Any]:
        """Return rule and reason as strings."""
        return {"rule": self.rule, "reason": self.reason}


def _check_texts(rule: object, reason: object) -> None:
    if not (isinstance(rule, str) and isinstance(reason, str)):
        raise TypeError(f"`rule` and `reason` of a decision must be texts, got {rule!r} and {reason!r}.")


Decision: TypeAlias = Suggestion | Abstention
"""What a finder decides: `isinstance(decision, Suggestion)` tells which of the two it is."""


def decision_from_dict(values: Mapping[str, Any]) -> Decision:
    """Return the suggestion or the abstention whose `to_dict` gave these `values`.

    Example:
        >>> decision_from_dict(Abstention("Basin", "The loss did not fall.").to_dict())
        Abstention(rule='Basin', reason='The loss did not fall.')
    """
    return Suggestion(**values) if "lr" in values else Abstention(**values)


def combine(decisions: Sequence[Decision]) -> Decision:
    """Return the log-mean of the LRs that repeats of one test suggest.

    `lr = 10^mean(log10 lr_i)`; `low` and `high` are the log-means of theirs, and at least one standard
    deviation of the `log10 lr_i` away.

    Args:
        decisions: At least one, all of the same rule.

    Returns:
        An abstention if half of the repeats or more abstain, or if the LRs are more than 30x apart.

    Raises:
        ValueError: There is no decision, or there are several rules.

    Example:
        >>> first = Suggestion(lr=0.01, low=0.01, high=0.01, rule="Basin", reason="One.")
        >>> second = Suggestion(lr=0.04, low=0.02, high=0.04, rule="Basin", reason="Two.")
        >>> both = combine([first, second])
        >>> f"{both.low:.4f} {both.lr:.4f} {both.high:.4f}"
        '0.0075 0.0200 0.0533'
    """
    rules = {decision.rule for decision in decisions}
    if len(rules) != 1:
        raise ValueError(f"`combine(decisions=...)` must be decisions of one rule, got {sorted(rules)!r}.")
    (rule,) = rules
    if len(decisions) == 1:
        return decisions[0]
    suggestions = [decision for decision in decisions if isinstance(decision, Suggestion)]
    if 2 * len(suggestions) <= len(decisions):
        reasons = [decision.reason for decision in decisions if isinstance(decision, Abstention)]
        return Abstention(rule, f"{len(reasons)} of {len(decisions)} repeats gave no LR: {reasons[0]}")
    lrs = [suggestion.lr for suggestion in suggestions]
    seen = f"{min(lrs):.3g} to {max(lrs):.3g} in {len(lrs)} of {len(decisions)} repeats"
    if max(lrs) > _WIDEST_SPREAD * min(lrs):
        return Abstention(
            rule, f"The repeats contradict each other, with LRs from {seen}: use larger batches."
        )
    logs = [math.log10(lr) for lr in lrs]
    mean, sd = statistics.fmean(logs), statistics.stdev(logs) if len(logs) > 1 else 0.0
    low = statistics.fmean(math.log10(suggestion.low) for suggestion in suggestions)
    high = statistics.fmean(math.log10(suggestion.high) for suggestion in suggestions)
    return Suggestion(
        lr=10**mean,
        low=10 ** min(low, mean - sd),
        high=10 ** max(high, mean + sd),
        rule=rule,
        reason=f"The log-mean of LRs from {seen}. {suggestions[0].reason}",
    )
