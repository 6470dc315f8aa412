"""What a checkpoint holds of a plan: how far it was, for a run of which length, and early cooldowns."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from lightning_lr.checkpoints.resume import read_state
from lightning_lr.checkpoints.saved_state import (
    Read,
    count,
    length,
    mapping,
    number,
    optional,
    positive,
    read_entries,
    text,
)
from lightning_lr.decay.plan import Cooldown
from lightning_lr.decay.schedule import Schedule
from lightning_lr.fit.horizon import Horizon
from lightning_lr.fit.lightnings import Callback

__all__ = ["SavedPlan"]


@dataclass(frozen=True)
class SavedPlan:
    """The state of a plan.

    Args:
        step: How many steps had been made.
        horizon: The length that the run was to have.
        settings: The arguments of LRDecay as text; None from older versions.
        cooldown: The cooldown of `policy`, if it began early.
        cooldowns: Those of `policies`.
    """

    step: int
    horizon: Horizon
    settings: str | None
    cooldown: Cooldown | None = None
    cooldowns: Mapping[str, Cooldown] = field(default_factory=dict)

    @classmethod
    def of(cls, schedule: Schedule, *, step: int, settings: str) -> "SavedPlan":
        """Return the state of the plans of a fit after so many steps."""
        early = {key: plan.cooldown for key, plan in schedule.others.items() if plan.cooldown is not None}
        return cls(step, schedule.plan.horizon, settings, schedule.plan.cooldown, early)

    @property
    def has_cooldown(self) -> bool:
        """Whether a cooldown began early."""
        return self.cooldown is not None or bool(self.cooldowns)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        values = asdict(self)
        return {"plan": values.pop("settings"), **values}

    @classmethod
    def read(cls, callback: Callback, state: object) -> "SavedPlan":
        """Return what `to_dict` gave, from a checkpoint.

        Raises:
            MisconfigurationException: The state is not one of this callback.
        """
        values = read_state(callback, state, _ENTRIES, newer=_NEWER)
        return cls(settings=values.pop("plan"), **values)


def _read_cooldown(values: object) -> Cooldown:
    return Cooldown(**read_entries(values, {"start": number, "length": positive}))


_ENTRIES: dict[str, Read] = {
    "step": count,
    "plan": optional(text),
    "horizon": lambda values: Horizon(**read_entries(values, {"steps": length, "epochs": length})),
    "cooldown": optional(_read_cooldown),
    "cooldowns": lambda values: {text(key): _read_cooldown(each) for key, each in mapping(values).items()},
}
# What states of version 0.1.0 lack.
_NEWER: dict[str, Any] = {"plan": None, "cooldowns": {}}
