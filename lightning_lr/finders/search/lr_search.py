"""LRSearch: finds the base LR by short trainings that it takes back, coarse to fine on the log axis."""

import math
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from typing_extensions import override

from lightning_lr.checkpoints.saved_state import Read, optional
from lightning_lr.checks import check_choice, check_count, check_number
from lightning_lr.dry_run.dry_run import DryRun
from lightning_lr.finders.bounds import PROBED_STEPS, check_bounds, find_bounds
from lightning_lr.finders.doubts import fit_warms_up
from lightning_lr.finders.drift import drift_of, fitted_to_run
from lightning_lr.finders.finder import Finder
from lightning_lr.finders.progress import progress_bar
from lightning_lr.finders.range_test.curve import LossCurve
from lightning_lr.finders.range_test.evidence import evidence_of as evidence_of_ramp
from lightning_lr.finders.range_test.figure import range_test_figure
from lightning_lr.finders.report import Finding
from lightning_lr.finders.search.by_ramp import LEAST_FOR_RAMP, LEAST_FOR_TRIALS, find_by_ramp
from lightning_lr.finders.search.by_trials import Judge, judge_of, make_trials
from lightning_lr.finders.search.evidence import evidence_of, summarize
from lightning_lr.finders.search.figure import search_figure
from lightning_lr.finders.search.optimum import read_optimum
from lightning_lr.finders.search.refinement import Refinement
from lightning_lr.finders.suggestion import Abstention, Decision
from lightning_lr.finders.trials.proposal import USUAL_WARMUP, trial_factors
from lightning_lr.finders.trials.runner import START_STEPS
from lightning_lr.finders.trials.shape import shape_of_run
from lightning_lr.finders.trials.trials import Trials
from lightning_lr.fit.lightnings import LightningModule, MisconfigurationException, Trainer
from lightning_lr.fit.neighbors import Charts
from lightning_lr.fit.run_length import run_length, steps_left
from lightning_lr.policies import check_span

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["LRSearch"]

# What the progress bar expects without a budget.
_USUAL_STEPS = 500
_USUAL_TRIAL = 15


class LRSearch(Finder):
    """Find the base LR at startup with short trial runs that leave no trace, and train with it.

    Before the first batch, the model is trained for a few steps with each of several LRs, always from the
    same start and over the same batches, and judged by validation batches. It takes more steps than
    `LRRangeTest` and finds better LRs.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> from lightning_lr import LRSearch
        >>> trainer = Trainer(callbacks=[LRSearch(budget=300)])

        In YAML, in the list `trainer.callbacks`:

        ```yaml
        - class_path: lightning_lr.LRSearch
          init_args: {budget: 300}
        ```

    Args:
        low: Lowest LR to try, in (0, inf); None for the model's own scale.
        high: Highest LR to try, above `low`; None for the model's own scale.
        steps_per_trial: Optimizer steps of a trial, at least 1; None for 15, and for a ramp where the budget
            is small.
        final_steps: Optimizer steps of the last, longer trials, at least 1; fewer if the budget is small.
        budget: Optimizer steps of each search, at most: a count (int), or a share of the whole run (float).
            None for as many as it takes, about 500 with the defaults. At least 50, unless
            trials are asked for in a narrow range.
        score: What judges a trial: `val`, the loss on validation batches; `train`, the mean training loss of
            its last steps; `auto`, the first if there is a validation.
        warmup: Share of each trial in which the LR ramps up before it decays linearly, in [0, 1); None for
            the shape of this run if its LR stays high to the end, and for a tenth otherwise.
        validation_batches: How many batches of each validation loader to judge by, at most.
        milestones: When to search: at the start of epochs (int), and when shares of the run (float in [0, 1))
            are over; 0 is the start of the fit. Later trials go on from the weights of then, and what they
            find is the highest LR of the rest. A second search at 0.3 made all of ten long runs with a
            constant LR better, all steps counted (0.77 times the loss), but most of those that decay linearly
            2 % worse; it saves a run whose first LR is far off.
        apply: Whether to train with the LR found.
        attr: The name of a number of the module that is kept in step with the LR found, as for LRRangeTest.
        stop_after: Whether to end the fit after the search.

    Attributes:
        suggestion: What the last search decided, a `Suggestion` or an `Abstention`; None before the first.
        lrs: The LR of each parameter group after the last search, by its name in LRLogger; with
            `apply=False`, what it would be.
        trials: The trials of the last search, with `to_csv` and `to_json`; None before the first, and where
            a ramp was made instead.
        curve: The losses of that ramp, with `to_csv` and `to_json`; otherwise None.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of its range.
        MisconfigurationException: At fit start: a scheduler would not follow. At the search: its steps could
            not be taken back, there is no validation to judge by, or the budget is too small.

    **Coarse to fine.** The trials are 16x apart over the range, then 4x and 2x apart around the best LR, then
    longer around it. Each has the shape of a run: a ramp up, then a linear decay; or that of this run, if its
    LR stays high to the end, for which the best LR is lower. One that falls far behind is cut short. At last,
    the LR is corrected from the length of the trials to that of the rest of the run, for the optimizer at
    hand.

    **A small budget.** Trials of fewer than 170 steps in all say less than a ramp, so that is what is made of
    them, as by LRRangeTest but within the budget; where the run has no warm-up, the LR is tried without one.
    With `high`, `steps_per_trial` or `score="val"`, trials are made all the same.

    **No trace, groups and schedulers** are as for `LRRangeTest`. A resumed fit is not searched again.

    **Too little to see.** If no trial brings the loss below that of the start by more than noise, the LR
    stays what it was, and the decision says why.

    **BatchNorm** is judged with the statistics of each batch, as in training: after so few steps, the running
    ones have not caught up.

    | logged | meaning | when |
    |---|---|---|
    | text `search` | the LR chosen and why, and every trial | after a search |
    | figure `search` | loss over LR, of the trials or the ramp, and in red the LR chosen | after a search |
    | `search/lr`, `search/loss` | the trials, or the ramp, from the step of the fit on | after a search |
    | `search/steps` | the steps of each trial | after a search |

    Source:
        Common random numbers and early stopping of lost trials as in racing algorithms, Maron & Moore (1997).
    """

    name = "LRSearch"
    kind = "search"
    hparams_column = "lr_search"
    for_several = "One makes as many searches as you wish: `LRSearch(milestones=[0, 10])`."
    _newer: ClassVar[dict[str, Any]] = {"lrs": {}, "peak": None, "curve": None}

    def __init__(
        self,
        low: float | None = None,
        high: float | None = None,
        *,
        steps_per_trial: int | None = None,
        final_steps: int = 150,
        budget: int | float | None = None,
        score: Literal["auto", "val", "train"] = "auto",
        warmup: float | None = None,
        validation_batches: int = 16,
        milestones: Sequence[int | float] = (0,),
        apply: bool = True,
        attr: str | None = None,
        stop_after: bool = False,
    ) -> None:
        super().__init__(milestones=milestones, apply=apply, attr=attr, stop_after=stop_after)
        check_bounds("LRSearch", low=low, high=high)
        if steps_per_trial is not None:
            check_count("LRSearch(steps_per_trial=...)", steps_per_trial, minimum=1)
        check_count("LRSearch(final_steps=...)", final_steps, minimum=1)
        if budget is not None:
            check_span("LRSearch(budget=...)", budget, positive=True)
        check_choice("LRSearch(score=...)", score, ("auto", "val", "train"))
        if warmup is not None:
            check_number("LRSearch(warmup=...)", warmup, "[0, 1)")
        check_count("LRSearch(validation_batches=...)", validation_batches, minimum=1)
        self.low = low
        self.high = high
        self.steps_per_trial = steps_per_trial
        self.final_steps = final_steps
        self.budget = budget
        self.score: Literal["auto", "val", "train"] = score
        self.warmup = warmup
        self.validation_batches = validation_batches
        self.trials: Trials | None = None
        self.curve: LossCurve | None = None

    @override
    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {
            "trials": self.trials.to_dict() if self.trials else None,
            "curve": self.curve.to_dict() if self.curve else None,
        }

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.trials = self._entries()["trials"](state_dict["trials"])
        self.curve = self._entries()["curve"](state_dict.get("curve"))

    @override
    def _entries(self) -> dict[str, Read]:
        return super()._entries() | {
            "trials": optional(Trials.from_dict),
            "curve": optional(LossCurve.from_dict),
        }

    def charts(self) -> Charts:
        """Return the charts of TensorBoard's Custom Scalars."""
        return {
            "Search": {
                "Loss of each trial, or step of a ramp": ["search/loss$"],
                "LR of each trial, or step of a ramp": ["search/lr$"],
            }
        }

    @override
    def check_fit(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().check_fit(trainer, pl_module)
        budget = self._steps_of_budget(trainer, pl_module)
        if budget is not None and budget < LEAST_FOR_RAMP and self._makes_ramp(budget):
            raise MisconfigurationException(
                f"{self._told_budget(budget)} is too small: a ramp takes at least {LEAST_FOR_RAMP} steps, and"
                f" trials {LEAST_FOR_TRIALS}. Use `budget={LEAST_FOR_RAMP}` or more."
            )

    @override
    def planned_steps(self, trainer: Trainer, pl_module: LightningModule) -> int | float:
        return self.budget or _USUAL_STEPS

    @override
    def find(self, trainer: Trainer, pl_module: LightningModule) -> Finding:
        budget = self._steps_of_budget(trainer, pl_module)
        left = steps_left(trainer, manual=not pl_module.automatic_optimization)
        have_begun = trainer.global_step > 0
        makes_ramp = budget is not None and self._makes_ramp(budget)
        shape = shape_of_run(trainer, pl_module) if self.warmup is None and not makes_ramp else []
        warms_up = makes_ramp and fit_warms_up(trainer, pl_module)
        trials, curve, evidence = None, None, None
        with (
            progress_bar(trainer, "LR search", budget) as bar,
            DryRun(trainer, pl_module, ahead=self._ahead) as dry,
        ):
            bounds = find_bounds(dry, self.low, self.high)
            if isinstance(bounds, str):
                decision: Decision = Abstention(self.name, bounds)
            elif budget is not None and makes_ramp:
                decision, curve = find_by_ramp(
                    dry,
                    bounds,
                    budget - self._probed,
                    bar=bar,
                    fitted=partial(
                        fitted_to_run, optimizers=trainer.optimizers, length=left, have_begun=have_begun
                    ),
                    warms_up=warms_up,
                    left=left,
                    validation_batches=None if self.score == "train" else self.validation_batches,
                )
                evidence = evidence_of_ramp(curve, decision, tag="search")
            elif isinstance(plan := self._plan(dry, bounds, budget, left, have_begun=have_begun), str):
                decision = Abstention(self.name, plan)
            else:
                warmup = USUAL_WARMUP if self.warmup is None else self.warmup
                factors = partial(trial_factors, warmup=warmup, shape=shape)
                trials = make_trials(dry, *plan, factors=factors, advance=bar.advance)
                drift = drift_of(trainer.optimizers, have_begun=have_begun)
                decision = read_optimum(trials, horizon=left, drift=drift)
                evidence = evidence_of(trials, decision)
        if dry.problem:
            decision = Abstention(self.name, dry.problem)
        self.trials, self.curve = trials, curve
        summary = summarize(trials, decision)
        if shape and trials is not None:
            summary += " The trials kept their LR, as the run does."
        return Finding(decision, dry.reference_lr, summary, evidence).after(dry)

    @override
    def plot(self) -> "Figure":
        """Draw the trials of the last search and the LR that was chosen.

        Raises:
            RuntimeError: There has been no search.
        """
        if self.suggestion is not None and self.curve is not None:
            return range_test_figure(self.curve, self.suggestion)
        if self.suggestion is not None and self.trials is not None:
            return search_figure(self.trials, self.suggestion)
        raise RuntimeError("LRSearch has nothing to plot before `Trainer.fit` has run the search.")

    @property
    def _probed(self) -> int:
        return PROBED_STEPS * (self.low is None or self.high is None)

    def _steps_of_budget(self, trainer: Trainer, pl_module: LightningModule) -> int | None:
        if not isinstance(self.budget, float):
            return self.budget
        length = run_length(trainer, manual=not pl_module.automatic_optimization).steps
        if math.isinf(length):
            raise MisconfigurationException(
                f"`LRSearch(budget={self.budget})` is a share of the run, and this one has no end. Give the"
                " Trainer `max_steps` or `max_epochs`, or the budget as a count of steps."
            )
        return int(self.budget * length)

    def _told_budget(self, budget: int) -> str:
        of_run = f" ({budget} steps of the run)" if isinstance(self.budget, float) else ""
        return f"`LRSearch(budget={self.budget!r})`{of_run}"

    def _makes_ramp(self, budget: int) -> bool:
        """Tell whether a ramp makes more of a budget, and nothing that trials alone obey is asked for."""
        asked = self.high is not None or self.steps_per_trial is not None or self.score == "val"
        return budget < LEAST_FOR_TRIALS and not asked

    def _plan(
        self, dry: DryRun, bounds: tuple[float, float], budget: int | None, length: float, *, have_begun: bool
    ) -> tuple[Refinement, Judge] | str:
        """Return how to search by trials and what judges them, or why the budget does not suffice."""
        judge = judge_of(dry, self.score, self.validation_batches)
        refinement = Refinement(
            *bounds,
            # A trial longer than the run would stand for another run.
            steps_per_trial=int(min(self.steps_per_trial or _USUAL_TRIAL, length)),
            final_steps=int(min(self.final_steps, length)),
            can_extend=(self.low is None, self.high is None),
        )
        if budget is None:
            return refinement, judge
        control = None if judge.validation is None else START_STEPS
        least = refinement.least_budget + (control or refinement.shortest) + self._probed
        if budget >= least:
            return refinement.within(budget - self._probed, control), judge
        too_small = (
            f"{self._told_budget(budget)} is too small: {len(refinement.coarse_lrs)} coarse trials from LR"
            f" {bounds[0]:.2g} to {bounds[1]:.2g}, and what follows them, take at least {least} steps. Use"
            f" `budget={least}`, or give it a narrower range by `low` and `high`, or use LRRangeTest."
        )
        if not have_begun:
            raise MisconfigurationException(too_small)
        # It ends no run that has trained for long.
        return too_small
