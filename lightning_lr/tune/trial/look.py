"""Looks at the fit before the first trial: its LR, the one that LRRangeTest finds, what it validates."""

import traceback
from pathlib import Path
from typing import Any

from typing_extensions import override

from lightning_lr.finders import LRRangeTest, Suggestion
from lightning_lr.fit.lightnings import (
    LightningModule,
    MisconfigurationException,
    Trainer,
    lightning_of,
    misconfigurations,
)
from lightning_lr.plateau.monitored import MonitoredValue, ReadsValidations
from lightning_lr.tune.trial.line import Line
from lightning_lr.tune.trial.spec import Spec
from lightning_lr.tune.trial.trial_callback import check_lr_can_be_put_in, missing

__all__ = ["Look"]

# Of Lightning, of `pytorch_lightning` and of this package, by name: what writes, or would test by itself.
_WRITERS = {
    "Checkpoint", "ProgressBar", "ModelSummary", "SaveConfigCallback", "LearningRateMonitor",
    "DeviceStatsMonitor", "LearningRateFinder", "BatchSizeFinder", "Finder", "LRLogger", "PlateauDetector",
}  # fmt: skip
_NO_STEP = (
    "This fit trains nothing: the training loader has no batches, or the Trainer's bounds allow no step."
)


class _Seen(SystemExit):
    """Ends the script, like `sys.exit(0)`."""


class Look(ReadsValidations):
    """Ends a fit at its first batch, when all has been seen."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self._value = MonitoredValue(spec.monitor)
        self._line: Line | None = None
        self._seen: dict[str, Any] = {}

    def prepare(self, trainer: Any) -> None:
        """Let the fit write nothing, and validate one batch only."""
        folders = [logger.save_dir for logger in trainer.loggers if logger.save_dir]
        self._seen["folder"] = str(Path(folders[0] if folders else trainer.default_root_dir))
        trainer.loggers = [lightning_of(trainer).loggers.logger.DummyLogger()]
        trainer.callbacks[:] = [
            each
            for each in trainer.callbacks
            if not _WRITERS & {kind.__name__ for kind in type(each).__mro__}
        ]
        trainer.num_sanity_val_steps = 0
        trainer.limit_val_batches = min(1, trainer.limit_val_batches)

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._line = Line(self.spec.port, self.spec.token)

    @override
    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._seen["own"] = check_lr_can_be_put_in(trainer)
        self._seen |= _test(trainer, pl_module)
        _validate(trainer)
        if trainer.is_global_zero:
            self._tell("seen", **self._seen)
        raise _Seen(0)

    @override
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        value, names = self._value.finish(trainer)
        if value is None:
            raise MisconfigurationException(missing(self.spec.monitor, names))

    @override
    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if isinstance(exception, Exception):
            is_plain = isinstance(exception, misconfigurations())
            told = str(exception) if is_plain else "".join(traceback.format_exception(exception))
            self._tell("failed", error=str(exception), traceback=told)

    @override
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Only a fit without a batch comes to its end.
        self._tell("failed", error=_NO_STEP, traceback=_NO_STEP)

    def _tell(self, kind: str, **values: Any) -> None:
        if self._line is not None:
            self._line.ask(kind, **values)


def _test(trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
    try:
        decision = LRRangeTest(apply=False).find(trainer, pl_module).decision
    except MisconfigurationException as error:
        # A stream that can be read only once, DeepSpeed, ...
        return {"found": None, "reason": str(error)}
    found = decision.lr if isinstance(decision, Suggestion) else None
    return {"found": found, "reason": decision.reason}


def _validate(trainer: Trainer) -> None:
    """Validate as after an epoch.

    Raises:
        MisconfigurationException: There is nothing to validate.
    """
    loop = trainer.fit_loop.epoch_loop.val_loop
    loop.setup_data()
    if not trainer.enable_validation or sum(trainer.num_val_batches) == 0:
        raise MisconfigurationException(
            "This fit validates nothing, so there is no loss to judge an LR by: give it validation data and a"
            " `validation_step`."
        )
    trainer.validating = True
    loop.run()
    trainer.training = True
