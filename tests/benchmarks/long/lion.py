"""Lion, which torch does not have."""

from collections.abc import Iterable

import torch
from torch import nn, optim

__all__ = ["Lion"]


class Lion(optim.Optimizer):
    """The sign of a momentum; Chen and others (2023), arXiv 2302.06675, algorithm 2."""

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: float,
        *,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                momentum = self.state[parameter].setdefault("momentum", torch.zeros_like(parameter))
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.add_(
                    momentum.lerp(parameter.grad, 1 - group["betas"][0]).sign(), alpha=-group["lr"]
                )
                momentum.lerp_(parameter.grad, 1 - group["betas"][1])
        return loss
