"""Tries to leave a plateau by larger steps, and takes that back where it did not help."""

from collections.abc import Iterable, Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from torch.optim import Optimizer
from typing_extensions import override

from lightning_lr.checks import check_choice, check_count, check_number
from lightning_lr.fit.saved_state import (
    Read,
    count,
    each_of,
    flag,
    mapping,
    number,
    optional,
    read_entries,
)
from lightning_lr.plateau.actions.base import Action, Effect, Situation
from lightning_lr.plateau.actions.reduce import change_lr
from lightning_lr.plateau.actions.restore import check_weights_can_be_kept
from lightning_lr.plateau.detectors.base import Mode
from lightning_lr.plateau.weights import copy_weights, put_back
from lightning_lr.rates import base_lr

__all__ = ["Escape"]


@dataclass(frozen=True)
class Escape(Action):
    """Raise the LR or the momentum for a while, and go back if that does not pay.

    After `duration` validations the raise is over. As soon as a validation is better than the best one before
    the escape, what was reached is kept. Where none is until `patience` validations have passed, weights and
    optimizer states go back to those from before the escape. Until then they are kept on the CPU and in the
    checkpoints. The evidence that this helps is weak, which is why it is never done by default.

    Args:
        factor: How much to raise, in (1, inf): the LR times this, or a momentum that averages over this many
            times as many steps, m -> 1 - (1 - m) / factor.
        quantity: What to raise, `lr` or `momentum`, which is beta1 in Adam.
        duration: For how many validations, at least 1.
        patience: After how many validations to give up, at least `duration`.
        attempts: How often to try in one fit, at least 1.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: One is out of range.
        MisconfigurationException: At fit start: no optimizer has momentum, or a scheduler cycles it; weights
            that are sharded over ranks.

    Example:
        >>> Escape(3.0, duration=2, patience=8)
        Escape(factor=3.0, quantity='lr', duration=2, patience=8, attempts=1)
    """

    factor: float = 3.0
    _: KW_ONLY
    quantity: Literal["lr", "momentum"] = "lr"
    duration: int = 2
    patience: int = 10
    attempts: int = 1

    def __post_init__(self) -> None:
        check_number("Escape(factor=...)", self.factor, "(1, inf)")
        check_choice("Escape(quantity=...)", self.quantity, ("lr", "momentum"))
        check_count("Escape(duration=...)", self.duration, minimum=1)
        check_count("Escape(patience=...)", self.patience, minimum=self.duration)
        check_count("Escape(attempts=...)", self.attempts, minimum=1)

    @override
    def check(self, trainer: Trainer, *, monitor: str, mode: Mode) -> None:
        check_weights_can_be_kept(trainer, self)
        if self.quantity == "lr":
            return
        if any(getattr(config.scheduler, "cycle_momentum", False) for config in trainer.lr_scheduler_configs):
            raise MisconfigurationException(
                "`Escape(quantity='momentum')` and a scheduler with `cycle_momentum=True` both write the"
                " momentum. Use `quantity='lr'`, or `cycle_momentum=False`."
            )
        if not any(momenta(trainer.optimizers)):
            raise MisconfigurationException(
                "`Escape(quantity='momentum')` finds no optimizer with momentum. Use `quantity='lr'`."
            )

    @override
    def check_memory(self, memory: Mapping[str, Any]) -> None:
        entries: dict[str, Read] = {"attempts": count} if memory else {}
        if "left" in memory:
            entries |= {"left": count, "target": number, "weights": mapping, "raised": flag}
        if memory.get("raised"):
            of_lr: dict[str, Read] = {"lr": number, "raised_lr": number}
            entries |= of_lr if self.quantity == "lr" else {"momenta": each_of(optional(number))}
        read_entries(memory, entries)

    @override
    def act(self, situation: Situation) -> Effect | None:
        memory = situation.memory
        attempts = memory.get("attempts", 0)
        if "left" in memory or attempts == self.attempts or situation.best is None:
            return None
        effect = self._raise(situation)
        if effect is not None:
            memory.update(
                attempts=attempts + 1,
                left=self.patience,
                target=situation.best.value,
                raised=True,
                weights=copy_weights(situation.pl_module, situation.trainer.optimizers),
            )
        return effect

    @override
    def watch(self, situation: Situation) -> Effect | None:
        memory = situation.memory
        if "left" not in memory:
            return None
        memory["left"] -= 1
        better = situation.is_better(situation.value, memory["target"])
        over = better or memory["left"] == 0
        texts = []
        if memory["raised"] and (over or self.patience - memory["left"] == self.duration):
            memory["raised"] = False
            texts.append(self._lower(situation))
        if over:
            if better:
                texts.insert(0, f"the escape has paid: better than {memory['target']:.4g}")
            else:
                put_back(memory["weights"], situation.pl_module, situation.trainer.optimizers)
                texts.insert(
                    0, f"no better than {memory['target']:.4g}: back to the weights before the escape"
                )
            for name in ("left", "target", "raised", "weights"):
                del memory[name]
        return Effect(", ".join(texts), starts_afresh=True) if texts else None

    def _raise(self, situation: Situation) -> Effect | None:
        optimizers = situation.trainer.optimizers
        until = f"for {self.duration} validations"
        if self.quantity == "lr":
            before_lr = base_lr(situation.trainer)
            effect = change_lr(situation.trainer, before_lr * self.factor)
            situation.memory.update(lr=before_lr, raised_lr=base_lr(situation.trainer))
            return None if effect is None else Effect(f"{effect.text} {until}", starts_afresh=True)
        before = momenta(optimizers)
        situation.memory["momenta"] = before
        after = [each if each is None else lengthen_memory(each, self.factor) for each in before]
        set_momenta(optimizers, after)
        return Effect(f"momentum {_told(before)} -> {_told(after)} {until}", starts_afresh=True)

    def _lower(self, situation: Situation) -> str:
        if self.quantity == "lr":
            lr, raised = situation.memory.pop("lr"), situation.memory.pop("raised_lr")
            now = base_lr(situation.trainer)
            # Another action may have changed it since.
            effect = change_lr(situation.trainer, lr if now == raised else now / self.factor)
            return effect.text if effect is not None else ""
        before = situation.memory.pop("momenta")
        set_momenta(situation.trainer.optimizers, before)
        return f"momentum back to {_told(before)}"


def _told(values: list[float | None]) -> str:
    return f"{max(value for value in values if value is not None):.4g}"


def momenta(optimizers: Iterable[Optimizer]) -> list[float | None]:
    """Return the momentum of every group, None where its optimizer has none.

    Example:
        >>> import torch
        >>> weight = torch.zeros(1)
        >>> momenta(
        ...     [
        ...         torch.optim.Adam([weight]),
        ...         torch.optim.SGD([weight], momentum=0.5),
        ...         torch.optim.Rprop([weight]),
        ...     ]
        ... )
        [0.9, 0.5, None]
    """
    found: list[float | None] = []
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            momentum = group["betas"][0] if "betas" in group else group.get("momentum")
            found.append(None if momentum is None else float(momentum))
    return found


def lengthen_memory(momentum: float, factor: float) -> float:
    """Return the momentum that averages over `factor` times as many steps, 1 / (1 - momentum) of them.

    Args:
        momentum: In [0, 1).
        factor: In (0, inf).

    Raises:
        ValueError: An argument is out of range.

    Example:
        >>> lengthen_memory(0.9, 2)
        0.95
    """
    check_number("lengthen_memory(momentum=...)", momentum, "[0, 1)")
    check_number("lengthen_memory(factor=...)", factor, "(0, inf)")
    return 1 - (1 - momentum) / factor


def set_momenta(optimizers: Iterable[Optimizer], values: Iterable[float | None]) -> None:
    """Set the momentum of every group; None leaves a group as it is.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.Adam([torch.zeros(1)])
        >>> set_momenta([optimizer], [0.95])
        >>> optimizer.param_groups[0]["betas"]
        (0.95, 0.999)
    """
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    for group, value in zip(groups, values, strict=True):
        if value is None:
            continue
        if "betas" in group:
            group["betas"] = (value, *group["betas"][1:])
        else:
            group["momentum"] = value
