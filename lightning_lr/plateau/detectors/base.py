"""What every plateau detector takes, keeps and says: values and one interface, without a Trainer."""

import math
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

__all__ = ["Detector", "Mode", "Observation", "State", "Verdict", "VerdictState"]

State: TypeAlias = dict[str, Any]
"""What a detector remembers: numbers, flags, None and lists of numbers, as checkpoints hold them."""

Mode: TypeAlias = Literal["min", "max"]
VerdictState: TypeAlias = Literal["improving", "plateau", "overfitting", "diverging", "undecided"]


@dataclass(frozen=True)
class Observation:
    """What one validation showed.

    Args:
        value: The monitored value; any float.
        training_loss: Mean training loss since the validation before; NaN where it is not known.
    """

    value: float
    training_loss: float = math.nan

    def __post_init__(self) -> None:
        # Callers hold numpy scalars and tensors; a state goes into checkpoints as it is.
        object.__setattr__(self, "value", float(self.value))
        object.__setattr__(self, "training_loss", float(self.training_loss))


@dataclass(frozen=True)
class Verdict:
    """What a detector makes of the validations so far.

    Args:
        state: `improving`; `plateau`, too little improvement to wait for more; `overfitting`, worse while the
            training loss still falls; `diverging`, worse while it does not, or values that are no numbers;
            `undecided`, too little evidence for any of these.
        slope: Improvement per validation, positive where the value gets better: as a share of the value
            (`0.01` is 1 % better each time), or of all improvement so far where values are not positive. NaN
            where not estimated.
        noise: Standard deviation of one validation around its trend, as `slope` a share; NaN where not
            estimated.
        threshold: The slope below which this would be a plateau; NaN where there is none.
        upper_threshold: The slope above which the improvement is surely worth waiting for: between the two,
            noise hides which it is. NaN where there is none.
        window: How many validations the verdict rests on.
        reason: A sentence with the numbers.
    """

    state: VerdictState
    slope: float
    noise: float
    threshold: float
    upper_threshold: float
    window: int
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain numbers and strings; NaN stays NaN."""
        return asdict(self)


class Detector(ABC):
    """Judges a sequence of validations; own detectors implement four pure functions of a plain state.

    Example:
        >>> from lightning_lr.plateau import Patience
        >>> detector = Patience(patience=2)
        >>> state = detector.begin()
        >>> for loss in (1.0, 0.5, 0.6, 0.5, 0.7):
        ...     state, verdict = detector.judge(state, Observation(loss), mode="min")
        >>> verdict.state
        'plateau'
    """

    @abstractmethod
    def begin(self) -> State:
        """Return the state before the first validation."""

    @abstractmethod
    def check_state(self, state: State) -> None:
        """Check a state from outside, such as a checkpoint; `judge` checks nothing.

        Raises:
            ValueError: It is not a state of this detector.
        """

    @abstractmethod
    def judge(self, state: State, observation: Observation, *, mode: Mode) -> tuple[State, Verdict]:
        """Judge one more validation.

        Args:
            state: From `begin`, `judge` or `after_change`; stays as it is.
            observation: The new validation.
            mode: Whether smaller (`min`) or larger (`max`) values are better; the same for one state.

        Returns:
            The state from now on, and the verdict on everything up to now.
        """

    @abstractmethod
    def after_change(self, state: State) -> State:
        """Return the state from which to judge on after the learning rate, or the weights, were changed."""
