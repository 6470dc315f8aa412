"""The plans of a fit: of the settings, for its length and its parameter groups."""

from lightning_lr.decay.other_values import check_others
from lightning_lr.decay.saved_plan import SavedPlan
from lightning_lr.decay.schedule import Schedule
from lightning_lr.decay.settings import Settings
from lightning_lr.decay.writer import check_names
from lightning_lr.fit.lightnings import LightningModule, MisconfigurationException, Trainer
from lightning_lr.fit.run_length import REMEDY, check_epochs_end_together, run_length

__all__ = ["schedule_of"]


def schedule_of(
    trainer: Trainer, pl_module: LightningModule, settings: Settings, saved: SavedPlan | None
) -> Schedule:
    """Return the plans of a fit whose loaders are set up; all ranks call it.

    Args:
        trainer: The Trainer of the fit.
        pl_module: Its module.
        settings: The arguments of LRDecay.
        saved: What the checkpoint holds if the run is resumed.

    Raises:
        MisconfigurationException: There are none: with what to change.
    """
    if settings.interval == "epoch":
        check_epochs_end_together(
            trainer,
            "`LRDecay(interval='epoch')` sets one LR on all ranks",
            otherwise="it trains with another LR than the others for a while",
            remedy="Use `LRDecay(interval='step')`",
        )
    length = run_length(trainer, manual=not pl_module.automatic_optimization)
    cooldown, cooldowns = (saved.cooldown, saved.cooldowns) if saved else (None, {})
    if saved and saved.has_cooldown:
        # A cooldown continues as it began, whatever the Trainer's bounds are now.
        length = saved.horizon
    try:
        schedule = settings.schedule(length, cooldown, cooldowns)
    except ValueError as error:
        raise MisconfigurationException(f"LRDecay: {error} {REMEDY[settings.interval]}") from error
    schedule.check()
    check_names(trainer, schedule)
    check_others(trainer.optimizers, schedule)
    return schedule
