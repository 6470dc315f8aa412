"""The trials of a search over LRs, as plain serializable values."""

import csv
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from typing_extensions import override

from lightning_lr.checks import AtLeast, In, check_choice, check_fields
from lightning_lr.output.plain import plain
from lightning_lr.shown import figure_html

__all__ = ["Outcome", "Stage", "Trial", "Trials"]

# A difference counts if it exceeds this many of its standard errors.
_CLEAR = 3.0
# And a gain, if it is this share of the largest one: the lowest LRs always gain a little.
_NOTABLE = 0.1

Stage: TypeAlias = Literal["coarse", "fine", "final"]
Outcome: TypeAlias = Literal["finished", "lost", "diverged"]


@dataclass(frozen=True)
class Trial:
    """A short training with one peak LR, from the same start and over the same batches as every other.

    Args:
        lr: The peak LR, in (0, inf).
        loss: The score after it; infinite if it was cut short or diverged.
        steps: The optimizer steps that it made, at least 0.
        length: The optimizer steps that it was meant to make, at least 1; scores of equal length are
            comparable.
        stage: `coarse`, `fine` or `final`.
        outcome: `finished`, `lost` (cut short, far behind the best one) or `diverged` (no longer finite).
        noise: The standard error of its difference from the loss of the start, over the same batches.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of its range.

    Example:
        >>> Trial(lr=0.01, loss=0.25, steps=60, length=60, stage="fine")
        Trial(lr=0.01, loss=0.25, 60 of 60 steps, fine, finished)
        >>> Trial(lr=1.0, loss=math.inf, steps=7, length=60, stage="coarse", outcome="diverged")
        Trial(lr=1, loss=inf, 7 of 60 steps, coarse, diverged)
    """

    lr: Annotated[float, In("(0, inf)")]
    loss: float
    steps: Annotated[int, AtLeast(0)]
    length: Annotated[int, AtLeast(1)]
    stage: Stage
    outcome: Outcome = "finished"
    noise: Annotated[float, In("[0, inf]")] = 0.0

    def __post_init__(self) -> None:
        check_fields(self)
        check_choice("Trial(stage=...)", self.stage, ("coarse", "fine", "final"))
        check_choice("Trial(outcome=...)", self.outcome, ("finished", "lost", "diverged"))
        if math.isfinite(self.loss) != (self.outcome == "finished"):
            raise ValueError(
                f"`Trial(loss=...)` must be finite for a finished trial and infinite for others,"
                f" got {self.loss!r} for one that {self.outcome}."
            )

    @override
    def __repr__(self) -> str:
        made = f"{self.steps} of {self.length} steps, {self.stage}, {self.outcome}"
        return f"Trial(lr={self.lr:.3g}, loss={self.loss:.4g}, {made})"


@dataclass(frozen=True)
class Trials:
    """The trials of a search in order.

    Args:
        start_loss: The loss of the weights that every trial starts from.
        judged_by: What the loss of a trial is, in words.
        trials: The trials.

    Example:
        >>> trials = Trials(2.3, "validation loss", (Trial(0.1, 1.9, 25, 25, "coarse"),))
        >>> trials.steps, Trials.from_dict(trials.to_dict()) == trials
        (25, True)
    """

    start_loss: float
    judged_by: str
    trials: tuple[Trial, ...] = ()

    @override
    def __repr__(self) -> str:
        if not self.trials:
            return "Trials(0 trials)"
        lrs, best = [trial.lr for trial in self], min(self, key=lambda trial: trial.loss)
        span = f"LR {min(lrs):.3g} to {max(lrs):.3g}"
        led = f"loss {self.start_loss:.4g} -> {best.loss:.4g} at LR {best.lr:.3g}"
        return f"Trials({len(self)} trials, {self.steps} steps, {span}, {led})"

    def _repr_html_(self) -> str:
        from lightning_lr.finders.search.figure import search_figure  # noqa: PLC0415 (it reads trials)

        return figure_html(lambda: search_figure(self), repr(self))

    def __iter__(self) -> Iterator[Trial]:
        return iter(self.trials)

    def __len__(self) -> int:
        return len(self.trials)

    @property
    def steps(self) -> int:
        """The optimizer steps made in all trials."""
        return sum(trial.steps for trial in self.trials)

    @property
    def steps_saved(self) -> int:
        """The optimizer steps saved by cutting lost trials short."""
        return sum(trial.length - trial.steps for trial in self.trials if trial.outcome == "lost")

    def scale(self, loss: float) -> float:
        """Return what differences from the best loss are relative to: it or the drop to it, the smaller."""
        drop = max(self.start_loss - loss, math.ulp(0.0))
        return min(drop, loss) if loss > 0 else drop

    def has_gained(self, trial: Trial) -> bool:
        """Tell whether a trial has brought the loss clearly below that of the start."""
        return trial.loss < self.start_loss - _CLEAR * trial.noise

    def show_gain(self, made: Iterable[Trial]) -> bool:
        """Tell whether some of these trials have gained, so that the best of them is not the best of noise.

        The best one itself need not have: a high LR changes more, and by that the noise of what it changes.
        """
        gains = {trial: self.start_loss - trial.loss for trial in made if trial.outcome == "finished"}
        notable = _NOTABLE * max(gains.values(), default=0.0)
        return any(gain >= notable and self.has_gained(trial) for trial, gain in gains.items())

    def has_lost_ground(self, trial: Trial) -> bool:
        """Tell whether a trial has brought the loss clearly above that of the start, or did not finish."""
        return not trial.loss <= self.start_loss + _CLEAR * trial.noise

    def with_trial(self, trial: Trial) -> "Trials":
        """Return these trials and one more."""
        return Trials(self.start_loss, self.judged_by, (*self.trials, trial))

    def at_stage(self, *stages: Stage) -> tuple[Trial, ...]:
        """Return the trials of these stages."""
        return tuple(trial for trial in self.trials if trial.stage in stages)

    def to_dict(self) -> dict[str, Any]:
        """Return lists of plain numbers and strings, for checkpoints."""
        return {
            "start_loss": self.start_loss,
            "judged_by": self.judged_by,
            "trials": [asdict(trial) for trial in self.trials],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Trials":
        """Return the trials that `to_dict` gave."""
        # JSON has infinities as strings, and trials of version 0.1.0 no noise.
        trials = tuple(
            Trial(**{**trial, "loss": float(trial["loss"]), "noise": float(trial.get("noise", 0.0))})
            for trial in values["trials"]
        )
        return cls(float(values["start_loss"]), str(values["judged_by"]), trials)

    def to_csv(self, path: str | Path) -> None:
        """Write one line per trial under a header of the field names."""
        with Path(path).open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, [field.name for field in fields(Trial)])
            writer.writeheader()
            writer.writerows(asdict(trial) for trial in self.trials)

    def to_json(self, path: str | Path) -> None:
        """Write the trials as JSON; losses that are not finite become strings, which JSON has."""
        Path(path).write_text(json.dumps(plain(self.to_dict()), allow_nan=False), encoding="utf-8")

    @classmethod
    def from_json(cls, path: str | Path) -> "Trials":
        """Read the trials that `to_json` wrote."""
        return cls.from_dict(json.loads(Path(path).read_text(encoding="utf-8")))
