"""Training steps of the running fit that are made and then forgotten, as if they had never been."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from types import TracebackType

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from typing_extensions import Self

from lightning_lr.dry_run.batches import endless_batches
from lightning_lr.dry_run.descent import descent
from lightning_lr.dry_run.refusals import check_dry_run_possible
from lightning_lr.dry_run.silence import deferred_signals, mute, uninterrupted
from lightning_lr.dry_run.snapshot.reference import Reference
from lightning_lr.dry_run.snapshot.roots import set_gradients_aside, snapshot_of
from lightning_lr.dry_run.snapshot.snapshot import Snapshot
from lightning_lr.dry_run.steps import optimizer_step
from lightning_lr.dry_run.streams import ReadOnceError, Streams
from lightning_lr.dry_run.trackers import Trackers
from lightning_lr.dry_run.used_lrs import UsedLRs
from lightning_lr.dry_run.validation import DryValidation
from lightning_lr.fit.internals import check_private_names, train_loaders
from lightning_lr.fit.lightnings import (
    DDPStrategy,
    LightningModule,
    MisconfigurationException,
    Strategy,
    Trainer,
    misconfigurations,
)
from lightning_lr.fit.ranks import mean_over_ranks, mean_unless_terminated
from lightning_lr.fit.step_hook import dry_run_of, happened
from lightning_lr.peaks import lrs_left
from lightning_lr.rates import set_lrs

__all__ = ["DryRun"]

# So many batches in a row without a loss are taken for a module that never gives one.
_MOST_SKIPPED = 100
# And so many batches may pass without an optimizer step: the AMP scaler skips some until its scale fits.
_MOST_UNDONE = 32

# What a step raises if its LR is too high: in anomaly detection, in checks of arguments, in linear algebra.
_OF_TOO_HIGH_LRS = (RuntimeError, ValueError, ArithmeticError, AssertionError)


class _StoppedError(Exception):
    """Carries a StopIteration of the user's out of a generator."""

    def __init__(self, stop: StopIteration) -> None:
        super().__init__()
        self.stop = stop


class DryRun:
    """A context in which training steps leave no trace: not in the run, its files, loggers or callbacks.

    Entering it copies what a step can change: parameters, buffers, gradients, attributes of the module,
    optimizers, schedulers, the AMP scaler and random number generators. Leaving it puts everything back, also
    after an exception. In between callbacks and loggers are there and do nothing, and the module's `log` only
    fills `trainer.callback_metrics`. Batches come from copies of the train loaders.

    Handlers of SIGUSR1 and SIGUSR2, which save checkpoints, run when it is left.
    SIGTERM, of which Lightning only takes a note for after the batch, ends it within a step, as it would end
    a fit between two batches.

    It is entered in `on_train_start`, `on_train_epoch_start` or `on_train_batch_start`, on every rank.

    Args:
        trainer: The Trainer of the running fit.
        pl_module: Its module.
        ahead: The start hooks of the module that the fit has yet to call; they run before the first step.

    Attributes:
        failures: What steps have raised because their LR was too high, as sentences.
        traces: What could not be put back, in words; known once the context is left.
        limits: What was not followed, so that it is not known whether it was changed; known then too.
        problem: Why steps of this module say nothing about an LR, as a sentence; empty if nothing is known
            against them. No more steps are made then, and all losses are NaN.

    Raises:
        MisconfigurationException: This fit allows no dry run; nothing has been changed. The message says
            what to do instead.
    """

    def __init__(self, trainer: Trainer, pl_module: LightningModule, *, ahead: Sequence[str] = ()) -> None:
        check_private_names(trainer=trainer, LightningModule=pl_module)
        check_dry_run_possible(trainer, pl_module)
        self._streams = Streams(train_loaders(trainer).flattened)
        self._trainer = trainer
        self._module = pl_module
        self._ahead = ahead
        self._peaks = lrs_left(trainer)
        if not self.reference_lr:
            raise MisconfigurationException("Every LR is 0: nothing is trained, so there is no LR to find.")
        self._used_lrs = UsedLRs(pl_module)
        self._snapshot, self._reference = Snapshot(), Reference(trainer, pl_module)
        self._batches = endless_batches(trainer, self._streams)
        self._is_at_start = True
        self._steps_show = True
        self._lowest_lr = math.inf
        self._has_had_loss = False
        self._muted, self._trackers = ExitStack(), Trackers()
        self.failures: list[str] = []
        self.limits: list[str] = []
        self.traces: list[str] = []
        self.problem = ""

    @property
    def reference_lr(self) -> float:
        """The highest LR of all groups from now on; the LR of a step is the one of that group."""
        return max(lr for lrs in self._peaks for lr in lrs)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            # First, so that handlers find everything put back.
            stack.enter_context(deferred_signals())
            stack.enter_context(dry_run_of(self._trainer.optimizers))
            stack.enter_context(self._used_lrs.checked(self._trainer.optimizers))
            mute(stack, self._trainer, self._module)
            stack.callback(self._trackers.let_write)
            self._trackers.silence()
            self._snapshot = snapshot_of(self._trainer, self._module)
            self._muted = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            with uninterrupted(), ExitStack() as stack:
                # After the wrapper, which spreads the buffers of one rank.
                stack.callback(self._leave)
                if kind is None and self._trainer.global_step == 0:
                    # Not after an error, for which other ranks may wait for ever.
                    _wrap_anew(self._trainer.strategy)
        except KeyboardInterrupt:
            # One that came before all others were put off.
            self._leave()
            raise
        self.limits, self.traces = self._snapshot.limits, self._snapshot.differences()
        self._reference.check(self._snapshot)
        if isinstance(error, _StoppedError):
            raise error.stop

    def steps(self, lrs: Iterable[float], *, skip: int = 0) -> Iterator[tuple[float, float]]:
        """Make one optimizer step per LR, each time from the start and over the same batches.

        On every rank the losses are the same, and so are all decisions that follow from them alone.

        Args:
            lrs: The LR of the group whose LR is to be the highest; the others keep their ratio to it. They
                are taken one by one, so that a generator can decide the next one from the losses so far.
            skip: How many batches to leave out at the start, for other batches than before.

        Yields:
            The LR and the loss before its update: undivided by accumulation, averaged over the ranks that
            have one. Where `training_step` gives none on any of them the next batch is taken; NaN after a
            hundred in a row. So it is where the AMP scaler skips a step, until its scale fits.
        """
        self._rewind()
        for _ in range(skip):
            next(self._batches)
        for made, lr in enumerate(lrs):
            self._set_lr(lr)
            try:
                loss = self._step_that_happens()
            except StopIteration as stop:
                # Python would make a RuntimeError of it here.
                raise _StoppedError(stop) from stop
            except _OF_TOO_HIGH_LRS as error:
                if not self._comes_from_lr(error, lr, skip=skip, steps=made + 1):
                    raise
                failure = f"At LR {lr:.3g} the step raised {type(error).__name__}: {error}"
                self.failures.append(failure.removesuffix("."))
                loss = math.nan
            else:
                self._lowest_lr = min(lr, self._lowest_lr)
            yield lr, loss

    def _comes_from_lr(self, error: Exception, lr: float, *, skip: int, steps: int) -> bool:
        """Tell whether a step has raised because of its LR: the same steps at LR 0 do not."""
        # Other ranks may be elsewhere by now.
        if self._trainer.world_size > 1 or lr <= self._lowest_lr or _is_of_memory(error):
            return False
        self._rewind()
        try:
            for _ in range(skip):
                next(self._batches)
            for _ in range(steps):
                self._set_lr(0.0)
                self._step_that_happens()
        except _OF_TOO_HIGH_LRS:
            return False
        return True

    def validation(self, batches: int) -> DryValidation:
        """Return what measures the validation loss of the weights after the steps made last.

        Args:
            batches: How many batches of each validation loader to use, at most.

        Raises:
            MisconfigurationException: This fit has no validation that a dry run could make.
        """
        self._rewind()
        return DryValidation(self._trainer, self._module, batches)

    def validation_or_reason(self, batches: int) -> DryValidation | Exception:
        """Return a `validation` that has given a loss, or why none does.

        Raises:
            ReadOnceError: A loader reads a stream whose batches would be lost.
        """
        try:
            validation = self.validation(batches)
            # Only a call shows whether `validation_step` gives a loss.
            validation.loss()
        except ReadOnceError:
            raise
        except misconfigurations() as error:
            reason: Exception = error
            return reason
        return validation

    def descents(self, batches: int) -> list[tuple[float, float]]:
        """Measure how steep the loss is at the start, without moving from it.

        Args:
            batches: How many optimizer steps' worth of batches to measure.

        Returns:
            For each the loss and <g, d>, its decrease per unit of LR: with g the gradient, d = g / (1 -
            momentum) for SGD and d = sign(g) for the adaptive optimizers.
        """
        self._rewind()
        strategy = self._trainer.strategy
        ratios = dict(zip(map(id, self._trainer.optimizers), self._ratios(), strict=True))
        found: list[Tensor] = []

        # After the step: before it, the closure has not made the gradients yet.
        def measure(optimizer: Optimizer) -> None:
            found.append(descent(optimizer, ratios[id(optimizer)]))

        losses, descents = [], []
        for _ in range(batches):
            self._set_lr(0.0)
            losses.append(self._step_that_happens(measure))
            descents.append(torch.stack(found).sum() if found else torch.tensor(math.nan))
            found.clear()
        if not self._steps_show and all(map(math.isfinite, losses)):
            self.problem = (
                f"In {1 + _MOST_UNDONE} batches, no step was made of what `configure_optimizers` returns. If"
                " the module steps an optimizer of its own, return that; else set both bounds of the LR."
            )
        stacked = torch.stack([each.float().to(strategy.root_device) for each in descents])
        means: Tensor = strategy.reduce(stacked, reduce_op="mean")
        return list(zip(losses, means.tolist(), strict=True))

    def mean_over_ranks(self, value: float) -> float:
        """Return the mean of a number over the ranks; all of them call it."""
        return mean_over_ranks(self._trainer, value) or 0.0

    def _leave(self) -> None:
        try:
            self._take_back()
        finally:
            self._muted.close()
            self._used_lrs.expect(())
            # Once more: the snapshot was taken with them, and a second attempt finds the stack closed.
            self._trackers.let_write()
            for name in ("log", "log_dict"):
                vars(self._module).pop(name, None)

    def _rewind(self) -> None:
        if self._is_at_start and self._streams.may_be_read_once:
            # The first batch is compared with that of the next reading.
            next(self._batches)
            self._is_at_start = False
        if not self._is_at_start:
            with uninterrupted():
                self._take_back()
            self._batches = endless_batches(self._trainer, self._streams)
        self._is_at_start = False
        set_gradients_aside(self._trainer, self._module)
        for hook in self._ahead:
            getattr(self._module, hook)()

    def _take_back(self) -> None:
        with ExitStack() as stack:
            stack.callback(self._snapshot.restore)
            stack.callback(self._batches.close)
            for module in self._module.modules():
                # FSDP2 keeps parameters whole after a forward pass without a backward one.
                if callable(reshard := getattr(module, "reshard", None)):
                    reshard()

    def _ratios(self) -> list[list[float]]:
        return [[peak / self.reference_lr for peak in peaks] for peaks in self._peaks]

    def _set_lr(self, lr: float) -> None:
        optimizers = self._trainer.optimizers
        for optimizer, ratios in zip(optimizers, self._ratios(), strict=True):
            groups = optimizer.param_groups
            # Groups that a step has added keep their LR.
            lrs = [ratio * lr for ratio in ratios] + [float(group["lr"]) for group in groups[len(ratios) :]]
            set_lrs([optimizer], [lrs[: len(groups)]])
        self._used_lrs.expect(optimizers)

    def _step_that_happens(self, then: Callable[[Optimizer], None] | None = None) -> float:
        by_hand = not self._module.automatic_optimization and self._steps_show
        has_scaler = getattr(self._trainer.precision_plugin, "scaler", None) is not None
        if then is None and not by_hand and not has_scaler:
            return self._step_with_loss()
        losses = []
        with happened(self._trainer.optimizers, then) as stepped:
            for _ in range(1 + _MOST_UNDONE):
                losses.append(self._step_with_loss())
                # A loss that is not finite never gives gradients that are.
                if stepped or self.problem or (then is None and not math.isfinite(losses[-1])):
                    break
            else:
                # An optimizer that does not tell of its steps, or a module that makes none.
                self._steps_show = False
        # Under manual optimization all batches of a step count, and of those that the scaler skips the last.
        return math.fsum(losses) / len(losses) if by_hand and not has_scaler else losses[-1]

    def _step_with_loss(self) -> float:
        if self.problem:
            return math.nan
        for _ in range(_MOST_SKIPPED):
            local = optimizer_step(self._trainer, self._module, self._batches)
            if self._module.automatic_optimization:
                # Nobody steps a scheduler in between.
                for optimizer in self._trainer.optimizers:
                    self._used_lrs.check(optimizer)
            # Before the next step, or a rank that has a loss would be a step behind one that has none.
            loss = mean_unless_terminated(self._trainer, None if local is None else local.item())
            if loss is not None:
                self._has_had_loss = True
                return loss
        if not self._has_had_loss:
            self.problem = (
                f"`training_step` returned no loss for {_MOST_SKIPPED} batches, so nothing tells good LRs"
                " from bad ones. Return the loss at the end of the step; detached will do under manual"
                " optimization."
            )
        return math.nan


def _is_of_memory(error: Exception) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "memory" in str(error)


def _wrap_anew(strategy: Strategy) -> None:
    """Give DDP a new wrapper: after its first step it sums gradients in another order, which rounds."""
    if isinstance(strategy, DDPStrategy) and isinstance(strategy.model, DistributedDataParallel):
        # The old one has to be gone before, since both would listen to the same gradients.
        strategy.model = strategy.model.module
        strategy.configure_ddp()
