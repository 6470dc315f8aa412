"""The plan of a real Trainer, read at the start of its fit: no step is made and nothing is written.

Another Trainer, with the same bounds but one CPU process, starts the fit with the run's model and data. The
plan is the one that LRDecay itself makes there, so the preview cannot differ from the fit.
"""

import math
from typing import Any

from typing_extensions import override

from lightning_lr.decay.lr_decay import LRDecay
from lightning_lr.decay.schedule import Schedule
from lightning_lr.finders.finder import Finder
from lightning_lr.fit.internals import uses_distributed_sampler
from lightning_lr.fit.lightnings import (
    BaseCallback,
    Callback,
    GradientAccumulationScheduler,
    LightningModule,
    MisconfigurationException,
    Trainer,
    lightning_of,
)
from lightning_lr.fit.neighbors import callbacks_of
from lightning_lr.fit.optimizers import group_names
from lightning_lr.fit.run_length import accumulation
from lightning_lr.preview.planned import Preview, Unit
from lightning_lr.preview.timeline import lay_out

__all__ = ["planned_run", "preview_of_fit"]


def preview_of_fit(
    trainer: Trainer, model: LightningModule, train_dataloaders: Any = None, datamodule: Any = None
) -> Preview:
    """Return the plan of `trainer.fit(model, train_dataloaders, datamodule=datamodule)`.

    The hooks of module and data that precede training run: `prepare_data`, `setup`, `configure_model`,
    `configure_optimizers` and `on_fit_start`; of the callbacks, only those of LRDecay. If the Trainer has
    several processes, the steps are those of one process.

    Args:
        trainer: The Trainer, with its LRDecay; it is not changed.
        model: The module.
        train_dataloaders: What `fit` would get.
        datamodule: What `fit` would get.

    Raises:
        MisconfigurationException: There is no LRDecay, it refuses the fit, or the run has no end.

    Example:
        >>> import torch
        >>> from lightning.pytorch import LightningModule, Trainer
        >>> from lightning_lr import LRDecay
        >>> from lightning_lr.policies import Cosine
        >>> class Model(LightningModule):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.layer = torch.nn.Linear(2, 1)
        ...
        ...     def training_step(self, batch):
        ...         return self.layer(batch).mean()
        ...
        ...     def configure_optimizers(self):
        ...         return torch.optim.SGD(self.parameters(), lr=0.1)
        >>> trainer = Trainer(max_epochs=2, logger=False, callbacks=[LRDecay(Cosine())])
        >>> plan = preview_of_fit(trainer, Model(), torch.utils.data.DataLoader(torch.randn(8, 2)))
        >>> [(each.step, each.lrs) for each in plan.table()]
        [(0, {'lr/SGD': 0.1}), (8, {'lr/SGD': 0.05}), (15, {'lr/SGD': 0.05})]
    """
    reader = _Reader(fast=bool(trainer.fast_dev_run))  # type: ignore[attr-defined]
    alone = _one_of_many(trainer)
    # The constructor would refuse checkpoint callbacks and progress bars, since they are disabled.
    alone.callbacks = [reader, *callbacks_of(trainer, Callback)]  # type: ignore[attr-defined]
    try:
        alone.fit(model, train_dataloaders, datamodule=datamodule)
    except _Read as read:
        return read.preview
    raise MisconfigurationException(
        "This fit trains nothing: the training loader has no batches, or the Trainer's bounds allow no step."
    )


def planned_run(trainer: Trainer, schedule: Schedule, *, found_by: str = "") -> Preview:
    """Return the LRs of a fit whose loaders are set up, from the current base LRs.

    Args:
        trainer: The Trainer of the fit.
        schedule: The plans of LRDecay.
        found_by: The callback that is going to find other base LRs, if any.

    Raises:
        ValueError: The run has no end.
    """
    manual = not trainer.lightning_module.automatic_optimization
    # Then the module decides how many steps a batch makes.
    steps_unknown = manual and trainer.max_steps != -1
    batches = math.inf if steps_unknown else trainer.num_training_batches
    timeline = lay_out(schedule.plan.horizon, batches_per_epoch=batches, accumulation=accumulation(trainer))
    unit: Unit = "batch" if manual and not steps_unknown else "optimizer step"
    return Preview(schedule.plan, timeline, _base_lrs(trainer), found_by, unit, schedule.others)


def _base_lrs(trainer: Trainer) -> dict[str, float]:
    """Return the base LRs by the names that LRLogger gives the groups."""
    optimizers = trainer.optimizers
    return {
        f"lr/{name.removeprefix('lr-')}": float(group["initial_lr"])
        for names, optimizer in zip(group_names(optimizers), optimizers, strict=True)
        for name, group in zip(names, optimizer.param_groups, strict=True)
    }


def _one_of_many(trainer: Trainer) -> Trainer:
    """Return a Trainer with the bounds of another one, acting as one of its processes alone."""
    own = lightning_of(trainer)
    alone = own.strategies.SingleDeviceStrategy("cpu", accelerator=own.accelerators.CPUAccelerator())
    alone.world_size = trainer.world_size
    # Whether each process gets a share of the data; Lightning reads this from custom strategies.
    alone.is_distributed = trainer.world_size > 1
    shares = {"num_replicas": trainer.world_size, "rank": 0}
    members = {"distributed_sampler_kwargs": property(lambda _: shares)}
    one: Trainer = type("OneOfMany", (own.Trainer,), members)(
        strategy=alone,
        max_epochs=trainer.max_epochs,
        max_steps=trainer.max_steps,
        limit_train_batches=trainer.limit_train_batches,
        limit_val_batches=0,
        accumulate_grad_batches=trainer.accumulate_grad_batches,
        use_distributed_sampler=uses_distributed_sampler(trainer),
        default_root_dir=trainer.default_root_dir,
        logger=own.loggers.logger.DummyLogger(),
        log_every_n_steps=1,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    return one


class _Read(Exception):  # noqa: N818 (no error: it ends the fit)
    """Ends the fit before its first step, once the plan has been read."""

    def __init__(self, preview: Preview) -> None:
        super().__init__()
        self.preview = preview


class _Reader(BaseCallback):
    """Keeps the other callbacks out of the fit and ends it before the first step."""

    def __init__(self, *, fast: bool) -> None:
        self._fast = fast
        self._decay: LRDecay | None = None
        self._found_by = ""

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        # Only now have the module's own callbacks joined.
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        for callback in callbacks:
            if isinstance(callback, LRDecay):
                self._decay = callback
            elif isinstance(callback, Finder) and callback.apply and not self._fast:
                self._found_by = type(callback).__name__
        # In place: the hooks that Lightning is about to call are those of this list.
        callbacks[:] = [
            self,
            *(each for each in callbacks if isinstance(each, GradientAccumulationScheduler)),
        ]

    @override
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._decay_of(trainer).on_fit_start(trainer, pl_module)

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        decay = self._decay_of(trainer)
        decay.on_train_start(trainer, pl_module)
        decay.teardown(trainer, pl_module, "fit")
        try:
            preview = planned_run(trainer, decay.schedule, found_by=self._found_by)
        except ValueError as error:
            raise MisconfigurationException(
                f"{error} Set `Trainer(max_epochs=...)` or `Trainer(max_steps=...)`; a stream without length"
                " gets one by `Trainer(limit_train_batches=...)`."
            ) from error
        raise _Read(preview)

    def _decay_of(self, trainer: Trainer) -> LRDecay:
        if self._decay is None:
            raise MisconfigurationException(_no_plan(trainer))
        return self._decay


def _no_plan(trainer: Trainer) -> str:
    if trainer.lr_scheduler_configs:
        scheduler = type(trainer.lr_scheduler_configs[0].scheduler).__name__
        return (
            f"The LR is set by the scheduler {scheduler} of `configure_optimizers`, which is not previewed:"
            " only LRDecay knows its LRs beforehand. Put `lightning_lr.LRDecay` with a policy in its place."
        )
    return (
        "There is no LRDecay among the callbacks, so there is nothing to preview: the LR stays what the"
        " optimizer is made with. Add `lightning_lr.LRDecay` to `trainer.callbacks`."
    )
