"""Lowers the learning rates, whatever schedule they follow."""

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any

from typing_extensions import override

from lightning_lr.checkpoints.saved_state import Read, count, flag, read_entries
from lightning_lr.checks import check_count, check_number
from lightning_lr.fit.lightnings import Trainer
from lightning_lr.fit.neighbors import schedulers_of
from lightning_lr.plateau.actions.base import Action, Effect, Situation
from lightning_lr.plateau.actions.by_group import check_by_group, is_change, multiply_by_group
from lightning_lr.plateau.detectors.base import Mode
from lightning_lr.rates import base_lr, current_lr, rescale

__all__ = ["ReduceLR", "change_lr", "multiply_lr"]


@dataclass(frozen=True, repr=False)
class ReduceLR(Action):
    """Multiply the LR by `factor`, and lower it to the end of the run.

    The base LR is multiplied, together with everything that torch's schedulers derive from it. LRDecay or a
    scheduler continues on its own curve from there, and the groups keep their ratios.

    A run that ends without having lowered its LR has wasted the better part of it. So in the last
    `final_decay` of a run with a known end, the LR falls linearly, at every validation, to 0 or `min_lr`, and
    a plateau does not lower it any further. This holds for the action on a plateau, for one PlateauDetector
    in a Trainer, and where no schedule lowers the LR already.

    Args:
        factor: The factor for the LR, in (0, 1).
        min_lr: The lowest base LR, in [0, inf), of the group with the highest one; the others keep their
            ratios to it. With `groups` or `min_lrs`, of each group by itself.
        cooldown: For how many validations after a reduction not to reduce again, at least 0.
        final_decay: The last share of the run in which the LR falls to the end, in [0, 1].
        groups: The names in LRLogger (`head`, or `AdamW/head`) of the groups to reduce; None for all.
        min_lrs: The lowest base LRs of groups by their names, in [0, inf), in the place of `min_lr`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of range.
        MisconfigurationException: At fit start: no group has such a name, or a scheduler or a tensor holds
            one LR for groups that are to have different ones.

    Example:
        >>> from lightning_lr import PlateauDetector
        >>> detector = PlateauDetector(on_plateau=ReduceLR(0.1, cooldown=3))

        A lowest LR for each parameter group:

        >>> by_group = ReduceLR(0.1, min_lrs={"head": 1e-4, "backbone": 1e-6})
    """

    factor: float = 0.3
    _: KW_ONLY
    min_lr: float = 0.0
    cooldown: int = 0
    final_decay: float = 0.2
    # Types that OmegaConf has fields for.
    groups: list[str] | None = None
    min_lrs: dict[str, float] | None = None

    def __post_init__(self) -> None:
        check_number("ReduceLR(factor=...)", self.factor, "(0, 1)")
        check_number("ReduceLR(min_lr=...)", self.min_lr, "[0, inf)")
        if self.min_lrs is not None and not isinstance(self.min_lrs, Mapping):
            raise TypeError(
                f"`ReduceLR(min_lrs=...)` must be LRs by the names of groups, got {self.min_lrs}."
            )
        for name, lr in (self.min_lrs or {}).items():
            check_number(f"ReduceLR(min_lrs={{{name!r}: ...}})", lr, "[0, inf)")
        check_count("ReduceLR(cooldown=...)", self.cooldown, minimum=0)
        check_number("ReduceLR(final_decay=...)", self.final_decay, "[0, 1]")
        named = self.groups is None or isinstance(self.groups, list | tuple)
        if not named or any(not isinstance(name, str) for name in self.groups or ()):
            raise TypeError(f"`ReduceLR(groups=...)` must be a list of names, got {self.groups!r}.")

    @property
    @override
    def rescales(self) -> bool:
        return True

    @override
    def check(self, trainer: Trainer, *, monitor: str, mode: Mode) -> None:
        if self._is_by_group:
            check_by_group(trainer, (*(self.groups or ()), *(self.min_lrs or {})), "ReduceLR")

    @override
    def check_memory(self, memory: Mapping[str, Any]) -> None:
        known: dict[str, Read] = {"resting": count, "ending": flag}
        read_entries(memory, {name: known[name] for name in known if name in memory})

    @override
    def watch(self, situation: Situation) -> Effect | None:
        resting = situation.memory.pop("resting", 0)
        if resting > 1:
            situation.memory["resting"] = resting - 1
        left = situation.total - situation.validation
        if not situation.leads or left <= 0 or left >= self.final_decay * situation.total:
            return None
        announced = situation.memory.get("ending", False)
        situation.memory["ending"] = True
        effect = self._multiply(situation.trainer, left / (left + 1))
        if effect is None:
            return None
        end = "the lowest" if self.min_lrs else f"{self.min_lr:g}"
        rest = "the last validation" if left == 1 else f"the {left:g} validations that are left"
        text = f"{effect.text}, and on to {end} with {rest}"
        return Effect(text, is_announced=announced)

    @override
    def act(self, situation: Situation) -> Effect | None:
        if "resting" in situation.memory or "ending" in situation.memory:
            return None
        effect = self._multiply(situation.trainer, self.factor)
        if effect is not None:
            situation.memory["resting"] = self.cooldown + 1
        return effect

    @property
    def _is_by_group(self) -> bool:
        return self.groups is not None or bool(self.min_lrs)

    def _multiply(self, trainer: Trainer, factor: float) -> Effect | None:
        if not self._is_by_group:
            return multiply_lr(trainer, factor, min_lr=self.min_lr)
        return multiply_by_group(trainer, factor, self.groups, self.min_lrs or {}, lowest=self.min_lr)


def multiply_lr(trainer: Trainer, factor: float, *, min_lr: float = 0.0) -> Effect | None:
    """Multiply the base LR of every group by `factor`, but keep the highest one at `min_lr` or above."""
    old = base_lr(trainer)
    return change_lr(trainer, max(old * factor, min(old, min_lr)))


def change_lr(trainer: Trainer, new: float) -> Effect | None:
    """Make `new` the highest base LR and keep the ratios of the groups; None if nothing changes."""
    old = base_lr(trainer)
    if not old or not is_change(old, new):
        return None
    name = "LR" if current_lr(trainer) == old else "base LR"
    rescale(trainer.optimizers, schedulers_of(trainer), old=old, new=new)
    return Effect(f"{name} {old:.4g} -> {new:.4g}", starts_afresh=True)
