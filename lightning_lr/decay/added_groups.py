"""Which base LR a parameter group has that joins the run: its `lr` can be meant as a base or for now."""

from collections.abc import Iterable

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import BaseFinetuning
from lightning.pytorch.utilities import rank_zero_warn
from torch.optim import Optimizer

from lightning_lr.output.decisions import Entry, tell
from lightning_lr.rates import adopt_groups

__all__ = ["group_count", "take_in_added"]

_NOTHING = 1e-6


def group_count(optimizers: Iterable[Optimizer]) -> int:
    """Return how many parameter groups there are now."""
    return sum(len(optimizer.param_groups) for optimizer in optimizers)


def take_in_added(trainer: Trainer, factor: float) -> None:
    """Give every group that has no base LR yet one, and tell which; to be called on every rank.

    What a finetuning callback of Lightning thaws gets an `lr` that follows from the current LR of another
    group, or that is meant for the coming epoch: its base is `lr / factor`. Any other `lr` is a base, as that
    of the groups that an optimizer was made with.

    Args:
        trainer: The Trainer of the running fit.
        factor: What the LRs of the groups that were there are their base LRs times of.
    """
    callbacks = trainer.callbacks  # type: ignore[attr-defined]
    thawed = next((type(each).__name__ for each in callbacks if isinstance(each, BaseFinetuning)), None)
    for lr, base in adopt_groups(trainer.optimizers, factor=factor, as_base=thawed is None):
        _tell(trainer, thawed, lr=lr, base=base, factor=factor)


def _tell(trainer: Trainer, thawed: str | None, *, lr: float, base: float, factor: float) -> None:
    meaning = f"as {thawed} means it for now" if thawed else "the `lr` that it was given"
    summary = f"A parameter group was added; its base LR is {base:.6g}, {meaning}."
    effect = f"LR {base * factor:.4g} from here on"
    evidence = {"lr": lr, "base": base, "factor": factor}
    tell(trainer, Entry("LRDecay", "group added", summary, effect, evidence))
    if abs(factor - 1) < _NOTHING:
        return  # Both readings are the same.
    rank_zero_warn(
        f"LRDecay: a parameter group with lr {lr:.6g} was added while the LR is {factor:.6g} times the base"
        f" LR. Its base LR is taken to be {base:.6g} ({meaning}), so it is trained with {base * factor:.6g}"
        " now. If you mean another base, give the group that as `initial_lr`."
    )
