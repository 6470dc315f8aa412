"""Tries to leave a plateau by larger steps, and goes back if that did not help."""

from collections.abc import Iterable, Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal

from typing_extensions import override

from lightning_lr.checkpoints.saved_state import Read, count, each_of, flag, number, optional, read_entries
from lightning_lr.checks import check_choice, check_count, check_number
from lightning_lr.fit.lightnings import MisconfigurationException, Trainer
from lightning_lr.fit.neighbors import Schedules, averages_of, callbacks_of
from lightning_lr.momentum import momenta, set_momenta
from lightning_lr.plateau.actions.base import Action, Effect, Situation
from lightning_lr.plateau.actions.reduce import change_lr
from lightning_lr.plateau.actions.restore import check_weights_can_be_kept
from lightning_lr.plateau.detectors.base import Mode
from lightning_lr.plateau.weights import copy_weights, put_back, read_weights
from lightning_lr.rates import base_lr

__all__ = ["Escape"]


@dataclass(frozen=True, repr=False)
class Escape(Action):
    """Raise the LR or the momentum for a while, and go back if that does not pay.

    The raise ends after `duration` validations. The escape succeeds at the first validation that is better
    than the best one before it; then the fit continues with the current weights. If `patience` validations
    pass without success, weights and optimizer states go back to those from before the escape, which are kept
    on the CPU and in checkpoints until then.

    It does not pay, so it is never a default: on the nine runs of `tests/benchmarks/plateau`, three seeds
    each, raising the LR on the first plateau ended 0.5 % higher than lowering it, from 12 % higher to 6 %
    lower.

    Args:
        factor: How much to raise, in (1, inf). The LR is multiplied by it; a momentum m becomes
            1 - (1 - m) / factor, which averages over `factor` times as many steps.
        quantity: What to raise: `lr`, or `momentum` (beta1 in Adam).
        duration: For how many validations to raise it, at least 1.
        patience: After how many validations to give up, at least `duration`.
        attempts: How often to try in one fit, at least 1.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of range.
        MisconfigurationException: At fit start: no optimizer has momentum, a scheduler cycles it, or the
            weights are sharded over ranks.

    Example:
        >>> from lightning_lr import PlateauDetector
        >>> PlateauDetector(on_plateau=Escape(5.0, patience=8))
        PlateauDetector(on_plateau=(Escape(factor=5.0, patience=8),))
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

    @property
    @override
    def rescales(self) -> bool:
        return self.quantity == "lr"

    @override
    def check(self, trainer: Trainer, *, monitor: str, mode: Mode) -> None:
        check_weights_can_be_kept(trainer, self)
        if self.quantity == "lr":
            return
        if any("momentum" in each.scheduled_keys for each in callbacks_of(trainer, Schedules)):
            raise MisconfigurationException(
                "`Escape(quantity='momentum')` and `LRDecay(momentum=...)` both write the momentum. Use"
                " `quantity='lr'`, or leave `momentum` out."
            )
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
            entries |= {"left": count, "target": number, "weights": read_weights, "raised": flag}
        if memory.get("raised"):
            of_lr: dict[str, Read] = {"lr": number, "raised_lr": number}
            entries |= of_lr if self.quantity == "lr" else {"momenta": each_of(optional(number))}
        read_entries(memory, entries)

    @override
    def act(self, situation: Situation) -> Effect | None:
        memory, best = situation.memory, situation.best
        attempts = memory.get("attempts", 0)
        if "left" in memory or attempts == self.attempts or best is None:
            return None
        text = self._raise(situation)
        if text is None:
            return None
        trainer, module = situation.trainer, situation.pl_module
        weights = copy_weights(module, trainer.optimizers, averages_of(trainer, module))
        memory.update(
            attempts=attempts + 1, left=self.patience, target=best.value, raised=True, weights=weights
        )
        return Effect(f"{text} for {self.duration} validations", starts_afresh=True)

    @override
    def watch(self, situation: Situation) -> Effect | None:
        memory = situation.memory
        if "left" not in memory:
            return None
        memory["left"] -= 1
        better = situation.is_better(situation.value, memory["target"])
        over = better or memory["left"] == 0
        texts = []
        if better:
            texts.append(f"the escape has paid: better than {memory['target']:.4g}")
        elif over:
            trainer, module = situation.trainer, situation.pl_module
            kept = read_weights(memory["weights"])
            put_back(kept, module, trainer.optimizers, averages_of(trainer, module))
            texts.append(f"no better than {memory['target']:.4g}: back to the weights before the escape")
        if memory["raised"] and (over or self.patience - memory["left"] == self.duration):
            memory["raised"] = False
            texts.append(self._lower(situation))
        if over:
            for name in ("left", "target", "raised", "weights"):
                del memory[name]
        return Effect(", ".join(texts), starts_afresh=True) if texts else None

    def _raise(self, situation: Situation) -> str | None:
        trainer, memory = situation.trainer, situation.memory
        if self.quantity == "lr":
            before = base_lr(trainer)
            effect = change_lr(trainer, before * self.factor)
            if effect is None:
                return None
            memory.update(lr=before, raised_lr=base_lr(trainer))
            return effect.text
        memory["momenta"] = own = momenta(trainer.optimizers)
        raised = [each if each is None else 1 - (1 - each) / self.factor for each in own]
        set_momenta(trainer.optimizers, raised)
        return f"momentum {_highest(own)} -> {_highest(raised)}"

    def _lower(self, situation: Situation) -> str:
        trainer, memory = situation.trainer, situation.memory
        if self.quantity == "lr":
            before, raised, now = memory.pop("lr"), memory.pop("raised_lr"), base_lr(trainer)
            # Another action may have changed it since.
            effect = change_lr(trainer, before if now == raised else now / self.factor)
            return "" if effect is None else effect.text
        own = memory.pop("momenta")
        set_momenta(trainer.optimizers, own)
        return f"momentum back to {_highest(own)}"


def _highest(values: Iterable[float | None]) -> str:
    return f"{max(value for value in values if value is not None):.4g}"
