"""How steep a loss is along the direction that an optimizer goes, which gives a range test its scale."""

import torch
from torch import Tensor
from torch.optim import ASGD, Optimizer

__all__ = ["descent"]

# What the optimizers that divide by a second moment keep in their groups.
_ADAPTIVE_KEYS = {"betas", "beta2_decay", "alpha", "rho", "lr_decay", "etas"}


def descent(optimizer: Optimizer, ratios: list[float]) -> Tensor:
    """Return <g, d>, the decrease of the loss per unit of LR, from the gradients that are there.

    With g the gradient, d = g / (1 - momentum) for SGD and d = sign(g) for the adaptive optimizers.

    Args:
        optimizer: After a backward pass.
        ratios: For each group the ratio of its LR to the one that the result is per unit of.

    Returns:
        A tensor of no dimensions, over all ranks where parameters are sharded.

    Example:
        >>> weight = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
        >>> (weight**2).sum().backward()
        >>> descent(torch.optim.SGD([weight], lr=0.1, momentum=0.5), [1.0]).item()
        200.0
        >>> descent(torch.optim.Adam([weight], lr=0.1), [1.0]).item()
        14.0
    """
    # A fused optimizer is handed the gradients as the AMP scaler has scaled them.
    scale = getattr(optimizer, "grad_scale", None)
    total = torch.zeros(())
    for group, ratio in zip(optimizer.param_groups, ratios, strict=True):
        gradients = [parameter.grad for parameter in group["params"] if parameter.grad is not None]
        adaptive = bool(_ADAPTIVE_KEYS & group.keys()) and not isinstance(optimizer, ASGD)
        speed = ratio if adaptive else ratio / (1 - group.get("momentum", 0))
        for gradient in gradients:
            unscaled = gradient if scale is None else gradient / scale
            term = (unscaled.abs() if adaptive else unscaled.square()).sum()
            # The sum of a sharded gradient is over the shards of all ranks.
            whole = term.full_tensor() if hasattr(term, "full_tensor") else term
            total = total.to(whole.device) + speed * whole.float()
    return total
