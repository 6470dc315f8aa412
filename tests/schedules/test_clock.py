"""The clock of a run, against the ticks that Lightning's own loop makes."""

import math

import pytest
from helpers.toy import Toy, trainer
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from torch.optim import SGD
from torch.optim.lr_scheduler import LambdaLR

from lightning_lr.schedules.clock import Clock, clock_of


class Ticks(Callback):
    """Notes how often the scheduler was stepped before each optimizer step, and what the clock says."""

    def __init__(self):
        self.real, self.told = [], []

    def on_train_start(self, trainer, pl_module):
        self.clock = clock_of(trainer)

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        [config] = trainer.lr_scheduler_configs
        self.real.append(config.scheduler.last_epoch)
        self.told.append(self.clock.ticks(config.interval, config.frequency, trainer.global_step))


@pytest.mark.parametrize(
    ("accumulated", "scheduling"), [(1, None), (3, None), (1, {0: 3, 1: 2, 3: 4})], ids=["1", "3", "by epoch"]
)
@pytest.mark.parametrize(
    ("interval", "frequency"), [("step", 1), ("step", 2), ("step", 3), ("epoch", 1), ("epoch", 2)]
)
def test_the_clock_ticks_as_lightning_steps_schedulers(accumulated, scheduling, interval, frequency):
    class Scheduled(Toy):
        def configure_optimizers(self):
            optimizer = SGD(self.parameters(), lr=0.1)
            scheduler = LambdaLR(optimizer, lambda step: 1.0)
            return [optimizer], [{"scheduler": scheduler, "interval": interval, "frequency": frequency}]

    ticks = Ticks()
    callbacks = [GradientAccumulationScheduler(scheduling)] if scheduling else []
    run = trainer(ticks, *callbacks, max_epochs=5, accumulate_grad_batches=accumulated)
    run.fit(Scheduled(batches=10))
    assert ticks.real
    assert ticks.told == ticks.real


def test_a_run_without_an_end_goes_on():
    clock = Clock(steps=math.inf, epochs=math.inf, batches_per_epoch=4, accumulation={0: 1})
    assert clock.ticks("step", 1, 20_000) == 20_000
    assert clock.ticks("epoch", 1, 20_000) == 5_000
    stream = Clock(steps=math.inf, epochs=math.inf, batches_per_epoch=math.inf, accumulation={0: 2})
    assert stream.ticks("step", 4, 20) == 10
    assert stream.ticks("epoch", 1, 20) == 0


def test_a_module_that_steps_by_hand_is_taken_to_do_so_at_every_step():
    clock = Clock(steps=12, epochs=3, batches_per_epoch=4, accumulation={0: 1}, by_hand=True)
    assert clock.ticks("epoch", 1, 7) == 7
