"""Lowers the learning rates, whatever schedule they follow."""

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any

from typing_extensions import override

from lightning_lr.checks import check_count, check_number
from lightning_lr.fit.lightnings import Trainer
from lightning_lr.fit.neighbors import schedulers_of
from lightning_lr.fit.saved_state import count, read_entries
from lightning_lr.plateau.actions.base import Action, Effect, Situation
from lightning_lr.rates import base_lr, current_lr, rescale

__all__ = ["ReduceLR", "change_lr", "multiply_lr"]

# A smaller relative change is rounding.
_LEAST_CHANGE = 1e-6


@dataclass(frozen=True)
class ReduceLR(Action):
    """Multiply the LR by `factor`.

    The base LR is multiplied, together with everything that torch's schedulers derive from it. LRDecay or a
    scheduler continues on its own curve from there, and the groups keep their ratios.

    Args:
        factor: The factor for the LR, in (0, 1).
        min_lr: The lowest base LR of the group with the highest one, in [0, inf).
        cooldown: For how many validations after a reduction not to reduce again, at least 0.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of range.

    Example:
        >>> ReduceLR(0.1)
        ReduceLR(factor=0.1, min_lr=0.0, cooldown=0)
    """

    factor: float = 0.3
    _: KW_ONLY
    min_lr: float = 0.0
    cooldown: int = 0

    def __post_init__(self) -> None:
        check_number("ReduceLR(factor=...)", self.factor, "(0, 1)")
        check_number("ReduceLR(min_lr=...)", self.min_lr, "[0, inf)")
        check_count("ReduceLR(cooldown=...)", self.cooldown, minimum=0)

    @override
    def check_memory(self, memory: Mapping[str, Any]) -> None:
        read_entries(memory, {"resting": count} if memory else {})

    @override
    def watch(self, situation: Situation) -> None:
        resting = situation.memory.pop("resting", 0)
        if resting > 1:
            situation.memory["resting"] = resting - 1

    @override
    def act(self, situation: Situation) -> Effect | None:
        if "resting" in situation.memory:
            return None
        effect = multiply_lr(situation.trainer, self.factor, min_lr=self.min_lr)
        if effect is not None:
            situation.memory["resting"] = self.cooldown + 1
        return effect


def multiply_lr(trainer: Trainer, factor: float, *, min_lr: float = 0.0) -> Effect | None:
    """Multiply the base LR of every group by `factor`, but keep the highest one at `min_lr` or above."""
    old = base_lr(trainer)
    return change_lr(trainer, max(old * factor, min(old, min_lr)))


def change_lr(trainer: Trainer, new: float) -> Effect | None:
    """Make `new` the highest base LR and keep the ratios of the groups; None if nothing changes."""
    old = base_lr(trainer)
    if not old or abs(new / old - 1) < _LEAST_CHANGE:
        return None
    name = "LR" if current_lr(trainer) == old else "base LR"
    rescale(trainer.optimizers, schedulers_of(trainer), old=old, new=new)
    return Effect(f"{name} {old:.4g} -> {new:.4g}", starts_afresh=True)
