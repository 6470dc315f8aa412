"""Reports what happens to the LRs of LRDecay: the warm-up ends, a group joins, other code changes an LR."""

from collections.abc import Sequence
from dataclasses import replace

from lightning_lr.decay.doubts import doubts
from lightning_lr.decay.plan import Plan
from lightning_lr.decay.schedule import Schedule
from lightning_lr.fit.horizon import Horizon
from lightning_lr.fit.lightnings import BaseFinetuning, Trainer, rank_zero_warn
from lightning_lr.fit.neighbors import callbacks_of
from lightning_lr.fit.optimizers import groups_of
from lightning_lr.output.decisions import Entry, tell
from lightning_lr.rates import adopt_groups, base_lr, current_lr

__all__ = [
    "take_in_added",
    "tell_change",
    "tell_doubts",
    "tell_floor",
    "tell_new_plan",
    "tell_other_change",
    "tell_unmatched",
    "tell_warmup_end",
    "warn_of_new_horizon",
]

# A smaller difference is rounding.
_ROUNDING = 1e-6


def tell_warmup_end(trainer: Trainer, schedule: Schedule) -> None:
    """Tell that the warm-up has ended; all ranks call it."""
    effect = f"LR {current_lr(trainer):.4g}, from here on by {schedule.text}"
    summary = f"The warm-up of {schedule.plan.ramp_steps} steps is over."
    tell(trainer, Entry("LRDecay", "warm-up end", summary, effect), line="")


def tell_doubts(trainer: Trainer, schedule: Schedule, names: Sequence[str]) -> None:
    """Tell which settings can hardly have the effect that they were given for; all ranks call it."""
    if found := doubts(schedule, names):
        entry = Entry("LRDecay", "settings", " ".join(found), f"LR by {schedule.text} all the same")
        tell(trainer, entry, line=entry.summary)


def tell_unmatched(trainer: Trainer, unmatched: Sequence[str], names: Sequence[str]) -> None:
    """Tell, and warn, that policies had no parameter group in this fit; all ranks call it."""
    keys = " and ".join(map(repr, unmatched))
    summary = f"No parameter group has been called {keys}: `policies` has had no effect there."
    rank_zero_warn(f"LRDecay: {summary} The groups are {', '.join(names)}.")
    entry = Entry("LRDecay", "settings", summary, "LR by the policies of the other groups")
    tell(trainer, entry, line="")


def tell_floor(trainer: Trainer, min_lr: float) -> None:
    """Tell that no LR can fall below its base, if so; all ranks call it."""
    if min_lr and (base := base_lr(trainer)) <= min_lr:
        summary = (
            f"`min_lr={min_lr:.4g}` is not below the base LR {base:.4g}, so the policy lowers no LR. Give a"
            " smaller one."
        )
        tell(trainer, Entry("LRDecay", "settings", summary, f"LR stays {base:.4g} after a warm-up"))


def tell_new_plan(trainer: Trainer, old: str, new: str) -> None:
    """Tell, and warn, that a run is resumed under another plan; all ranks call it."""
    rank_zero_warn(
        f"LRDecay was {old} when the checkpoint was saved, and is {new} now. The run goes on by the new one"
        " as if it had begun so. If that is not what you want, give LRDecay the arguments it had."
    )
    summary = f"The resumed run has another plan: {new} instead of {old}."
    tell(trainer, Entry("LRDecay", "new plan", summary, "LR by the new plan from here on"), line="")


def tell_change(trainer: Trainer, step: int, *, expected: float, found: float) -> None:
    """Tell, and warn, that other code changed an LR; all ranks call it."""
    rank_zero_warn(
        f"Other code changed a learning rate that LRDecay controls, from {expected:.6g} to"
        f" {found:.6g} before step {step}. The change is kept as a change of the base LR, and"
        " LRDecay goes on multiplying it. If that is not what you want, remove one of the two."
    )
    summary = "Other code changed a learning rate. It is kept as a change of the base LR."
    evidence = {"expected": expected, "found": found}
    entry = Entry("LRDecay", "LR changed", summary, f"LR {expected:.4g} -> {found:.4g}", evidence)
    tell(trainer, entry, line="")


def tell_other_change(trainer: Trainer, name: str, step: int, *, expected: float, found: float) -> None:
    """Tell, and warn, that other code changed a momentum or a weight decay; all ranks call it."""
    kept = (
        "LRDecay sets it to its own value again."
        if name == "momentum"
        else "The change is kept as a change of the group's own weight decay, which LRDecay multiplies."
    )
    rank_zero_warn(
        f"Other code changed a {name} that LRDecay controls, from {expected:.6g} to {found:.6g} before step"
        f" {step}. {kept} If that is not what you want, remove one of the two."
    )
    summary = f"Other code changed a {name}. {kept}"
    evidence = {"expected": expected, "found": found}
    effect = f"{name} {expected:.4g} -> {found:.4g}"
    tell(trainer, Entry("LRDecay", f"{name} changed", summary, effect, evidence), line="")


def warn_of_new_horizon(plan: Plan, old: Horizon, *, step: int, epoch: int) -> None:
    """Warn if a resumed run has another length than `old`, and say what that does to the current LR."""
    new = plan.horizon
    if old == new:
        return
    after = plan.factor(step=step, epoch=epoch)
    try:
        before = f" instead of {replace(plan, horizon=old).factor(step=step, epoch=epoch):.4g}"
    except ValueError:
        before = ""  # The policy or the warm-up has changed too, and the old run lacks the end it needs.
    rank_zero_warn(
        f"The resumed run is to be {new.epochs:g} epochs ({new.steps:g} steps) long; when the checkpoint"
        f" was saved it was to be {old.epochs:g} epochs ({old.steps:g} steps). LRDecay continues on the"
        f" plan of the new length: here its factor of the base LR is {after:.4g}{before}."
    )


def take_in_added(trainer: Trainer, factors: Sequence[float]) -> None:
    """Give groups without a base LR one at their current factor, and tell it; all ranks call it.

    `factors` has one for each group of all optimizers in order.

    A finetuning callback of Lightning derives the `lr` of a thawed group from the current LR of another one,
    or means it for the coming epoch, so the base is `lr / factor`. Any other `lr` is the base itself, as for
    the groups that an optimizer was created with.
    """
    thawed = next((type(each).__name__ for each in callbacks_of(trainer, BaseFinetuning)), None)
    groups = groups_of(trainer.optimizers)
    new = [factor for group, factor in zip(groups, factors, strict=True) if "initial_lr" not in group]
    adopted = adopt_groups(trainer.optimizers, factor=factors, as_base=thawed is None)
    for factor, (lr, base) in zip(new, adopted, strict=True):
        _tell_added(trainer, thawed, lr=lr, base=base, factor=factor)


def _tell_added(trainer: Trainer, thawed: str | None, *, lr: float, base: float, factor: float) -> None:
    meaning = f"as {thawed} means it for now" if thawed else "the `lr` that it was given"
    summary = f"A parameter group was added; its base LR is {base:.6g}, {meaning}."
    effect = f"LR {base * factor:.4g} from here on"
    evidence = {"lr": lr, "base": base, "factor": factor}
    is_clear = abs(factor - 1) < _ROUNDING  # Both readings are the same.
    tell(trainer, Entry("LRDecay", "group added", summary, effect, evidence), line=None if is_clear else "")
    if is_clear:
        return
    rank_zero_warn(
        f"LRDecay: a parameter group with lr {lr:.6g} was added while the LR is {factor:.6g} times the base"
        f" LR. Its base LR is taken to be {base:.6g} ({meaning}), so it is trained with {base * factor:.6g}"
        " now. If you mean another base, give the group that as `initial_lr`."
    )
