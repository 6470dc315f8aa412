"""Who else is in this fit: other callbacks, by what they can do, and those that would undo our work.

Workers never import one another. What one wants of another is a protocol here.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeAlias, TypeVar, runtime_checkable

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import StochasticWeightAveraging

__all__ = [
    "Charted",
    "Charts",
    "Finds",
    "Listed",
    "Schedules",
    "callbacks_of",
    "check_no_rival",
    "lowering_schedule",
    "schedulers_of",
    "write_schedules",
]

Kind = TypeVar("Kind")

Charts: TypeAlias = Mapping[str, Mapping[str, tuple[str, list[str]]]]
"""Charts of TensorBoard's Custom Scalars: by category and title the kind of the chart and its tags.

The tags of a `Margin` are names, all others regular expressions that match from the start.
"""


@runtime_checkable
class Charted(Protocol):
    """A callback whose curves LRLogger shows in charts."""

    def charts(self) -> Charts:
        """Return its charts."""


@runtime_checkable
class Listed(Protocol):
    """A callback whose settings LRLogger writes to HParams."""

    hparams_column: str


@runtime_checkable
class Schedules(Protocol):
    """A callback that sets the LRs by plan, such as LRDecay.

    Its properties never raise: before Python 3.12, `isinstance` with a protocol reads them.
    """

    @property
    def schedule_name(self) -> str | None:
        """The plan as sentences name it; None if it keeps the LR."""

    @property
    def has_cooldown(self) -> bool:
        """Whether `start_cooldown` can be used."""

    def start_cooldown(self, trainer: Trainer) -> str | None:
        """Begin the cooldown, and return what that means for the run; None where it has begun already."""

    def write(self, trainer: Trainer) -> None:
        """Set the current LRs from the current base LRs."""


@runtime_checkable
class Finds(Protocol):
    """A callback that finds the LR with steps that leave no trace, such as LRRangeTest."""

    def run_test(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Run the test from here, tell what it found and train with that."""


def callbacks_of(trainer: Trainer, kind: type[Kind]) -> list[Kind]:
    """Return the callbacks of a Trainer that are of a class, or that fit a protocol."""
    callbacks: Sequence[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return [callback for callback in callbacks if isinstance(callback, kind)]


def schedulers_of(trainer: Trainer) -> list[Any]:
    """Return the LR schedulers that `configure_optimizers` and callbacks have brought."""
    return [config.scheduler for config in trainer.lr_scheduler_configs]


def write_schedules(trainer: Trainer) -> None:
    """Let whoever sets the LRs by plan write them from changed base LRs, as it will after a resume.

    Called by whoever changes a base LR.
    """
    for callback in callbacks_of(trainer, Schedules):
        callback.write(trainer)


def lowering_schedule(trainer: Trainer) -> str | None:
    """Return the name of what lowers the LR by plan in this fit, if anything does."""
    for scheduler in schedulers_of(trainer):
        return type(scheduler).__name__
    for callback in callbacks_of(trainer, Callback):
        if isinstance(callback, StochasticWeightAveraging):
            # Its scheduler comes with the first epoch that is averaged.
            return type(callback).__name__
        if isinstance(callback, Schedules) and callback.schedule_name is not None:
            return callback.schedule_name
    return None


def check_no_rival(trainer: Trainer) -> None:
    """Refuse a fit in which an LR scheduler is configured, or a callback brings one.

    Raises:
        MisconfigurationException: Which, and how to keep the one or the other.
    """
    for scheduler in schedulers_of(trainer):
        raise MisconfigurationException(
            f"`configure_optimizers` returns the LR scheduler {type(scheduler).__name__} and the Trainer has"
            " the callback LRDecay: two writers of one learning rate. To keep the scheduler, remove LRDecay"
            " from `Trainer(callbacks=...)`; to keep LRDecay, return the optimizer alone from"
            " `configure_optimizers`."
        )
    for callback in callbacks_of(trainer, StochasticWeightAveraging):
        raise MisconfigurationException(
            f"The callback {type(callback).__name__} brings an LR scheduler of its own and the Trainer"
            " has the callback LRDecay: two writers of one learning rate. To keep its LRs, remove"
            " LRDecay; to keep LRDecay, average with `EMAWeightAveraging` or `WeightAveraging`, which"
            " leave the LR alone."
        )
