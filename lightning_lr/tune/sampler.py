"""Samplers for Optuna: from coarse to fine, and any other one with given LRs first."""

import math
from collections.abc import Sequence
from typing import Any

from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState
from typing_extensions import override

from lightning_lr.tune.coarse_to_fine import Tried, next_lr

__all__ = ["CoarseToFine", "FirstThen"]


class _Wrapper(BaseSampler):
    """Samples one parameter by a rule of its own, and everything else by another sampler."""

    def __init__(self, param: str, inner: BaseSampler) -> None:
        self.param = param
        self.inner = inner

    def place(self, study: Study, trial: FrozenTrial, distribution: FloatDistribution) -> float | None:
        """Return the value of the parameter, or None to leave it to the other sampler."""
        raise NotImplementedError

    @override
    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self.inner.infer_relative_search_space(study, trial)

    @override
    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        found = self.inner.sample_relative(study, trial, search_space)
        distribution = search_space.get(self.param)
        if self.param in found and isinstance(distribution, FloatDistribution):
            placed = self.place(study, trial, distribution)
            found = found if placed is None else found | {self.param: placed}
        return found

    @override
    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        if param_name == self.param:
            if not isinstance(param_distribution, FloatDistribution) or not param_distribution.log:
                raise ValueError(
                    f"{type(self).__name__} needs a range on the log axis: write"
                    f" `trial.suggest_float({self.param!r}, low, high, log=True)`."
                )
            placed = self.place(study, trial, param_distribution)
            if placed is not None:
                return placed
        return self.inner.sample_independent(study, trial, param_name, param_distribution)

    @override
    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self.inner.before_trial(study, trial)

    @override
    def after_trial(
        self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        self.inner.after_trial(study, trial, state, values)

    @override
    def reseed_rng(self) -> None:
        self.inner.reseed_rng()


class CoarseToFine(_Wrapper):
    """Sample an LR from coarse to fine on the log axis; usable in any Optuna study.

    The LRs of `first` are tried first, then LRs 16x apart over the range, then 4x, 2x and closer around the
    best one. What trials of other workers are at is skipped. An LR above one that diverged is not tried; a
    trial has diverged if its value is infinite. The same trials lead to the same LR, so the trial of a worker
    that died is made again.

    Args:
        param: The name of the LR among the parameters, which must be a float on the log axis.
        first: LRs to begin with, for example the one that LRRangeTest found.
        inner: Samples all other parameters; None for a `RandomSampler`.

    Example:
        >>> import optuna
        >>> optuna.logging.set_verbosity(optuna.logging.ERROR)
        >>> study = optuna.create_study(sampler=CoarseToFine("lr"))
        >>> study.optimize(
        ...     lambda trial: abs(trial.suggest_float("lr", 1e-4, 1.0, log=True) - 0.02), n_trials=6
        ... )
        >>> [round(trial.params["lr"], 6) for trial in study.trials]
        [0.01, 0.000625, 0.16, 0.0025, 0.04, 0.005]
    """

    def __init__(
        self, param: str = "lr", *, first: Sequence[float] = (), inner: BaseSampler | None = None
    ) -> None:
        super().__init__(param, RandomSampler() if inner is None else inner)
        self.first = tuple(first)

    @override
    def place(self, study: Study, trial: FrozenTrial, distribution: FloatDistribution) -> float:
        low, high = distribution.low, distribution.high
        known, unplaced = _tried(study, self.param, before=trial.number)
        for _ in range(unplaced):
            # They were asked for before this one, by workers that are just about to write their LR down.
            known.append(Tried(next_lr(known, low=low, high=high, first=self.first)))
        return next_lr(known, low=low, high=high, first=self.first)


class FirstThen(_Wrapper):
    """Sample given LRs first, each once, and then what another sampler proposes.

    Not by `Study.enqueue_trial`: on SQLite two workers may take the same trial out of the queue.

    Args:
        param: The name of the LR among the parameters.
        first: The LRs.
        inner: The other sampler.
    """

    def __init__(self, param: str, first: Sequence[float], inner: BaseSampler) -> None:
        super().__init__(param, inner)
        self.first = tuple(first)

    @override
    def place(self, study: Study, trial: FrozenTrial, distribution: FloatDistribution) -> float | None:
        known, unplaced = _tried(study, self.param, before=trial.number)
        left = [
            lr
            for lr in self.first
            if distribution.low <= lr <= distribution.high
            and not any(math.isclose(lr, run.lr, rel_tol=1e-6) for run in known)
        ]
        return left[unplaced] if unplaced < len(left) else None


def _tried(study: Study, param: str, *, before: int) -> tuple[list[Tried], int]:
    """Return the runs of other trials, and how many of the earlier ones have no LR yet."""
    sign = -1 if study.direction == StudyDirection.MAXIMIZE else 1
    runs, unplaced = list[Tried](), 0
    for trial in study.get_trials(deepcopy=False):
        if trial.number == before or trial.state == TrialState.FAIL:
            continue
        if param not in trial.params:
            unplaced += trial.state == TrialState.RUNNING and trial.number < before
            continue
        is_cut = trial.state == TrialState.PRUNED
        value = trial.value if trial.state == TrialState.COMPLETE or is_cut else None
        runs.append(Tried(trial.params[param], None if value is None else sign * value, is_cut))
    return runs, unplaced
