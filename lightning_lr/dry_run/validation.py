"""The validation loss on a few batches, outside of Lightning's validation loop and the user's metrics."""

import copy
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from lightning_lr.dry_run.batches import spread_batches
from lightning_lr.dry_run.steps import validation_step
from lightning_lr.fit.internals import callback_metrics_of, is_sequential, validation_loaders
from lightning_lr.fit.lightnings import (
    LightningModule,
    MisconfigurationException,
    Trainer,
    is_param_in_hook_signature,
)
from lightning_lr.fit.losses import ValidationLoss
from lightning_lr.fit.ranks import mean_unless_terminated

__all__ = ["DryValidation"]

_OF_TOO_FEW = (ArithmeticError, IndexError, RuntimeError, TypeError, ValueError)


class DryValidation:
    """Judges the weights of the module, as they are at the moment, on the same samples every time.

    To be used inside of a DryRun, which takes back whatever `validation_step` changes.

    BatchNorm, whose running statistics lag behind weights that move fast, takes those of the batch, as in
    training; SyncBatchNorm does not, since the ranks may have different numbers of batches.

    Args:
        trainer: The Trainer of the running fit.
        pl_module: Its module.
        batches: How many batches of each validation loader, at most.

    Attributes:
        batch_losses: The losses of this rank's batches by the last call.

    Raises:
        MisconfigurationException: The fit does not validate, or its `validation_step` takes the batches
            itself.
    """

    def __init__(self, trainer: Trainer, pl_module: LightningModule, batches: int) -> None:
        loaders = validation_loaders(trainer)
        if loaders is None:
            raise MisconfigurationException(
                "There is no validation loss: the fit has no validation loader, no `validation_step`, or"
                " `limit_val_batches=0`."
            )
        if is_param_in_hook_signature(pl_module.validation_step, "dataloader_iter", explicit=True):
            raise MisconfigurationException(
                "`validation_step(dataloader_iter)` takes its batches itself, so they cannot be rehearsed."
            )
        self._trainer = trainer
        self._module = pl_module
        self._loaders = len(loaders.flattened) if is_sequential(trainer) else 1
        self._batches = spread_batches(trainer, batches)
        self._metrics: dict[str, Metric] = {}
        self.batch_losses: list[float] = []

    def loss(self) -> float:
        """Return the mean of the losses over samples, then over loaders, then over the ranks that have one.

        Raises:
            MisconfigurationException: None has one: no batches, or no loss from `validation_step`.
        """
        measured, logged = ValidationLoss(), dict[str, list[Tensor]]()
        measured.start({}, loaders=self._loaders)
        with _evaluating(self._trainer, self._module):
            with _recording(self._module, logged, self._metrics, ""):
                self._module.on_validation_start()
                self._module.on_validation_epoch_start()
            for loader, index, batch in self._batches:
                suffix = f"/dataloader_idx_{loader}" if self._loaders > 1 else ""
                with _recording(self._module, logged, self._metrics, suffix):
                    # A step may change its batch in place.
                    fresh = copy.deepcopy(batch)
                    number = loader if self._loaders > 1 else None
                    outputs = validation_step(self._trainer, self._module, fresh, index, loader=number)
                measured.add(outputs, batch, loader=loader)
            with _recording(self._module, logged, self._metrics, ""):
                self._show(logged)
                self._module.on_validation_epoch_end()
                self._show(logged)
                self._module.on_validation_end()
        for metric in self._metrics.values():
            metric.reset()
        means = _means(logged)
        losses, problem = measured.finish(means, reduce=None)
        self.batch_losses = measured.by_batch(logged)
        mean = mean_unless_terminated(self._trainer, sum(losses.values()) / len(losses) if losses else None)
        if mean is None:
            raise MisconfigurationException(
                problem if self._batches else "The validation loader has no batches."
            )
        return mean

    def _show(self, logged: Mapping[str, Sequence[Tensor]]) -> None:
        """Let the hooks that end a validation find in `callback_metrics` what it has logged."""
        seen: dict[str, Tensor] = dict(_means(logged))
        for name, metric in self._metrics.items():
            value = None
            # Some have nothing to tell of so few batches, and say so by an error or a warning.
            with warnings.catch_warnings(), suppress(*_OF_TOO_FEW):
                warnings.simplefilter("ignore")
                value = metric.compute()
            if isinstance(value, Tensor) and value.numel() == 1:
                seen[name] = value
        callback_metrics_of(self._trainer).update(seen)


def _means(logged: Mapping[str, Sequence[Tensor]]) -> dict[str, Tensor]:
    return {name: torch.stack(list(values)).mean() for name, values in logged.items()}


@contextmanager
def _evaluating(trainer: Trainer, pl_module: LightningModule) -> Iterator[None]:
    modes = {module: module.training for module in pl_module.modules()}
    trainer.validating = True
    hooks = [
        module.register_forward_pre_hook(_use_batch_statistics)
        for module, in_training in modes.items()
        if in_training and isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d))
    ]
    try:
        pl_module.on_validation_model_eval()
        with torch.no_grad():
            yield
    finally:
        for hook in hooks:
            hook.remove()
        trainer.training = True
        for module, mode in modes.items():
            module.training = mode


def _use_batch_statistics(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    first = inputs[0] if inputs else None
    # One value per channel has no variance.
    module.training = first is not None and first.dim() > 1 and first.numel() > first.shape[1]


@contextmanager
def _recording(
    pl_module: LightningModule, logged: dict[str, list[Tensor]], metrics: dict[str, Metric], suffix: str
) -> Iterator[None]:
    """Take what a step logs instead of letting it through."""

    def log(name: str, value: Any, *_: Any, **__: Any) -> None:
        # A metric object stands for a whole validation, and its value for one batch would change it.
        if isinstance(value, Metric):
            metrics[name + suffix] = value
        elif torch.as_tensor(value).numel() == 1:
            logged.setdefault(name + suffix, []).append(torch.as_tensor(value).detach().float().reshape(()))

    def log_dict(dictionary: Mapping[str, Any], *_: Any, **__: Any) -> None:
        for name, value in dictionary.items():
            log(name, value)

    muted = {name: vars(pl_module)[name] for name in ("log", "log_dict")}
    vars(pl_module).update(log=log, log_dict=log_dict)
    try:
        yield
    finally:
        vars(pl_module).update(muted)
