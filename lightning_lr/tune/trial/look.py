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
from lightning_lr.fit.losses import training_loss
from lightning_lr.fit.run_share import RunShare
from lightning_lr.plateau.monitored import RETURNED, TRAINING, MonitoredValue, ReadsValidations
from lightning_lr.tune.trial.line import Line
from lightning_lr.tune.trial.spec import Spec
from lightning_lr.tune.trial.trial_callback import NO_TRAINING_LOSS, check_lr_can_be_put_in, missing

__all__ = ["Look"]

# Of Lightning, of `pytorch_lightning` and of this package, by name: what writes, or would test by itself.
_WRITERS = {
    "Checkpoint", "ProgressBar", "ModelSummary", "SaveConfigCallback", "LearningRateMonitor",
    "DeviceStatsMonitor", "LearningRateFinder", "BatchSizeFinder", "Finder", "LRLogger", "PlateauDetector",
}  # fmt: skip
_NO_STEP = (
    "This fit trains nothing: the training loader has no batches, or the Trainer's bounds allow no step."
)


_NO_VALIDATION = (
    "This fit validates nothing, so there is no `{}` to judge an LR by: give it validation data and a"
    " `validation_step`, or leave --monitor out, and LRs are judged by the training loss."
)
_TOO_SHORT = (
    "This fit would end before its first validation: let it validate earlier (`check_val_every_n_epoch`,"
    " `val_check_interval`), train for longer, or judge LRs with --monitor loss/train."
)


class _Seen(SystemExit):
    """Ends the script, like `sys.exit(0)`."""


class Look(ReadsValidations):
    """Ends a fit when all has been seen: before its first batch, or after it if its loss is what counts."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self._value = MonitoredValue(spec.monitor or RETURNED)
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
        if self._validates(trainer, pl_module):
            self._end(trainer, self.spec.monitor or RETURNED)

    @override
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        loss, _ = training_loss(trainer, pl_module, outputs)
        if loss is None:
            raise MisconfigurationException(NO_TRAINING_LOSS)
        self._end(trainer, TRAINING)

    def _validates(self, trainer: Trainer, pl_module: LightningModule) -> bool:
        """Validate as after an epoch, and return whether LRs are judged by that.

        Raises:
            MisconfigurationException: There is nothing to validate, and something else was to be monitored.
        """
        if self.spec.monitor == TRAINING:
            return False
        if not _has_validation(trainer):
            if self.spec.monitor:
                raise MisconfigurationException(_NO_VALIDATION.format(self.spec.monitor))
            return False
        if RunShare(trainer, pl_module).planned(trainer, None) == 0:
            raise MisconfigurationException(_TOO_SHORT)
        trainer.validating = True
        trainer.fit_loop.epoch_loop.val_loop.run()
        trainer.training = True
        return True

    def _end(self, trainer: Trainer, monitor: str) -> None:
        if trainer.is_global_zero:
            self._tell("seen", monitor=monitor, **self._seen)
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


def _has_validation(trainer: Trainer) -> bool:
    if not trainer.enable_validation:
        return False
    trainer.fit_loop.epoch_loop.val_loop.setup_data()
    return sum(trainer.num_val_batches) > 0
