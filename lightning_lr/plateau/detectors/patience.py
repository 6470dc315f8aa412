"""The well-known patience rule of `ReduceLROnPlateau`."""

import math
from dataclasses import dataclass
from typing import Literal

from typing_extensions import override

from lightning_lr.checkpoints.saved_state import count, number, optional, read_entries
from lightning_lr.checks import check_choice, check_count, check_number
from lightning_lr.plateau.detectors.base import (
    Detector,
    Mode,
    Observation,
    State,
    Verdict,
    VerdictState,
    is_better,
)

__all__ = ["Patience"]


@dataclass(frozen=True, repr=False)
class Patience(Detector):
    """`ReduceLROnPlateau`'s rule: a plateau is more than `patience` validations in a row without a new best.

    For mode `min`, a new best is a value below `best (1 - threshold)` (`rel`) or `best - threshold` (`abs`);
    for mode `max`, one above `best (1 + threshold)` or `best + threshold`. The semantics are exactly torch's,
    including the surprising ones: the first validation sets the best, so a constant value is a plateau at
    validation `patience + 2`; NaN is never a new best and counts as bad; with a negative best, a relative
    threshold points the wrong way (use `abs`); one lucky value stays the best forever. Overfitting and
    divergence are reported as plateaus.

    Args:
        patience: How many validations without a new best to tolerate, at least 0.
        threshold: How much better a new best must be: a share in [0, 1) for `rel`, in units of the value in
            [0, inf) for `abs`.
        threshold_mode: `rel` or `abs`.
        cooldown: For how many validations after a change bad ones are not counted, at least 0.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of range.

    Source:
        `torch.optim.lr_scheduler.ReduceLROnPlateau`.

    Example:
        >>> state = Patience(patience=1).begin()
        >>> for loss in (1.0, 0.9, 0.95, 0.9):
        ...     state, verdict = Patience(patience=1).judge(state, Observation(loss), mode="min")
        >>> verdict.state, verdict.reason
        ('plateau', '2 validations without a value below 0.89991, patience is 1.')
    """

    patience: int = 10
    threshold: float = 1e-4
    threshold_mode: Literal["rel", "abs"] = "rel"
    cooldown: int = 0

    def __post_init__(self) -> None:
        check_count("Patience(patience=...)", self.patience, minimum=0)
        check_choice("Patience(threshold_mode=...)", self.threshold_mode, ("rel", "abs"))
        interval = "[0, 1)" if self.threshold_mode == "rel" else "[0, inf)"
        check_number("Patience(threshold=...)", self.threshold, interval)
        check_count("Patience(cooldown=...)", self.cooldown, minimum=0)

    @override
    def begin(self) -> State:
        return {"best": None, "bad": 0, "cooldown": 0}

    @override
    def fewest(self, total: float) -> int:
        return self.patience + 2

    @override
    def check_state(self, state: State) -> None:
        read_entries(state, {"best": optional(number), "bad": count, "cooldown": count})

    @override
    def judge(self, state: State, observation: Observation, *, mode: Mode) -> tuple[State, Verdict]:
        best, bad, cooldown = state["best"], state["bad"], state["cooldown"]
        bound = self._bound(best, mode)
        better = is_better(observation.value, bound, mode)
        if better:
            best, bad = observation.value, 0
        else:
            bad += 1
        if cooldown:
            cooldown, bad = cooldown - 1, 0
        side = "below" if mode == "min" else "above"
        decided, reason = self._decide(bad, f"{side} {bound:.6g}", better=better)
        verdict = Verdict(decided, math.nan, math.nan, math.nan, math.nan, window=bad, reason=reason)
        return {"best": best, "bad": bad, "cooldown": cooldown}, verdict

    @override
    def after_change(self, state: State) -> State:
        return {"best": state["best"], "bad": 0, "cooldown": self.cooldown}

    def _bound(self, best: float | None, mode: Mode) -> float:
        sign = -1.0 if mode == "min" else 1.0
        if best is None:
            return -sign * math.inf
        if self.threshold_mode == "rel":
            return best * (1.0 + sign * self.threshold)
        return best + sign * self.threshold

    def _decide(self, bad: int, bound: str, *, better: bool) -> tuple[VerdictState, str]:
        if better:
            return "improving", f"A new best, {bound}."
        if bad > self.patience:
            return "plateau", f"{bad} validations without a value {bound}, patience is {self.patience}."
        if not bad:
            return "undecided", f"Not {bound}, but not counted within {self.cooldown} of a change."
        return "undecided", f"{bad} of {self.patience + 1} validations without a value {bound}."
