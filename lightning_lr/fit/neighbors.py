"""Finds other callbacks of the fit by what they can do, and those that would undo our work.

Workers never import one another: what one needs of another is a protocol here.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, Protocol, TypeAlias, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from lightning_lr.fit.lightnings import (
    Callback,
    LightningModule,
    MisconfigurationException,
    StochasticWeightAveraging,
    Trainer,
)

__all__ = [
    "Charted",
    "Charts",
    "ChecksFit",
    "Concludes",
    "Finds",
    "Listed",
    "Reacts",
    "Schedules",
    "WatchesLRs",
    "averages_of",
    "callbacks_of",
    "check_fits",
    "check_no_rival",
    "lowering_schedule",
    "prepare_schedules",
    "schedulers_of",
    "write_schedules",
]

Kind = TypeVar("Kind")

Charts: TypeAlias = Mapping[str, Mapping[str, list[str]]]
"""Charts of TensorBoard's Custom Scalars: the tags of a chart, by category and title.

Tags are regular expressions, matched from the start.
"""


@runtime_checkable
class Charted(Protocol):
    """A callback whose curves LRLogger shows in charts."""

    def charts(self) -> Charts:
        """Return the charts of its curves."""


@runtime_checkable
class Listed(Protocol):
    """A callback whose settings LRLogger writes into a column of HParams."""

    hparams_column: str


@runtime_checkable
class Schedules(Protocol):
    """A callback that sets the LRs by plan, like LRDecay.

    Its properties never raise: before Python 3.12, `isinstance` with a protocol reads them.
    """

    @property
    def schedule_name(self) -> str | None:
        """The name of the plan in messages; None if it keeps the LR constant."""

    @property
    def has_cooldown(self) -> bool:
        """Whether `start_cooldown` can be used."""

    @property
    def scheduled_keys(self) -> tuple[str, ...]:
        """What it sets beside the LRs: `momentum`, `weight_decay`."""

    def start_cooldown(self, trainer: Trainer, *, keeps_length: bool = True) -> str | None:
        """Begin the cooldown and return what that means for the run; None if it has already begun."""

    def warms_up(self, trainer: Trainer, pl_module: LightningModule) -> bool:
        """Return whether the LR begins low and rises; all ranks call it."""

    def factors(self, trainer: Trainer, pl_module: LightningModule, *, is_whole: bool) -> list[list[float]]:
        """Return the factors of each group over the rest of the run, or over the whole of it.

        They are spread evenly but for one. All ranks call it.
        """

    def prepare(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Set what is scheduled beside the LRs for a test before the first step; all ranks call it."""

    def write(self, trainer: Trainer) -> None:
        """Set the current LRs from the current base LRs."""


@runtime_checkable
class Reacts(Protocol):
    """A callback that may change the LRs when it sees fit, like PlateauDetector."""

    @property
    def acts(self) -> bool:
        """Whether it does more than to report."""


@runtime_checkable
class WatchesLRs(Protocol):
    """A callback that looks whether other code sets LRs."""

    def expect_lrs(self, trainer: Trainer) -> None:
        """Take the LRs of now for those that are told."""


@runtime_checkable
class ChecksFit(Protocol):
    """A callback that can refuse a fit when its loaders are set up."""

    def check_fit(self, trainer: Trainer, pl_module: LightningModule) -> object:
        """Raise MisconfigurationException if the fit is not one for this callback; all ranks call it."""


@runtime_checkable
class Finds(Protocol):
    """A callback that finds the LR in a dry run, like LRRangeTest."""

    apply: bool

    def run_test(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Run the test from here, report the LR that it found, and train with it."""


@runtime_checkable
class Concludes(Protocol):
    """A callback that says the last line of a fit for all of them, like LRLogger."""

    def conclude(self, trainer: Trainer) -> None:
        """Say what came of the fit."""


def callbacks_of(trainer: Trainer, kind: type[Kind]) -> list[Kind]:
    """Return the callbacks of a Trainer that have a class or fit a protocol."""
    callbacks: Sequence[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return [callback for callback in callbacks if isinstance(callback, kind)]


def check_fits(trainer: Trainer, pl_module: LightningModule) -> None:
    """Let all callbacks refuse the fit, before steps are spent on it; all ranks call it."""
    for callback in callbacks_of(trainer, ChecksFit):
        callback.check_fit(trainer, pl_module)


def averages_of(trainer: Trainer, pl_module: LightningModule) -> dict[str, Tensor]:
    """Return the tensors of the modules that callbacks hold beside the one in training: averages of it."""
    found: dict[str, Tensor] = {}
    seen = Counter[str]()
    for callback in callbacks_of(trainer, Callback):
        kind = type(callback).__name__
        place = f"{kind}[{seen[kind]}]"
        seen[kind] += 1
        for name, held in vars(callback).items():
            if isinstance(held, nn.Module) and not isinstance(held, Metric) and held is not pl_module:
                tensors = chain(held.named_parameters(), held.named_buffers())
                found |= {f"{place}.{name}.{key}": tensor for key, tensor in tensors}
        if isinstance(callback, StochasticWeightAveraging):
            averaged = callback.n_averaged
            found[f"{place}.n_averaged"] = torch.tensor(0) if averaged is None else averaged
    return found


def schedulers_of(trainer: Trainer) -> list[Any]:
    """Return the LR schedulers from `configure_optimizers` and from callbacks."""
    return [config.scheduler for config in trainer.lr_scheduler_configs]


def prepare_schedules(trainer: Trainer, pl_module: LightningModule) -> None:
    """Let callbacks set momentum and weight decay of the first step before a test; all ranks call it."""
    for callback in callbacks_of(trainer, Schedules):
        callback.prepare(trainer, pl_module)


def write_schedules(trainer: Trainer) -> None:
    """Let callbacks that set the LRs by plan write them again; called after a change of base LRs.

    A resumed run writes the same LRs. Those that watch the LRs take them in.
    """
    for callback in callbacks_of(trainer, Schedules):
        callback.write(trainer)
    for watcher in callbacks_of(trainer, WatchesLRs):
        watcher.expect_lrs(trainer)


def lowering_schedule(trainer: Trainer) -> str | None:
    """Return the name of the schedule that lowers the LR in this fit, or None."""
    for scheduler in schedulers_of(trainer):
        return type(scheduler).__name__
    for callback in callbacks_of(trainer, Callback):
        if isinstance(callback, StochasticWeightAveraging):
            # Its scheduler only appears in the first epoch that it averages.
            return type(callback).__name__
        if isinstance(callback, Schedules) and callback.schedule_name is not None:
            return callback.schedule_name
    return None


def check_no_rival(trainer: Trainer) -> None:
    """Raise MisconfigurationException if the fit has an LR scheduler, or a callback that adds one."""
    for scheduler in schedulers_of(trainer):
        raise MisconfigurationException(
            f"`configure_optimizers` returns the LR scheduler {type(scheduler).__name__} and the Trainer has"
            " the callback LRDecay: two writers of one learning rate. To keep the scheduler, remove LRDecay"
            " from `Trainer(callbacks=...)`; to keep LRDecay, return the optimizer alone from"
            " `configure_optimizers`, which a library's module may have an argument for."
        )
    for callback in callbacks_of(trainer, StochasticWeightAveraging):
        raise MisconfigurationException(
            f"The callback {type(callback).__name__} brings an LR scheduler of its own and the Trainer"
            " has the callback LRDecay: two writers of one learning rate. To keep its LRs, remove"
            " LRDecay; to keep LRDecay, average with `EMAWeightAveraging` or `WeightAveraging`, which"
            " leave the LR alone."
        )
