"""Runs the actions that follow a verdict, and keeps what they remember."""

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from lightning_lr.checkpoints.saved_state import (
    Read,
    count,
    flag,
    mapping,
    number,
    optional,
    read_entries,
    text,
)
from lightning_lr.checks import out_of_hydra
from lightning_lr.fit.lightnings import LightningModule, MisconfigurationException, Trainer
from lightning_lr.fit.neighbors import averages_of, lowering_schedule
from lightning_lr.output.decisions import Entry, tell
from lightning_lr.plateau.actions.base import Action, ActionSpec, Best, Effect, ReportOnly, Situation
from lightning_lr.plateau.actions.reduce import ReduceLR
from lightning_lr.plateau.actions.restore import RestoreBest, is_sharded
from lightning_lr.plateau.actions.stop import StartCooldown
from lightning_lr.plateau.detectors.base import Mode, is_better
from lightning_lr.plateau.record import Record
from lightning_lr.plateau.weights import copy_weights, read_weights

__all__ = ["Reactions", "checked_actions", "tell_default"]


class Reactions:
    """The actions of one fit, their memories, and the best validation that they can go back to.

    Args:
        actions: The actions for each state of a verdict, None for the default.
    """

    def __init__(self, actions: Mapping[str, tuple[Action, ...] | None]) -> None:
        self._given = actions
        self._actions: dict[str, tuple[Action, ...]] = {}
        self._monitor = ""
        self._mode: Mode = "min"
        self._memories: dict[str, dict[str, Any]] = {}
        # The kinds of the actions whose memories were loaded.
        self._writers: dict[str, str] = {}
        self._has_acted = False
        self._leads = False
        self.best: Best | None = None

    def begin(self, trainer: Trainer, *, monitor: str, mode: Mode, is_first: bool) -> None:
        """Begin a fit; refuse actions that lack what they need or do not fit the loaded memories.

        Args:
            trainer: With its optimizers.
            monitor: The name of the monitored value.
            mode: Whether smaller or larger values are better.
            is_first: Whether this is the Trainer's first PlateauDetector.
        """
        self._monitor, self._mode = monitor, mode
        self._leads = is_first and lowering_schedule(trainer) is None
        defaults = _defaults(trainer, self._given["plateau"])
        self._actions = {
            state: defaults[state] if given is None else given for state, given in self._given.items()
        }
        for _, action in self._all():
            action.check(trainer, monitor=monitor, mode=mode)
        _check_memories(self._memories, self._writers, dict(self._all()))

    def react(
        self, trainer: Trainer, pl_module: LightningModule, record: Record, *, total: float
    ) -> list[Effect]:
        """Show a validation of a run of `total` to all actions, and let those that follow its verdict act."""
        self._note_best(trainer, pl_module, record)
        situation = partial(self._situation, trainer, pl_module, record, total=total)
        effects = [action.watch(situation(name)) for name, action in self._all()]
        effects += [action.act(situation(name)) for name, action in self._of(record.verdict.state)]
        done = [effect for effect in effects if effect is not None]
        self._has_acted |= bool(done)
        return done

    @property
    def reports(self) -> bool:
        """Whether the actions given for a plateau do nothing, so that the user only wants to be told."""
        given = self._given["plateau"]
        return given is not None and all(isinstance(action, ReportOnly) for action in given)

    @property
    def rescales(self) -> bool:
        """Whether an action of this fit multiplies the base LR."""
        return any(action.rescales for _, action in self._all())

    @property
    def has_acted(self) -> bool:
        """Whether an action has acted since the last batch."""
        return self._has_acted

    def before_batch(self, trainer: Trainer, pl_module: LightningModule, record: Record) -> list[Effect]:
        """Let the actions do what they could not do during the last validation, which `record` is of."""
        self._has_acted = False
        situation = partial(self._situation, trainer, pl_module, record)
        effects = [action.before_batch(situation(name)) for name, action in self._all()]
        return [effect for effect in effects if effect is not None]

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint."""
        return {
            "memories": {name: dict(memory) for name, memory in self._memories.items() if memory},
            "actions": {name: type(action).__name__ for name, action in self._all()},
            "best": None if self.best is None else dict(vars(self.best)),
            "has_acted": self._has_acted,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a checkpoint; raises ValueError if the state is not valid."""
        values = read_entries(state, _ENTRIES)
        self._memories, self._writers = values["memories"], values["actions"]
        self.best, self._has_acted = values["best"], values["has_acted"]

    def _of(self, state: str) -> Iterator[tuple[str, Action]]:
        for index, action in enumerate(self._actions.get(state, ())):
            yield f"{state}.{index}", action

    def _all(self) -> Iterator[tuple[str, Action]]:
        for state in self._actions:
            yield from self._of(state)

    def _situation(
        self,
        trainer: Trainer,
        module: LightningModule,
        record: Record,
        name: str,
        *,
        total: float = math.inf,
    ) -> Situation:
        memory = self._memories.setdefault(name, {})
        leads = self._leads and name == "plateau.0"
        return Situation(
            trainer, module, self._monitor, self._mode, record, self.best, memory, total=total, leads=leads
        )

    def _note_best(self, trainer: Trainer, pl_module: LightningModule, record: Record) -> None:
        if not math.isfinite(record.value):
            return
        if self.best is None or is_better(record.value, self.best.value, self._mode):
            keeps_best = any(action.keeps_best for _, action in self._all())
            weights = None
            if keeps_best:
                weights = copy_weights(pl_module, trainer.optimizers, averages_of(trainer, pl_module))
            self.best = Best(record.value, record.validation, weights)


def _check_memories(
    memories: Mapping[str, Mapping[str, Any]], writers: Mapping[str, str], actions: Mapping[str, Action]
) -> None:
    """Refuse memories of actions that have changed."""
    for name, memory in memories.items():
        problem = _misfit(actions.get(name), memory, writer=writers.get(name))
        if memory and problem:
            raise MisconfigurationException(
                f"PlateauDetector cannot go on from this checkpoint: it holds what the action {name!r}"
                f" remembers, {sorted(map(str, memory))}, but {problem} Use the actions that the run was"
                " started with."
            )


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
    entries = {"value": number, "validation": count, "weights": optional(read_weights)}
    return Best(**read_entries(best, entries))


_ENTRIES: dict[str, Read] = {
    "memories": _read_memories,
    "actions": mapping,
    "best": optional(_read_best),
    "has_acted": flag,
}


def tell_default(trainer: Trainer) -> None:
    """Tell that verdicts without an action are only reported, if a schedule lowers the LR."""
    schedule = lowering_schedule(trainer)
    if schedule is not None:
        summary = (
            f"{schedule} changes the LR by itself. Where no action is given, verdicts are only reported."
        )
        entry = Entry("PlateauDetector", "default", summary, "LR stays with the schedule")
        line = f"only reports, since {schedule} changes the LR by itself; give it `on_plateau=...` to act."
        tell(trainer, entry, line=line)


def checked_actions(name: str, actions: ActionSpec) -> tuple[Action, ...] | None:
    """Return one or several actions as a tuple, None as None; raises TypeError for anything else."""
    actions = out_of_hydra(actions)
    if actions is None:
        return None
    several: Sequence[Any] = actions if isinstance(actions, list | tuple) else (actions,)
    for action in several:
        if not isinstance(action, Action):
            raise TypeError(
                f"`PlateauDetector({name}=...)` must be actions of `lightning_lr.plateau`, got {action!r}."
            )
    return tuple(several)


def _defaults(trainer: Trainer, on_plateau: tuple[Action, ...] | None) -> dict[str, tuple[Action, ...]]:
    if any(isinstance(action, StartCooldown) for action in on_plateau or ()):
        kept: tuple[Action, ...] = () if is_sharded(trainer) else (RestoreBest(1.0),)
        return dict.fromkeys(("plateau", "overfitting", "diverging"), (*kept, StartCooldown()))
    if lowering_schedule(trainer) is not None:
        return dict.fromkeys(("plateau", "overfitting", "diverging"), (ReportOnly(),))
    back = ReduceLR() if is_sharded(trainer) else RestoreBest()
    return {"plateau": (ReduceLR(),), "overfitting": (back,), "diverging": (back,)}
