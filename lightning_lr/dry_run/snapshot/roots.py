"""Where the snapshot of a fit begins: module, optimizers, schedulers, scaler, loaders and datamodule."""

from collections.abc import Iterator

import torch
from torch import nn

from lightning_lr.dry_run.snapshot.snapshot import MOST_OBJECTS, MOST_PARTS, Root, Snapshot, tensor_bytes
from lightning_lr.fit.internals import train_loaders, validation_loaders
from lightning_lr.fit.lightnings import DDPStrategy, LightningModule, Trainer
from lightning_lr.fit.neighbors import schedulers_of
from lightning_lr.schedules.rescaling import nested_schedulers

__all__ = ["set_gradients_aside", "snapshot_of"]


def snapshot_of(trainer: Trainer, pl_module: LightningModule) -> Snapshot:
    """Return a snapshot of all that the running fit holds."""
    modules = sum(1 for _ in pl_module.modules())
    parameters = sum(1 for _ in pl_module.parameters())
    snapshot = Snapshot(
        torch.device("cpu") if _is_short_of_memory(trainer, pl_module) else None,
        # The limits are for what else is held: a module holds about 20 objects, a parameter and its state 8.
        most_objects=MOST_OBJECTS + 32 * modules + 16 * parameters,
        most_parts=MOST_PARTS + 2 * parameters,
    )
    snapshot.ignore(trainer)
    snapshot.add(*_roots_of(trainer, pl_module))
    snapshot.add_global_generators()
    # Whatever the limits have left out.
    snapshot.add_tensors([*pl_module.parameters(), *pl_module.buffers()])
    if _keeps_gradients_in_buckets(trainer):
        gradients = [parameter.grad for parameter in pl_module.parameters()]
        snapshot.add_tensors([each for each in gradients if each is not None])
    return snapshot


def _roots_of(trainer: Trainer, pl_module: LightningModule) -> Iterator[Root]:
    yield Root(pl_module, "module")
    for number, optimizer in enumerate(trainer.optimizers):
        name = f"optimizers[{number}]"
        yield Root(optimizer, name)
        # As attributes too: those of an optimizer that wraps another one may be properties.
        yield Root(optimizer.param_groups, f"{name}.param_groups")
        yield Root(getattr(optimizer, "state", None), f"{name}.state")
    for number, scheduler in enumerate(nested_schedulers(schedulers_of(trainer))):
        yield Root(scheduler, f"lr_schedulers[{number}]")
    yield Root(getattr(trainer.precision_plugin, "scaler", None), "scaler")
    validation = validation_loaders(trainer)
    for name, loaders in (
        ("train_dataloader", train_loaders(trainer).flattened),
        ("val_dataloader", [] if validation is None else validation.flattened),
    ):
        for number, loader in enumerate(loaders):
            yield Root(loader, name if len(loaders) == 1 else f"{name}[{number}]", is_data=True)
    yield Root(getattr(trainer, "datamodule", None), "datamodule", is_data=True)


def set_gradients_aside(trainer: Trainer, pl_module: LightningModule) -> None:
    """Take the gradients off the parameters, so that no step writes to them; the snapshot puts them back."""
    if not _keeps_gradients_in_buckets(trainer):
        for parameter in pl_module.parameters():
            parameter.grad = None


def _keeps_gradients_in_buckets(trainer: Trainer) -> bool:
    """Tell whether gradients are views into memory of DDP's, which every backward pass writes to."""
    strategy = trainer.strategy
    model = strategy.model if isinstance(strategy, DDPStrategy) else None
    return isinstance(model, nn.Module) and bool(getattr(model, "gradient_as_bucket_view", False))


def _is_short_of_memory(trainer: Trainer, pl_module: LightningModule) -> bool:
    device = trainer.strategy.root_device
    if device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return free < 3 * tensor_bytes([*pl_module.parameters(), *pl_module.buffers()])
