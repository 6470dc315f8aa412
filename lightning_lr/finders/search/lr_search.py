"""LRSearch: finds the base LR by short trainings that it takes back, coarse to fine on the log axis."""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from typing_extensions import override

from lightning_lr.checks import check_choice, check_count, check_number
from lightning_lr.dry_run.dry_run import DryRun
from lightning_lr.dry_run.validation import DryValidation
from lightning_lr.finders.bounds import PROBED_STEPS, check_bounds, find_bounds
from lightning_lr.finders.drift import drift_of
from lightning_lr.finders.finder import Finder
from lightning_lr.finders.progress import progress_bar
from lightning_lr.finders.report import Finding
from lightning_lr.finders.search.evidence import evidence_of, summarize
from lightning_lr.finders.search.figure import search_figure
from lightning_lr.finders.search.optimum import read_optimum
from lightning_lr.finders.search.refinement import Refinement
from lightning_lr.finders.search.shape import shape_of_run
from lightning_lr.finders.suggestion import Abstention, Decision
from lightning_lr.finders.trials.proposal import trial_factors
from lightning_lr.finders.trials.runner import START_STEPS, TrialRunner
from lightning_lr.finders.trials.trials import Trials
from lightning_lr.fit.lightnings import LightningModule, MisconfigurationException, Trainer
from lightning_lr.fit.neighbors import Charts
from lightning_lr.fit.run_length import run_length, steps_left
from lightning_lr.fit.saved_state import Read, optional
from lightning_lr.policies import check_span

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["LRSearch"]

# What the progress bar expects without a budget.
_USUAL_STEPS = 500
_USUAL_WARMUP = 0.1


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
        steps_per_trial: Optimizer steps of a trial, at least 1.
        final_steps: Optimizer steps of the last, longer trials, at least 1; fewer if the budget is small.
        budget: Optimizer steps of each search, at most: a count (int), or a share of the whole run (float).
            None for as many as it takes, about 500 with the defaults. With fewer than 170 steps, LRRangeTest
            finds better LRs.
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
        trials: The trials of the last search, with `to_csv` and `to_json`; None before the first.

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

    **No trace, groups and schedulers** are as for `LRRangeTest`. A resumed fit is not searched again.

    **Too little to see.** If no trial brings the loss below that of the start by more than noise, the LR
    stays what it was, and the decision says why.

    **BatchNorm** is judged with the statistics of each batch, as in training: after so few steps, the running
    ones have not caught up.

    | logged | meaning | when |
    |---|---|---|
    | text `search` | the LR chosen and why, and every trial | after a search |
    | figure `search` | loss over LR of the trials by stage, and in red the LR chosen | after a search |
    | `search/lr`, `search/loss`, `search/steps` | the trials, from the step of the fit on | after a search |

    Source:
        Common random numbers and early stopping of lost trials as in racing algorithms, Maron & Moore (1997).
    """

    name = "LRSearch"
    kind = "search"
    hparams_column = "lr_search"
    for_several = "One makes as many searches as you wish: `LRSearch(milestones=[0, 10])`."

    def __init__(
        self,
        low: float | None = None,
        high: float | None = None,
        *,
        steps_per_trial: int = 15,
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

    @override
    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"trials": self.trials.to_dict() if self.trials else None}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.trials = self._entries()["trials"](state_dict["trials"])

    @override
    def _entries(self) -> dict[str, Read]:
        return super()._entries() | {"trials": optional(Trials.from_dict)}

    def charts(self) -> Charts:
        """Return the charts of TensorBoard's Custom Scalars."""
        return {
            "Search": {
                "Loss of each trial": ["search/loss$"],
                "LR of each trial": ["search/lr$"],
            }
        }

    @override
    def check_fit(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().check_fit(trainer, pl_module)
        self._steps_of_budget(run_length(trainer, manual=not pl_module.automatic_optimization).steps)

    @property
    @override
    def planned_steps(self) -> int | float:
        return self.budget or _USUAL_STEPS

    @override
    def find(self, trainer: Trainer, pl_module: LightningModule) -> Finding:
        manual, is_later = not pl_module.automatic_optimization, trainer.global_step > 0
        left = steps_left(trainer, manual=manual)
        budget = self._steps_of_budget(run_length(trainer, manual=manual).steps)
        shape = shape_of_run(trainer, pl_module) if self.warmup is None else []
        drift = drift_of(trainer.optimizers, have_begun=is_later)
        warmup = _USUAL_WARMUP if self.warmup is None else self.warmup
        factors = partial(trial_factors, warmup=warmup, shape=shape)
        trials: Trials | None = None
        with (
            progress_bar(trainer, "LR search", budget) as bar,
            DryRun(trainer, pl_module, ahead=self._ahead) as dry,
        ):
            bounds = find_bounds(dry, self.low, self.high)
            found = self._prepared(dry, bounds, budget, left, is_later=is_later)
            if isinstance(found, str):
                decision: Decision = Abstention("LRSearch", found)
            else:
                refinement, validation, judged_by = found
                runner = TrialRunner(dry, validation, factors=factors, advance=bar.advance)
                trials = Trials(runner.start_loss(refinement.exploring_steps), judged_by)
                while (proposal := refinement.propose(trials)) is not None:
                    trials = trials.with_trial(runner.run(proposal))
                decision = read_optimum(trials, horizon=left, drift=drift)
        self.trials = trials
        evidence = None if trials is None else evidence_of(trials, decision)
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
        if self.trials is None or self.suggestion is None:
            raise RuntimeError("LRSearch has nothing to plot before `Trainer.fit` has run the search.")
        return search_figure(self.trials, self.suggestion)

    def _steps_of_budget(self, length: float) -> int | None:
        if not isinstance(self.budget, float):
            return self.budget
        if math.isinf(length):
            raise MisconfigurationException(
                f"`LRSearch(budget={self.budget})` is a share of the run, and this one has no end. Give the"
                " Trainer `max_steps` or `max_epochs`, or the budget as a count of steps."
            )
        return int(self.budget * length)

    def _judge(self, dry: DryRun) -> tuple[DryValidation | None, str]:
        """Return what judges the trials, and its name."""
        if self.score == "train":
            return None, "training loss"
        validation = dry.validation_or_reason(self.validation_batches)
        if isinstance(validation, DryValidation):
            return validation, "validation loss"
        if self.score == "auto":
            return None, f"training loss ({validation})"
        raise MisconfigurationException(
            f"`LRSearch(score='val')` has nothing to judge by. {validation} Or judge by the training loss"
            " with `score='train'`."
        ) from validation

    def _prepared(
        self,
        dry: DryRun,
        bounds: tuple[float, float] | str,
        budget: int | None,
        left: float,
        *,
        is_later: bool,
    ) -> tuple[Refinement, DryValidation | None, str] | str:
        """Return how to search, what judges the trials and its name, or why there is nothing to search."""
        if isinstance(bounds, str):
            return bounds
        validation, judged_by = self._judge(dry)
        try:
            refinement = self._refinement(bounds, budget, left, by_training=validation is None)
        except MisconfigurationException as error:
            if not is_later:
                raise
            # It ends no run that has trained for long.
            return str(error)
        return refinement, validation, judged_by

    def _refinement(
        self, bounds: tuple[float, float], budget: int | None, length: float, *, by_training: bool
    ) -> Refinement:
        refinement = Refinement(
            *bounds,
            # A trial longer than the run would stand for another run.
            steps_per_trial=int(min(self.steps_per_trial, length)),
            final_steps=int(min(self.final_steps, length)),
            can_extend=(self.low is None, self.high is None),
        )
        if budget is None:
            return refinement
        probed = PROBED_STEPS * (self.low is None or self.high is None)
        least = refinement.least_budget + probed + (refinement.shortest if by_training else START_STEPS)
        if budget < least:
            trials = len(refinement.coarse_lrs)
            of_run = f" ({budget} steps of the run)" if isinstance(self.budget, float) else ""
            raise MisconfigurationException(
                f"`LRSearch(budget={self.budget!r})`{of_run} is too small: {trials} coarse trials from LR"
                f" {bounds[0]:.2g} to {bounds[1]:.2g}, and what follows them, take at least {least} steps."
                f" Use `budget={least}`, or give it a narrower range by `low` and `high`, or use LRRangeTest,"
                " which takes 100 steps."
            )
        if not by_training:
            return replace(refinement, budget=budget - probed - START_STEPS)
        # The control is as long as a coarse trial.
        control = refinement.steps_within(budget - probed)
        return replace(refinement, steps_per_trial=control, budget=budget - probed - control)
