"""What is better than trials where the budget is small: one ramp, as LRRangeTest makes it."""

from collections.abc import Callable

from lightning_lr.dry_run.dry_run import DryRun
from lightning_lr.finders.progress import Bar
from lightning_lr.finders.range_test.curve import LossCurve
from lightning_lr.finders.range_test.dry_ramp import ramp_up
from lightning_lr.finders.range_test.ramp import Ramp, ramp, read_ramp
from lightning_lr.finders.range_test.rules import Basin
from lightning_lr.finders.suggestion import Abstention, Decision, Suggestion
from lightning_lr.finders.trials.cold_start import COLD_TRIALS, fitted_to_cold_start
from lightning_lr.finders.trials.short_trainings import ShortTrainings

__all__ = ["LEAST_FOR_RAMP", "LEAST_FOR_TRIALS", "STRIDE", "find_by_ramp", "steps_of_ramp"]

# Below that, trials are so few and so short that a ramp tells more: see `tests/benchmarks/README.md`.
LEAST_FOR_TRIALS = 170
LEAST_FOR_RAMP = 50
# The share of a ramp over the model's own range; the rest is for going on beyond it, in larger steps.
_WITHIN_RANGE, STRIDE = 0.8, 2
# The share that is left for each trial without a warm-up, where the run has none.
_COLD_SHARE = 0.12


def find_by_ramp(
    dry: DryRun,
    bounds: tuple[float, float],
    budget: int,
    *,
    bar: Bar,
    fitted: Callable[[Suggestion], Suggestion],
    warms_up: bool,
    left: float,
    validation_batches: int | None,
) -> tuple[Decision, LossCurve]:
    """Return what a ramp within a budget shows, and its curve.

    Args:
        dry: Where it is made.
        bounds: Between which LRs; it goes on above them while the loss falls and there are steps left.
        budget: Optimizer steps at most.
        bar: Moves with every step.
        fitted: Adapts an LR to the length of the run.
        warms_up: Whether the run does. Otherwise the LR is tried without a warm-up, as by LRRangeTest, with
            what is left of the budget.
        left: Steps of the run; such a trial is no longer.
        validation_batches: By how many batches that is judged; None for the training loss.
    """
    num_steps, most = steps_of_ramp(budget, warms_up=warms_up)
    lrs = Ramp(ramp(*bounds, num_steps), extend=True, stride=STRIDE)
    curve = ramp_up(dry, lrs, bar=bar, phase="LR search, by a ramp", most=most)
    decision = read_ramp(lrs, Basin())
    if isinstance(decision, Abstention):
        # Without its advice, which names arguments of another callback.
        made = f"in a ramp of {len(curve.losses)} steps"
        told = f"{decision.seen}, {made}: use `budget={LEAST_FOR_TRIALS}` or more."
        return Abstention(decision.rule, told), curve
    decision = fitted(decision)
    if not warms_up:
        length = int(min((budget - len(curve.losses) - 1) // COLD_TRIALS, left))
        trainings = ShortTrainings(
            dry, length, warmup=0.0, validation_batches=validation_batches, advance=bar.advance
        )
        decision = fitted_to_cold_start(decision, trainings.loss_after)
    return decision, curve


def steps_of_ramp(budget: int, *, warms_up: bool) -> tuple[int, int]:
    """Return the steps of a ramp over the model's own range, and how many it may take with those beyond it.

    Example:
        >>> steps_of_ramp(100, warms_up=True), steps_of_ramp(100, warms_up=False)
        ((80, 100), (51, 64))
    """
    most = budget if warms_up else budget - COLD_TRIALS * int(_COLD_SHARE * budget)
    return int(_WITHIN_RANGE * most), most
