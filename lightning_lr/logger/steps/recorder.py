"""Records what every optimizer step has: the LRs when it happens, and the loss when its batch ends."""

from collections.abc import Sequence

from torch import Tensor
from torch.optim import Optimizer

from lightning_lr.fit.lightnings import LightningModule, Trainer
from lightning_lr.fit.neighbors import Schedules, callbacks_of
from lightning_lr.fit.ranks import rank_sum
from lightning_lr.fit.step_hook import StepHook
from lightning_lr.logger.steps.buffer import StepBuffer, StepRecord
from lightning_lr.logger.steps.group_rates import GroupRates
from lightning_lr.logger.steps.lr_metrics import LRMetrics
from lightning_lr.output.points import batch_step, next_step

__all__ = ["StepRecorder"]

# In batches: with a large `log_every_n_steps`, or 0 for none of Lightning's own points, memory stays bounded.
_MOST_BUFFERED = 1000


class StepRecorder:
    """The LRs and losses of the steps of one fit, kept on their device until they are read.

    The LRs of the last step are among the Trainer's metrics.

    Args:
        keys: Further values of parameter groups to record: `momentum`, `weight_decay`.
        in_bar: Whether the progress bar shows the LRs.

    Attributes:
        step: The x of the running batch, or of the last one.
        rates: Reads the LRs of the optimizers.
        metrics: The LRs among the Trainer's metrics.
    """

    def __init__(self, keys: Sequence[str], *, in_bar: bool) -> None:
        self.step = 0
        self.rates = GroupRates(keys)
        self.metrics = LRMetrics(in_bar=in_bar)
        self._buffer = StepBuffer()
        self._hook = StepHook(self._record_rates)
        self._complete_before = 0
        self._base_is_due = False

    def __len__(self) -> int:
        """Return the number of batches that have not been read."""
        return len(self._buffer)

    @property
    def in_batch(self) -> bool:
        """Whether a batch is running."""
        return self._hook.in_batch

    def begin(self, trainer: Trainer) -> None:
        """Begin to record a fit, before its first batch.

        Raises:
            MisconfigurationException: Two groups of one optimizer have the same name.
        """
        scheduled = [(each.scheduler.optimizer, each.name) for each in trainer.lr_scheduler_configs]
        self.rates.begin(trainer.optimizers, scheduled)
        planned = callbacks_of(trainer, Schedules)
        self.rates.add_keys(key for each in planned for key in each.scheduled_keys)
        self.rates.warn_of_missing()
        self._hook.attach(trainer.optimizers)
        self.metrics.follow(trainer)
        for optimizer in trainer.optimizers:
            self.metrics.show(*self.rates.read(optimizer)[0])
        self.step = next_step(trainer) - 1

    def begin_batch(self, trainer: Trainer, pl_module: LightningModule, batch_idx: int) -> None:
        """Begin a training batch: from now on, steps count."""
        self._hook.in_batch = True
        self.step = batch_step(trainer, pl_module)
        self._base_is_due |= batch_idx == 0 or _is_due(trainer, self.step)
        self.metrics.is_due = self._base_is_due or trainer.is_last_batch

    def end_batch(self, trainer: Trainer, loss: Tensor | None, *, divided_by: int, weight: float) -> bool:
        """End a training batch; return whether it is time to read the complete steps.

        Args:
            trainer: The Trainer of the fit.
            loss: A tensor of one element that nobody changes afterwards; None for a batch without loss.
            divided_by: The number by which Lightning divided the loss.
            weight: The size of the batch.
        """
        self._hook.in_batch = False
        self._buffer.add_batch(self.step, loss, scale=divided_by, weight=weight)
        if divided_by > 1 and trainer.global_step == self.step:
            return False  # This step has more micro-batches.
        self._base_is_due = False
        self._complete_before = self.step + 1
        return _is_due(trainer, self._complete_before) or len(self._buffer) >= _MOST_BUFFERED

    def read(self, trainer: Trainer, *, over_ranks: bool = True) -> list[StepRecord]:
        """Read all steps; with `over_ranks`, all ranks call it, and losses are means over them."""
        return self._buffer.drain(reduce=rank_sum(trainer) if over_ranks else None)

    def read_complete(self, trainer: Trainer) -> list[StepRecord]:
        """Read the steps that have no more micro-batches; all ranks call it."""
        return self._buffer.drain(self._complete_before, reduce=rank_sum(trainer))

    def stop(self) -> None:
        """Stop recording; what there is can still be read."""
        self._hook.detach()

    def _record_rates(self, optimizer: Optimizer) -> None:
        lrs, *others = self.rates.read(optimizer, with_base=self._base_is_due)
        kept = self._buffer.add_rates(self.step, *lrs)
        for row in others:
            self._buffer.add_rates(self.step, *row)
        self.metrics.show(lrs[0], kept)


def _is_due(trainer: Trainer, step: int) -> bool:
    every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
    return every > 0 and step % every == 0
