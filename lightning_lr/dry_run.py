"""Training steps of the running fit that are made and then forgotten, as if they had never been.

Made of the public pieces that Lightning's own training loop is made of, so that precision, gradient clipping,
accumulation, strategies and user overrides act as in a real step. This is the one file that uses private
names of Lightning; each is listed in `PRIVATE_NAMES`.
"""

import copy
import math
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack, nullcontext
from types import TracebackType
from typing import Any, Literal, cast

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.loggers.logger import DummyLogger
from lightning.pytorch.profilers import PassThroughProfiler
from lightning.pytorch.utilities import CombinedLoader
from lightning.pytorch.utilities.signature_utils import is_param_in_hook_signature
from torch import Tensor
from torch.optim import Optimizer
from torch.utils.data import DataLoader
from typing_extensions import Self

from lightning_lr.descent import descent
from lightning_lr.rates import nested_schedulers, peak_lrs, set_lrs
from lightning_lr.rehearsable import check_rehearsable
from lightning_lr.snapshot import Snapshot, tensor_bytes

__all__ = ["PRIVATE_NAMES", "DryRun"]

PRIVATE_NAMES = {
    "trainer.fit_loop._combined_loader": "the train loaders with their mode and limits; the public "
    "`train_dataloader` knows neither",
    "LightningModule._on_before_batch_transfer": "calls `on_before_batch_transfer` of the module or of the "
    "datamodule, whichever has it",
}


# So many batches in a row without a loss are taken for a module that never gives one.
_MOST_SKIPPED = 100
# And so many batches may pass without an optimizer step: the AMP scaler skips some until its scale fits.
_MOST_UNDONE = 32


class DryRun:
    """A context in which training steps leave no trace: not in the run, its files, loggers or callbacks.

    Entering it copies what a step can change: parameters, buffers, gradients, attributes of the module,
    optimizers, schedulers, the AMP scaler and random number generators. Leaving it puts everything back, also
    after an exception. In between the Trainer has no callbacks, its loggers write nothing, and the module's
    `log` does nothing. Batches come from copies of the train loaders.

    To be entered in `on_train_start`, on every rank.

    Args:
        trainer: The Trainer of the running fit.
        pl_module: Its module.
        keep_on: Where the copy is kept: on each tensor's own `device`, on the `cpu`, or `auto`: on the device
            where there is room for three copies.

    Raises:
        MisconfigurationException: This fit cannot be rehearsed; nothing has been changed. The message says
            what to do instead.
    """

    def __init__(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        *,
        keep_on: Literal["auto", "device", "cpu"] = "auto",
    ) -> None:
        check_rehearsable(trainer, pl_module, _loaders(trainer))
        self._trainer = trainer
        self._module = pl_module
        self._keep_on = keep_on
        schedulers = [config.scheduler for config in trainer.lr_scheduler_configs]
        self._peaks = peak_lrs(trainer.optimizers, schedulers)
        if not self.reference_lr:
            raise MisconfigurationException("Every LR is 0: nothing is trained, so there is no LR to find.")
        self._snapshot = Snapshot()
        self._batches = _batches(trainer)
        self._is_at_start = True
        self._muted = ExitStack()

    @property
    def reference_lr(self) -> float:
        """The highest peak LR of all groups; the LR of a step is the one of that group."""
        return max(lr for lrs in self._peaks for lr in lrs)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            _mute(stack, self._trainer, self._module)
            self._snapshot = _take_snapshot(self._trainer, self._module, self._keep_on)
            self._muted = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self._leave()
        except KeyboardInterrupt:
            # A second Ctrl-C while everything is being put back must not leave it half done.
            self._leave()
            raise

    def steps(self, lrs: Iterable[float], *, skip: int = 0) -> Iterator[tuple[float, Tensor]]:
        """Make one optimizer step per LR, each time from the start and over the same batches.

        Args:
            lrs: The LR of the group with the highest peak; the others keep their ratio to it. They are taken
                one by one, so that a generator can decide the next one from the losses so far.
            skip: How many batches to leave out at the start, for other batches than before.

        Yields:
            The LR and the loss before its update: on this rank, on its device, undivided by accumulation.
            Where `training_step` gives none the next batch is taken; NaN after a hundred in a row.
        """
        self._rewind()
        for _ in range(skip):
            next(self._batches)
        for lr in lrs:
            self._set_lr(lr)
            yield lr, self._step_with_loss()

    def descents(self, batches: int) -> list[tuple[float, float]]:
        """Measure how steep the loss is at the start, without moving from it.

        Args:
            batches: How many optimizer steps' worth of batches to measure.

        Returns:
            For each the loss and <g, d>, its decrease per unit of LR: with g the gradient, d = g / (1 -
            momentum) for SGD and d = sign(g) for the adaptive optimizers.
        """
        self._rewind()
        found: list[Tensor] = []
        ratios = dict(zip(map(id, self._trainer.optimizers), self._ratios(), strict=True))

        def note(optimizer: Optimizer, *_: Any) -> None:
            found.append(descent(optimizer, ratios[id(optimizer)]))

        # After the step: before it, the closure has not made the gradients yet.
        hooks = [optimizer.register_step_post_hook(note) for optimizer in self._trainer.optimizers]
        losses, descents = [], []
        try:
            for _ in range(batches):
                self._set_lr(0.0)
                losses.append(self._step_with_loss())
                for _ in range(_MOST_UNDONE):
                    if found:
                        break
                    losses[-1] = self._step_with_loss()
                descents.append(torch.stack(found).sum() if found else self._missing())
                found.clear()
        finally:
            for hook in hooks:
                hook.remove()
        means = self.mean_over_ranks([*losses, *descents])
        return list(zip(means[:batches], means[batches:], strict=True))

    def mean_over_ranks(self, losses: list[Tensor]) -> list[float]:
        """Return losses of steps averaged over all ranks, in one reduction and one transfer."""
        strategy = self._trainer.strategy
        stacked = torch.stack([loss.reshape(()).float() for loss in losses]).to(strategy.root_device)
        reduced: Tensor = strategy.reduce(stacked, reduce_op="mean")
        return reduced.tolist()

    def _leave(self) -> None:
        self._batches.close()
        self._snapshot.restore()
        self._muted.close()

    def _rewind(self) -> None:
        if not self._is_at_start:
            self._batches.close()
            self._snapshot.restore()
            self._batches = _batches(self._trainer)
        self._is_at_start = False

    def _ratios(self) -> list[list[float]]:
        return [[peak / self.reference_lr for peak in peaks] for peaks in self._peaks]

    def _set_lr(self, lr: float) -> None:
        set_lrs(self._trainer.optimizers, [[ratio * lr for ratio in ratios] for ratios in self._ratios()])

    def _step_with_loss(self) -> Tensor:
        for _ in range(_MOST_SKIPPED):
            loss = self._step()
            if loss is not None:
                return loss
        return self._missing()

    def _step(self) -> Tensor | None:
        if not self._module.automatic_optimization:
            loss = _loss(self._training_step(*next(self._batches)))
            return None if loss is None else loss.detach().clone().reshape(())
        last = self._trainer.accumulate_grad_batches - 1
        losses = [
            self._micro_step(*next(self._batches), first=micro == 0, last=micro == last)
            for micro in range(last + 1)
        ]
        present = [loss for loss in losses if loss is not None]
        return torch.stack(present).mean() if present else None

    def _micro_step(self, index: int, batch: Any, *, first: bool, last: bool) -> Tensor | None:
        trainer, seen = self._trainer, list[Tensor]()
        raw_optimizer = trainer.optimizers[0]

        def closure() -> Tensor | None:
            loss = _loss(self._training_step(index, batch))
            if loss is not None:
                seen.append(loss.detach().clone().reshape(()))
            if first:
                self._module.on_before_zero_grad(raw_optimizer)
                self._module.optimizer_zero_grad(trainer.current_epoch, index, raw_optimizer)
            if loss is None:
                return None
            scaled = loss / trainer.accumulate_grad_batches
            trainer.strategy.backward(scaled, raw_optimizer)
            return scaled

        if last:
            optimizer = cast(LightningOptimizer, self._module.optimizers())
            self._module.optimizer_step(trainer.current_epoch, index, optimizer, closure)
        else:
            blocked = getattr(trainer.strategy, "block_backward_sync", nullcontext)
            with blocked():
                closure()
        # LBFGS calls the closure several times; the first loss is the one before the update.
        return seen[0] if seen else None

    def _training_step(self, index: int, batch: Any) -> Any:
        trainer, module = self._trainer, self._module
        batch = trainer.precision_plugin.convert_input(batch)
        batch = module._on_before_batch_transfer(batch, dataloader_idx=0)
        batch = trainer.strategy.batch_to_device(batch, dataloader_idx=0)
        takes_index = is_param_in_hook_signature(module.training_step, "batch_idx", min_args=2)
        return trainer.strategy.training_step(*((batch, index) if takes_index else (batch,)))

    def _missing(self) -> Tensor:
        return torch.full((), math.nan, device=self._trainer.strategy.root_device)


def _loss(output: Any) -> Tensor | None:
    loss = output.get("loss") if isinstance(output, Mapping) else output
    return loss if isinstance(loss, Tensor) else None


def _combined_loader(trainer: Trainer) -> CombinedLoader:
    loader = trainer.fit_loop._combined_loader
    if loader is None:
        raise MisconfigurationException("There are no train loaders yet: enter a DryRun in `on_train_start`.")
    return loader


def _loaders(trainer: Trainer) -> list[Any]:
    return _combined_loader(trainer).flattened


def _batches(trainer: Trainer) -> Generator[tuple[int, Any], None, None]:
    """Yield numbered training batches from the start of the loaders, again and again."""
    loader = copy.copy(_combined_loader(trainer))
    loader.flattened = [_private_copy(each) for each in loader.flattened]
    index = 0
    try:
        while True:
            start = index
            for batch, _, _ in loader:
                yield index, batch
                index += 1
            if index == start:
                raise MisconfigurationException(
                    "The train loader has no batches: there is nothing to rehearse."
                )
    finally:
        loader.reset()


def _private_copy(loader: Any) -> Any:
    """Return a loader over the same data whose iterator, and workers, are its own."""
    if hasattr(loader, "_iterator"):
        loader = copy.copy(loader)
        # The Trainer's iterator lives on in the original, with the workers that it may keep between epochs.
        loader._iterator = None
    return loader


def _mute(stack: ExitStack, trainer: Trainer, pl_module: LightningModule) -> None:
    """Silence whatever listens to steps, and undo that when the stack is closed."""
    replacements = {
        "callbacks": [],
        "loggers": [DummyLogger()] if trainer.loggers else [],
        "profiler": PassThroughProfiler(),
        "should_stop": trainer.should_stop,
    }
    for name, replacement in replacements.items():
        stack.callback(setattr, trainer, name, getattr(trainer, name))
        setattr(trainer, name, replacement)
    for name in ("log", "log_dict"):
        stack.callback(vars(pl_module).pop, name)
        # An attribute of the instance hides the method of the class.
        vars(pl_module)[name] = _ignore


def _ignore(*args: Any, **kwargs: Any) -> None:
    pass


def _take_snapshot(
    trainer: Trainer, pl_module: LightningModule, keep_on: Literal["auto", "device", "cpu"]
) -> Snapshot:
    on_cpu = keep_on == "cpu" or (keep_on == "auto" and _is_short_of_memory(trainer, pl_module))
    snapshot = Snapshot(torch.device("cpu") if on_cpu else None)
    snapshot.ignore(trainer)
    snapshot.add_module(pl_module)
    schedulers = nested_schedulers(config.scheduler for config in trainer.lr_scheduler_configs)
    scaler = getattr(trainer.precision_plugin, "scaler", None)
    for stateful in [*trainer.optimizers, *schedulers, *([scaler] if scaler else [])]:
        snapshot.add(stateful)
    for loader in _loaders(trainer):
        # Not the loader itself: the workers of its live iterator share its attributes.
        parts = ("dataset", "sampler", "batch_sampler", "generator", "collate_fn", "worker_init_fn")
        sources = (
            [getattr(loader, part, None) for part in parts] if isinstance(loader, DataLoader) else [loader]
        )
        snapshot.add_references(sources)
    snapshot.add_references(getattr(trainer, "datamodule", None))
    snapshot.add_global_generators()
    return snapshot


def _sources(loader: Any) -> list[Any]:
    if not isinstance(loader, DataLoader):
        return [loader]
    # Not the loader itself: threads of its live iterator read its attributes.
    parts = ("dataset", "sampler", "batch_sampler", "generator", "collate_fn", "worker_init_fn")
    return [getattr(loader, part) for part in parts]


def _is_short_of_memory(trainer: Trainer, pl_module: LightningModule) -> bool:
    device = trainer.strategy.root_device
    if device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return free < 3 * tensor_bytes([*pl_module.parameters(), *pl_module.buffers()])
