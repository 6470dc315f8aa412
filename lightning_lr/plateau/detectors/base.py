"""The interface of a plateau detector and the values it works with, all without a Trainer."""

import math
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

from typing_extensions import override

from lightning_lr.shown import as_call

__all__ = ["Detector", "Mode", "Observation", "State", "Verdict", "VerdictState", "is_better"]

State: TypeAlias = dict[str, Any]
"""What a detector remembers: numbers, flags, None and lists of numbers, as checkpoints hold them."""

Mode: TypeAlias = Literal["min", "max"]
"""Whether smaller or larger values are better."""

VerdictState: TypeAlias = Literal["improving", "plateau", "overfitting", "diverging", "undecided"]


def is_better(value: float, than: float, mode: Mode) -> bool:
    """Tell whether a value is better than another; NaN is never better.

    Example:
        >>> is_better(0.5, 0.4, "min"), is_better(0.5, 0.4, "max"), is_better(math.nan, 0.4, "min")
        (False, True, False)
    """
    return value < than if mode == "min" else value > than


@dataclass(frozen=True, repr=False)
class Observation:
    """What a detector sees of one validation.

    Args:
        value: The monitored value; any float.
        training_loss: Mean training loss since the previous validation; NaN if it is not known.
        total: How many validations the whole run has; infinite if it is not known.

    Example:
        >>> Observation(0.31, training_loss=0.28, total=50)
        Observation(value=0.31, training_loss=0.28, total=50.0)
    """

    value: float
    training_loss: float = math.nan
    total: float = math.inf

    def __post_init__(self) -> None:
        # Callers hold numpy scalars and tensors; a state goes into checkpoints as it is.
        object.__setattr__(self, "value", float(self.value))
        object.__setattr__(self, "training_loss", float(self.training_loss))
        object.__setattr__(self, "total", float(self.total))

    @override
    def __repr__(self) -> str:
        return as_call(self)


@dataclass(frozen=True)
class Verdict:
    """A detector's judgment of the validations so far.

    Args:
        state: `improving`; `plateau`: too little improvement to wait for more; `overfitting`: worse while the
            training loss still falls; `diverging`: worse while the training loss does not fall, or NaN or
            infinite; `undecided`: too little evidence for any of these.
        slope: Improvement per validation, positive if the value gets better, as a share of the value (`0.01`
            is 1 % better each time), or of all improvement so far if some values are not positive. NaN if
            not estimated.
        noise: Standard deviation of one validation around the trend, in the units of `slope`; NaN if not
            estimated.
        threshold: The slope below which the verdict would be a plateau; NaN if there is none.
        upper_threshold: The slope above which the improvement is surely worth waiting for; between the two
            thresholds, noise hides which of the two it is. NaN if there is none.
        window: How many validations the verdict is based on.
        reason: A sentence with the numbers.

    Example:
        >>> Verdict("improving", 0.0123, 0.0045, math.nan, math.nan, 7, "1.23% better per validation.")
        Verdict('improving', slope=0.0123, noise=0.0045, window=7, reason='1.23% better per validation.')
    """

    state: VerdictState
    slope: float
    noise: float
    threshold: float
    upper_threshold: float
    window: int
    reason: str

    @override
    def __repr__(self) -> str:
        numbers = {"slope": self.slope, "noise": self.noise}
        known = "".join(f"{name}={each:.3g}, " for name, each in numbers.items() if math.isfinite(each))
        return f"Verdict({self.state!r}, {known}window={self.window}, reason={self.reason!r})"

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain numbers and strings; NaN stays NaN."""
        return asdict(self)


class Detector(ABC):
    """Judges a sequence of validations; a subclass implements four pure functions of a plain state.

    Example:
        >>> from lightning_lr.plateau import Patience
        >>> detector = Patience(patience=2)
        >>> state = detector.begin()
        >>> for loss in (1.0, 0.5, 0.6, 0.5, 0.7):
        ...     state, verdict = detector.judge(state, Observation(loss), mode="min")
        >>> verdict.state
        'plateau'
    """

    @override
    def __repr__(self) -> str:
        return as_call(self)

    @abstractmethod
    def begin(self) -> State:
        """Return the state before the first validation."""

    def fewest(self, total: float) -> int:
        """Return how many validations it takes to see a plateau in a run of `total` validations, at least."""
        return 1

    @abstractmethod
    def check_state(self, state: State) -> None:
        """Check a state that comes from a checkpoint; `judge` checks nothing.

        Raises:
            ValueError: This is not a state of this detector.
        """

    @abstractmethod
    def judge(self, state: State, observation: Observation, *, mode: Mode) -> tuple[State, Verdict]:
        """Judge one more validation.

        Args:
            state: The last one that `begin`, `judge` or `after_change` returned; it is not changed.
            observation: The new validation.
            mode: Whether smaller (`min`) or larger (`max`) values are better; the same for the whole run.

        Returns:
            The new state, and the verdict on all validations so far.
        """

    @abstractmethod
    def after_change(self, state: State) -> State:
        """Return the state from which judging goes on after a change of the LR or the weights."""
