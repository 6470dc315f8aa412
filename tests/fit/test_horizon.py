"""Where the Trainer's bounds end a run."""

import math

import pytest

from lightning_lr.fit.horizon import Horizon, horizon


@pytest.mark.parametrize(
    ("max_epochs", "max_steps", "batches", "accumulation", "wanted"),
    [
        (3, -1, 10, {0: 1}, (30, 3)),
        (3, -1, 10, {0: 4}, (9, 3)),
        (3, 20, 10, {0: 1}, (20, 2)),
        (3, 21, 10, {0: 1}, (21, 3)),
        (3, 40, 10, {0: 1}, (30, 3)),
        (-1, 25, 10, {0: 4}, (25, 9)),
        (-1, -1, 10, {0: 1}, (math.inf, math.inf)),
        (5, -1, math.inf, {0: 1}, (math.inf, 5)),
        (-1, 70, math.inf, {0: 1}, (70, math.inf)),
        (5, 70, math.inf, {0: 1}, (70, 5)),
        (6, -1, 10, {0: 1, 2: 5, 4: 10}, (26, 6)),
        (6, 23, 10, {0: 1, 2: 5, 4: 10}, (23, 4)),
        (1, -1, 10, {0: 1, 2: 5}, (10, 1)),
        (-1, 25, 10, {0: 1, 2: 5}, (25, 5)),
        (0, -1, 10, {0: 1}, (0, 0)),
    ],
)
def test_horizon(max_epochs, max_steps, batches, accumulation, wanted):
    found = horizon(
        max_epochs=max_epochs, max_steps=max_steps, batches_per_epoch=batches, accumulation=accumulation
    )
    assert found == Horizon(*wanted)
