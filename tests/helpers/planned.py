"""The LRs of a real fit of two groups, and those that were planned for it."""

import torch

from helpers.toy import LRTrace, trainer


def two_groups(parameters):
    weight, bias = parameters
    return torch.optim.SGD([{"params": [weight], "lr": 0.3}, {"params": [bias], "name": "bias"}], lr=0.007)


def traced(module, *callbacks, **kwargs):
    """Return the LRs of every step of a real fit, one list per step."""
    trace = LRTrace()
    trainer(trace, *callbacks, **kwargs).fit(module)
    return [lrs for _, lrs in sorted(trace.lrs.items())]


def planned(preview):
    return [list(step.lrs.values()) for step in preview.every_step()]
