"""Group names, compared with Lightning's own monitor."""

from collections import defaultdict

import pytest
import torch
from lightning.pytorch.callbacks import LearningRateMonitor
from lightning.pytorch.utilities.types import LRSchedulerConfig
from torch.optim import SGD, AdamW
from torch.optim import lr_scheduler as torch_schedulers

from lightning_lr.fit.optimizers import group_names


def sgd(*lrs):
    return SGD([{"params": [torch.nn.Parameter(torch.ones(1))], "lr": lr} for lr in lrs])


@pytest.mark.parametrize(
    "optimizers",
    [
        [sgd(0.1)],
        [sgd(0.1, 0.2)],
        [sgd(0.1), sgd(0.1, 0.2), AdamW([torch.ones(1)])],
        [SGD([{"params": [torch.ones(1)], "name": "head"}])],
        [SGD([{"params": [torch.ones(1)], "name": "head"}, {"params": [torch.zeros(1)]}])],
    ],
)
def test_names_are_those_of_the_learning_rate_monitor(optimizers):
    wanted, _ = LearningRateMonitor()._find_names_from_optimizers(optimizers, [], defaultdict(int))
    assert group_names(optimizers) == wanted


def test_names_of_scheduled_optimizers_are_those_of_the_learning_rate_monitor():
    optimizers = [sgd(0.1), sgd(0.2), sgd(0.3)]
    configs = [
        LRSchedulerConfig(torch_schedulers.StepLR(optimizers[2], 1)),
        LRSchedulerConfig(torch_schedulers.StepLR(optimizers[1], 1), name="mine"),
    ]
    monitor = LearningRateMonitor()
    scheduled, seen, types = monitor._find_names_from_schedulers(configs)
    left, _ = monitor._find_names_from_optimizers(optimizers, seen, types)
    names = group_names(optimizers, [(config.scheduler.optimizer, config.name) for config in configs])
    assert names == [left[0], scheduled[1], scheduled[0]]


def test_groups_of_the_same_name_are_refused():
    group = {"params": [torch.ones(1)], "name": "head"}
    optimizer = SGD([group, {"params": [torch.zeros(1)], "name": "head"}])
    with pytest.raises(ValueError, match="lr-SGD has several called head"):
        group_names([optimizer])
