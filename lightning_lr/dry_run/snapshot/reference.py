"""What must be the same after a test, whatever else could not be put back: weights, buffers and LRs."""

from torch import Tensor

from lightning_lr.dry_run.snapshot.snapshot import PutBackError, Snapshot
from lightning_lr.fit.lightnings import LightningModule, Trainer
from lightning_lr.fit.neighbors import schedulers_of
from lightning_lr.schedules.rescaling import nested_schedulers

__all__ = ["Reference"]

_LRS = ("lr", "initial_lr", "max_lr", "min_lr")


class Reference:
    """The weights and LRs of a fit before a test.

    Args:
        trainer: The Trainer of the running fit.
        pl_module: Its module.
    """

    def __init__(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._trainer, self._module = trainer, pl_module
        self._tensors, self._lrs = self._tensors_now(), self._lrs_now()

    def check(self, snapshot: Snapshot) -> None:
        """Compare them with what they are now.

        Args:
            snapshot: That from which they were put back.

        Raises:
            PutBackError: They differ; the message says which do.
        """
        tensors, lrs = self._tensors_now(), self._lrs_now()
        found = [
            f"`{name}` is another one"
            for name in {**self._tensors, **tensors}
            if tensors.get(name) is not (tensor := self._tensors.get(name)) or snapshot.has_changed(tensor)
        ]
        found += [
            f"{name} is {lrs.get(name)}, it was {self._lrs.get(name)}"
            for name in {**self._lrs, **lrs}
            if lrs.get(name) != self._lrs.get(name)
        ]
        if found:
            shown = "; ".join(found[:5]) + (f"; and {len(found) - 5} more" if found[5:] else "")
            raise PutBackError(
                f"Weights or LRs are not what they were before the test: {shown}. Training from here would be"
                " another run. Look for the LR in a run of its own, with `stop_after=True`."
            )

    def _tensors_now(self) -> dict[str, Tensor]:
        return {
            **dict(self._module.named_parameters("module", remove_duplicate=False)),
            **dict(self._module.named_buffers("module", remove_duplicate=False)),
        }

    def _lrs_now(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for number, optimizer in enumerate(self._trainer.optimizers):
            for index, group in enumerate(optimizer.param_groups):
                place = f"`optimizers[{number}].param_groups[{index}]`"
                found |= {f"the {key} of {place}": float(group[key]) for key in _LRS if key in group}
        for number, scheduler in enumerate(nested_schedulers(schedulers_of(self._trainer))):
            for index, lr in enumerate(getattr(scheduler, "base_lrs", ())):
                found[f"the base LR {index} of scheduler {number}"] = float(lr)
        return found
