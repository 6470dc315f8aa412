"""Which actions follow which verdict, what they remember, and the best validation they can go back to."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningModule, Trainer

from lightning_lr.fit.neighbors import lowering_schedule
from lightning_lr.fit.saved_state import (
    Read,
    count,
    each_of,
    flag,
    mapping,
    number,
    optional,
    read_entries,
    text,
)
from lightning_lr.output.decisions import Entry, tell
from lightning_lr.plateau.actions.base import Action, ActionSpec, Best, Effect, ReportOnly, Situation
from lightning_lr.plateau.actions.reduce import ReduceLR
from lightning_lr.plateau.actions.restore import RestoreBest, is_sharded
from lightning_lr.plateau.detectors.base import Mode
from lightning_lr.plateau.record import Record
from lightning_lr.plateau.weights import copy_weights

__all__ = ["Reactions", "checked_actions", "tell_default"]


class Reactions:
    """The actions of one fit.

    Args:
        actions: For each state of a verdict its actions, None for the default.
    """

    def __init__(self, actions: Mapping[str, tuple[Action, ...] | None]) -> None:
        self._given = actions
        self._actions: dict[str, tuple[Action, ...]] = {}
        self._monitor = ""
        self._mode: Mode = "min"
        self._memories: dict[str, dict[str, Any]] = {}
        # What kind of action each memory is of that was loaded.
        self._writers: dict[str, str] = {}
        self._has_acted = False
        self.best: Best | None = None

    def begin(self, trainer: Trainer, *, monitor: str, mode: Mode) -> None:
        """Begin a fit.

        Raises:
            MisconfigurationException: An action lacks what it needs.
        """
        self._monitor, self._mode = monitor, mode
        defaults = _defaults(trainer)
        self._actions = {
            state: (defaults[state],) if given is None else given for state, given in self._given.items()
        }
        for _, action in self._all():
            action.check(trainer, monitor=monitor, mode=mode)
        self._check_memories()

    def _check_memories(self) -> None:
        """Refuse memories of actions that have changed."""
        actions = dict(self._all())
        for name, memory in self._memories.items():
            problem = _misfit(actions.get(name), memory, writer=self._writers.get(name))
            if memory and problem:
                raise MisconfigurationException(
                    f"PlateauDetector cannot go on from this checkpoint: it holds what the action {name!r}"
                    f" remembers, {sorted(map(str, memory))}, but {problem} Use the actions that the run was"
                    " started with."
                )

    def react(self, trainer: Trainer, pl_module: LightningModule, record: Record) -> list[Effect]:
        """Let every action see a validation, and those act that are for its verdict."""
        situation = self._situation(trainer, pl_module, record)
        self._note_best(situation)
        situation = replace(situation, best=self.best)
        effects = [action.watch(self._with_memory(situation, name)) for name, action in self._all()]
        effects += [
            action.act(self._with_memory(situation, name)) for name, action in self._of(record.verdict.state)
        ]
        done = [effect for effect in effects if effect is not None]
        self._has_acted |= bool(done)
        return done

    @property
    def has_acted(self) -> bool:
        """Whether an action has acted since the last batch."""
        return self._has_acted

    def before_batch(self, trainer: Trainer, pl_module: LightningModule, record: Record) -> list[Effect]:
        """Let the actions do what they could not do within the validation of this record, the last one."""
        self._has_acted = False
        situation = self._situation(trainer, pl_module, record)
        effects = [action.before_batch(self._with_memory(situation, name)) for name, action in self._all()]
        return [effect for effect in effects if effect is not None]

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint has to hold."""
        return {
            "memories": {name: dict(memory) for name, memory in self._memories.items() if memory},
            "actions": {name: type(action).__name__ for name, action in self._all()},
            "best": None if self.best is None else dict(vars(self.best)),
            "has_acted": self._has_acted,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint.

        Raises:
            ValueError: Not a valid state.
        """
        values = read_entries(state, _ENTRIES)
        self._memories, self.best = values["memories"], values["best"]
        self._writers = values["actions"]
        self._has_acted = values["has_acted"]

    def _of(self, state: str) -> Iterator[tuple[str, Action]]:
        for index, action in enumerate(self._actions.get(state, ())):
            yield f"{state}.{index}", action

    def _all(self) -> Iterator[tuple[str, Action]]:
        for state in self._actions:
            yield from self._of(state)

    def _situation(self, trainer: Trainer, pl_module: LightningModule, record: Record) -> Situation:
        return Situation(
            trainer=trainer,
            pl_module=pl_module,
            monitor=self._monitor,
            mode=self._mode,
            record=record,
            best=self.best,
            memory={},
        )

    def _with_memory(self, situation: Situation, name: str) -> Situation:
        return replace(situation, memory=self._memories.setdefault(name, {}))

    def _note_best(self, situation: Situation) -> None:
        if self.best is not None and not situation.is_better(situation.value, self.best.value):
            return
        if not math.isfinite(situation.value):
            return
        weights = None
        if any(action.keeps_best for _, action in self._all()):
            weights = copy_weights(situation.pl_module, situation.trainer.optimizers)
        self.best = Best(situation.value, situation.validation, weights)


def _misfit(action: Action | None, memory: Mapping[str, Any], *, writer: str | None) -> str:
    """Return why a memory does not fit its action; empty if it does."""
    if action is None:
        return "there is no such action now."
    now = type(action).__name__
    if writer not in (None, now):
        return f"it was {writer} and is {now} now."
    try:
        action.check_memory(memory)
    except ValueError as error:
        return f"this does not fit. {error}"
    return ""


def _read_memories(memories: object) -> dict[str, dict[str, Any]]:
    return {text(name): mapping(memory) for name, memory in mapping(memories).items()}


def _read_best(best: object) -> Best:
    read_weights = optional(
        lambda weights: read_entries(weights, {"module": mapping, "optimizers": each_of(mapping)})
    )
    return Best(**read_entries(best, {"value": number, "validation": count, "weights": read_weights}))


_ENTRIES: dict[str, Read] = {
    "memories": _read_memories,
    "actions": mapping,
    "best": optional(_read_best),
    "has_acted": flag,
}


def tell_default(trainer: Trainer) -> None:
    """Tell that verdicts without an action do nothing, if the LR is lowered by plan."""
    schedule = lowering_schedule(trainer)
    if schedule is not None:
        summary = (
            f"{schedule} changes the LR by itself. Where no action is given, verdicts are only reported."
        )
        tell(trainer, Entry("PlateauDetector", "default", summary, "LR stays with the schedule"))


def checked_actions(name: str, actions: ActionSpec) -> tuple[Action, ...] | None:
    """Return the actions that were given as one, several or none at all.

    Raises:
        TypeError: Something else was given.
    """
    if actions is None:
        return None
    several: Sequence[Any] = actions if isinstance(actions, list | tuple) else (actions,)
    for action in several:
        if not isinstance(action, Action):
            raise TypeError(
                f"`PlateauDetector({name}=...)` must be actions of `lightning_lr.plateau`, got {action!r}."
            )
    return tuple(several)


def _defaults(trainer: Trainer) -> dict[str, Action]:
    if lowering_schedule(trainer) is not None:
        return dict.fromkeys(("plateau", "overfitting", "diverging"), ReportOnly())
    back = ReduceLR() if is_sharded(trainer) else RestoreBest()
    return {"plateau": ReduceLR(), "overfitting": back, "diverging": back}
