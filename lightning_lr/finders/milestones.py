"""When a finder tests: at the start of a fit, at the start of epochs, and at shares of the run."""

import math
from collections.abc import Iterable
from numbers import Integral

from lightning_lr.checkpoints.saved_state import count, number
from lightning_lr.checks import as_tuple, check_count, check_number
from lightning_lr.fit.lightnings import LightningModule, MisconfigurationException, Trainer
from lightning_lr.fit.run_length import REMEDY, run_length
from lightning_lr.policies import span

__all__ = ["check_milestones", "read_milestone", "steps_of_shares"]


def check_milestones(name: str, values: object) -> tuple[int | float, ...]:
    """Return milestones that are each an epoch (int) or a share of the run (float in [0, 1)).

    Raises:
        TypeError: They are no list of numbers.
        ValueError: One is out of range, or given twice.

    Example:
        >>> check_milestones("LRSearch(milestones=...)", [0, 10, 0.3])
        (0, 10, 0.3)
        >>> check_milestones("LRSearch(milestones=...)", [0, 1.0])
        Traceback (most recent call last):
        ValueError: `LRSearch(milestones=...)` must be in [0, 1), got 1.0.
    """
    milestones = as_tuple(name, values, "epochs (int) and shares of the run (float)")
    for index, milestone in enumerate(milestones):
        if isinstance(milestone, Integral):
            check_count(name, milestone, minimum=0)
        else:
            check_number(name, milestone, "[0, 1)")
        if milestone in milestones[:index]:
            raise ValueError(f"`{name}` must name each moment once, got {milestone!r} twice.")
    return milestones


def steps_of_shares(
    owner: str, milestones: Iterable[int | float], trainer: Trainer, pl_module: LightningModule
) -> dict[float, int]:
    """Return after how many steps each share of the run, but that of its start, is over; all ranks call it.

    Raises:
        MisconfigurationException: The run has no end.
    """
    shares = [each for each in milestones if each and not isinstance(each, Integral)]
    if not shares:
        return {}
    length = run_length(trainer, manual=not pl_module.automatic_optimization).steps
    if math.isinf(length):
        raise MisconfigurationException(
            f"`{owner}(milestones=...)` has {shares[0]}, a share of the run, and this run has no end. "
            f"{REMEDY['step']} Or name an epoch."
        )
    return {share: math.ceil(span(float(share), length)) for share in shares}


def read_milestone(value: object) -> int | float:
    """Read an epoch, or a share of the run, from a state."""
    return count(value) if isinstance(value, int) else number(value)
