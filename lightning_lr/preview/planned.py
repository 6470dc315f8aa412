"""The plan of a run as a value: every LR that LRDecay will write, known without a Trainer."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, runtime_checkable

from typing_extensions import override

from lightning_lr.checks import check_count, check_number
from lightning_lr.decay.doubts import doubts
from lightning_lr.decay.plan import Interval, Plan
from lightning_lr.decay.ramp import RampShape
from lightning_lr.decay.schedule import Schedule, is_pattern
from lightning_lr.decay.settings import Settings, check_arguments
from lightning_lr.fit.horizon import horizon
from lightning_lr.policies import Policy
from lightning_lr.preview.figure import Curve, planned_figure
from lightning_lr.preview.table import as_text, shortened
from lightning_lr.preview.timeline import Timeline, lay_out
from lightning_lr.shown import figure_html

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["PlannedStep", "Preview", "Unit", "preview"]

Unit: TypeAlias = Literal["optimizer step", "batch"]

_REMEDY = (
    "Give `preview` the length of the run as `max_epochs` or `max_steps`, with `steps_per_epoch` if the plan"
    " counts steps and epochs."
)
# A figure has fewer dots across.
_DRAWN_POINTS = 5_000


@dataclass(frozen=True)
class PlannedStep:
    """One moment of the plan.

    Args:
        step: Optimizer steps made before; None if only epochs are known.
        epoch: Epochs completed before; None if only steps are known.
        factor: LR = base LR x factor, except below `min_lr`; at least 0.
        lrs: The LR of each parameter group by its name; empty if the base LRs are not known yet.
        factors: The factor of groups with a policy of their own, by their names in `policies`.

    Example:
        >>> from lightning_lr.policies import Cosine
        >>> preview(Cosine(), max_epochs=4, base_lr=0.1).table()[2]
        PlannedStep(step=None, epoch=2, factor=0.5, lrs={'lr': 0.05}, factors={})
    """

    step: int | None
    epoch: int | None
    factor: float
    lrs: Mapping[str, float]
    factors: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Preview:
    """The LRs of a run as LRDecay will write them; `str()` shows them as a table.

    Args:
        plan: Policy, warm-up and horizon.
        timeline: The steps and epochs of the run.
        base_lrs: The base LR of each parameter group by its name.
        found_by: The callback that finds the base LRs when the fit starts; empty if they are known.
        unit: What a step counts; batches if manual optimization lets the Trainer count nothing else.
        others: The plans of groups with a policy of their own, by their names in `policies`.

    Raises:
        ValueError: The plan combines steps and epochs, and how many steps an epoch makes is unknown.

    Example:
        >>> from lightning_lr.policies import Cosine
        >>> plan = preview(Cosine(), max_steps=1000, interval="step", warmup=0.05, base_lr=0.1)
        >>> plan
        Preview(Cosine(end=0.0) per step, warm-up 50 of 1,000 steps)
    """

    plan: Plan
    timeline: Timeline
    base_lrs: Mapping[str, float]
    found_by: str = ""
    unit: Unit = "optimizer step"
    others: Mapping[str, Plan] = field(default_factory=dict)

    def __post_init__(self) -> None:
        by_epoch = self.plan.interval == "epoch" or not self.timeline.in_steps
        by_step = self.plan.interval == "step" or self.plan.warmup_steps > 0 or self.timeline.in_steps
        if by_epoch and by_step and not self.timeline.epoch_starts:
            raise ValueError(
                "This plan counts steps and epochs, and it is unknown how many steps an epoch makes."
            )

    @cached_property
    def _schedule(self) -> Schedule:
        return Schedule(self.plan, self.others)

    @cached_property
    def _keys(self) -> dict[str, str | None]:
        return {name: self._schedule.key_of(name) for name in self.base_lrs}

    @property
    def known_lrs(self) -> Mapping[str, float]:
        """The base LRs of the run; empty if a callback is going to find them."""
        return {} if self.found_by else self.base_lrs

    @override
    def __repr__(self) -> str:
        return f"Preview({self.title})"

    def _repr_html_(self) -> str:
        return figure_html(self.figure, str(self))

    def every_step(self) -> list[PlannedStep]:
        """Return the whole plan, step by step, or epoch by epoch if the steps are unknown.

        Example:
            >>> from lightning_lr.policies import Linear
            >>> [each.lrs["lr"] for each in preview(Linear(), max_epochs=4, base_lr=0.1).every_step()]
            [0.1, 0.07500000000000001, 0.05, 0.025]
        """
        return [self._at(index) for index in range(self.timeline.length)]

    def table(self, rows: int = 20) -> list[PlannedStep]:
        """Return the moments worth reading: start, end of the warm-up, end of the run, and some between.

        Args:
            rows: About how many moments to choose, at least 2, evenly spread; they are starts of epochs if
                there are enough of them.

        Raises:
            TypeError: `rows` is not a whole number.
            ValueError: `rows` is below 2.

        Example:
            >>> from lightning_lr.policies import Cosine
            >>> plan = preview(Cosine(), max_steps=1000, interval="step", warmup=0.05)
            >>> [each.step for each in plan.table(rows=5)]
            [0, 50, 250, 500, 749, 999]
        """
        check_count("Preview.table(rows=...)", rows, minimum=2)
        starts = self.timeline.epoch_starts if self.timeline.in_steps else range(self.timeline.length)
        if starts and (self.plan.interval == "epoch" or len(starts) > rows / 2):
            chosen = {*starts[:: math.ceil(len(starts) / rows)], self.timeline.length - 1}
        else:
            chosen = self.timeline.spread(rows)
        return [self._at(index) for index in sorted(chosen | self._turn())]

    def figure(self, used: Mapping[str, Curve] | None = None) -> "Figure":
        """Draw the plan.

        Args:
            used: The LRs used so far, drawn on top: x values and LRs by the names of `base_lrs`.

        Returns:
            A matplotlib figure, made without pyplot.

        Example:
            >>> from lightning_lr.policies import Cosine
            >>> preview(Cosine(), max_epochs=30).figure().axes[0].get_xlabel()
            'epoch'
        """
        used, shown = used or {}, shortened(self.known_lrs, self._keys)
        return planned_figure(
            self.curves(),
            {label: used[name] for label, name in shown.items() if name in used},
            title=self.title,
            xlabel=self.unit if self.timeline.in_steps else "epoch",
            ylabel="learning rate" if self.known_lrs else f"factor of the LR found by {self.found_by}",
            warmup=self.plan.warmup_steps,
            epoch_starts=self.timeline.epoch_starts,
        )

    def save_png(self, path: str | Path) -> None:
        """Save the figure as PNG."""
        self.figure().savefig(path, format="png", dpi=150)

    def curves(self) -> dict[str, Curve]:
        """Return what the figure shows: the LRs of every group, or the factor, at up to 5,000 moments.

        Groups with the same base LR and policy share a curve.
        """
        indices = sorted(self.timeline.spread(_DRAWN_POINTS) | self._turn())
        steps = [self._at(index) for index in indices]
        labels = shortened(self.known_lrs, self._keys)
        curves = [_labeled(step.lrs, labels) if labels else _factors(step) for step in steps]
        return {label: (indices, [curve[label] for curve in curves]) for label in curves[0]}

    @property
    def title(self) -> str:
        """The plan in one line: `Cosine(end=0.01) per step, warm-up 50 of 1,000 steps`."""
        plan, length = self.plan, self.timeline.length
        text = self._schedule.text
        policy = text if len(text) <= 60 else self._schedule.short_text
        unit = self.unit.split()[-1] if self.timeline.in_steps else "epoch"
        run = f"{length:,} {unit}{'s' * (length != 1)}"
        warmup = f"warm-up {plan.ramp_steps:,} of {run}" if plan.ramp_steps else run
        return f"{policy} per {plan.interval}, {warmup}"

    @cached_property
    def _text(self) -> str:
        labels = shortened(self.known_lrs, self._keys)
        table = as_text(
            self.title,
            [(row.epoch, row.step, _factors(row) | _labeled(row.lrs, labels)) for row in self.table()],
            self.base_lrs,
            unit=self.unit.split()[-1],
            found_by=self.found_by,
        )
        return "\n\n".join([table, *(f"Note: {doubt}" for doubt in doubts(self._schedule, self.base_lrs))])

    @override
    def __str__(self) -> str:
        return self._text

    def _at(self, index: int) -> PlannedStep:
        step, epoch = self.timeline.moment(index)
        plans = self._schedule.plans()
        targets = {key: plan.target(step=step or 0, epoch=epoch or 0) for key, plan in plans.items()}
        lrs = {name: targets[self._keys[name]].lr(base) for name, base in self.known_lrs.items()}
        factors = {key: target.factor for key, target in targets.items() if key is not None}
        return PlannedStep(step, epoch, targets[None].factor, lrs, factors)

    def _turn(self) -> set[int]:
        """Return the moments that are always shown: the first one, and the end of the warm-up."""
        end = self.plan.ramp_steps
        return {0, end} if end < self.timeline.length else {0}


def _labeled(lrs: Mapping[str, float], labels: Mapping[str, str]) -> dict[str, float]:
    return {label: lrs[name] for label, name in labels.items()}


def _factors(step: PlannedStep) -> dict[str, float]:
    return {"factor": step.factor, **{f"factor of {key}": each for key, each in step.factors.items()}}


@runtime_checkable
class Configured(Protocol):
    """A callback like LRDecay."""

    @property
    def settings(self) -> Settings:
        """Its arguments."""


def _settings_of(policy: Policy | Configured, **given: Any) -> Settings:
    """Return the settings of LRDecay that are given, or those of an LRDecay."""
    if not isinstance(policy, Policy) and isinstance(policy, Configured):
        own = {each.name: each.default for each in fields(Settings)} | {"interval": "epoch", "warmup": 0}
        if both := [name for name, value in given.items() if value != own[name]]:
            name = type(policy).__name__
            raise TypeError(f"`preview` takes `{both[0]}` from the {name} that it is given: drop it here.")
        return policy.settings
    check_arguments("preview", {"policy": policy, **given})
    return Settings(policy=policy, **given)


def preview(
    policy: Policy | Configured,
    *,
    policies: Mapping[str, Policy] | None = None,
    max_epochs: int | None = None,
    max_steps: int | None = None,
    steps_per_epoch: int | None = None,
    interval: Interval = "epoch",
    warmup: int | float = 0,
    warmup_start: float = 0.0,
    warmup_shape: RampShape = "linear",
    min_lr: float = 0.0,
    base_lr: float | Mapping[str, float] = 1.0,
) -> Preview:
    """Show the LRs that `LRDecay(policy, interval=..., warmup=...)` will write, before training.

    In a notebook, `preview(LRDecay(Cosine(), interval="step", warmup=0.05), max_steps=1000)` is a figure, and
    `print` shows a table. The numbers are those of the fit, bit for bit. With the model and the data of a
    run, and so the actual number of steps, use `preview_of_fit(trainer, model)` of this module, or
    `python -m lightning_lr.preview` for a configuration.

    Args:
        policy: The decay, as for LRDecay; or an LRDecay, which the arguments below are then taken from.
        policies: The decay of groups by the names in `base_lr`, as for LRDecay.
        max_epochs: The length of the run in epochs, at least 1, as for the Trainer.
        max_steps: The length of the run in optimizer steps, at least 1; the bound that is reached first ends
            the run.
        steps_per_epoch: Optimizer steps per epoch, at least 1. Required if the plan counts steps and epochs:
            for `interval="step"` or a warm-up with `max_epochs`, and for `interval="epoch"` with `max_steps`.
        interval: The unit of the policy's time, as for LRDecay.
        warmup: Length of the ramp, a count of steps (int) or a share of the run (float), as for LRDecay.
        warmup_start: Factor of the first step of the ramp, in [0, 1].
        warmup_shape: The curve of the ramp, as for LRDecay.
        min_lr: The LR below which the policy does not go, in [0, inf).
        base_lr: The base LR in [0, inf), or the base LR of each parameter group by its name.

    Returns:
        The plan: print it, or call its `table()`, `figure()` or `save_png(...)`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of range, or the length of the run is missing.

    Example:
        >>> from lightning_lr.policies import Cosine
        >>> print(preview(Cosine(), max_epochs=4, base_lr=0.1))
        Cosine(end=0.0) per epoch, 4 epochs
        <BLANKLINE>
        epoch  factor       lr
            0       1      0.1
            1  0.8536  0.08536
            2     0.5     0.05
            3  0.1464  0.01464
    """
    settings = _settings_of(
        policy,
        policies=policies,
        interval=interval,
        warmup=warmup,
        warmup_start=warmup_start,
        warmup_shape=warmup_shape,
        min_lr=min_lr,
    )
    lengths = {"max_epochs": max_epochs, "max_steps": max_steps, "steps_per_epoch": steps_per_epoch}
    for name, value in lengths.items():
        if value is not None:
            check_count(f"preview({name}=...)", value, minimum=1)
    base_lrs = dict(base_lr) if isinstance(base_lr, Mapping) else {"lr": base_lr}
    for lr in base_lrs.values():
        check_number("preview(base_lr=...)", lr, "[0, inf)")
    batches = steps_per_epoch or math.inf
    length = horizon(
        max_epochs=max_epochs or -1,
        max_steps=max_steps or -1,
        batches_per_epoch=batches,
        accumulation={0: 1},
    )
    try:
        schedule = settings.schedule(length)
        timeline = lay_out(length, batches_per_epoch=batches, accumulation={0: 1})
        planned = Preview(schedule.plan, timeline, base_lrs, others=schedule.others)
    except ValueError as error:
        raise ValueError(f"{error} {_REMEDY}") from error
    unknown = [key for key in schedule.unmatched(base_lrs) if not is_pattern(key)]
    if unknown:
        raise ValueError(
            f"`preview(policies=...)` names {' and '.join(map(repr, unknown))}, and `base_lr` has no such"
            f" group. The groups are {', '.join(base_lrs)}."
        )
    return planned
