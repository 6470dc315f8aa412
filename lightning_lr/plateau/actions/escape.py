"""Tries to leave a plateau by larger steps, and takes that back where it did not help."""

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from typing_extensions import override

from lightning_lr.checks import check_choice, check_count, check_number
from lightning_lr.plateau.actions.base import Action, Effect, Situation
from lightning_lr.plateau.actions.momentum import lengthen_memory, momenta, set_momenta
from lightning_lr.plateau.actions.reduce import base_lr, change_lr
from lightning_lr.plateau.actions.restore import check_weights_can_be_kept
from lightning_lr.plateau.detectors.base import Mode, check_entries, is_count, is_number
from lightning_lr.plateau.weights import copy_weights, put_back

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
        tests: dict[str, Callable[[Any], bool]] = {"attempts": is_count} if memory else {}
        if "left" in memory:
            tests |= {"left": is_count, "target": is_number, "weights": lambda kept: isinstance(kept, dict)}
            tests["raised"] = lambda raised: isinstance(raised, bool)
        if memory.get("raised"):
            of_lr = {"lr": is_number, "raised_lr": is_number}
            tests |= of_lr if self.quantity == "lr" else {"momenta": lambda each: isinstance(each, list)}
        check_entries("Escape", memory, tests)

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
