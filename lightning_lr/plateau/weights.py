"""Weights and optimizer states as plain data, so that a fit, even a resumed one, can go back to them.

Unlike a `Snapshot`, which puts back a whole run within one process, this data fits into a checkpoint.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

__all__ = ["Weights", "copy_weights", "put_back", "weights_of_checkpoint"]

Weights: TypeAlias = dict[str, Any]


def copy_weights(module: nn.Module, optimizers: Iterable[Optimizer]) -> Weights:
    """Copy parameters, buffers and optimizer states to the CPU.

    Returns:
        Only tensors, numbers and containers; for a sharded tensor, the shard of this rank.

    Example:
        >>> model = nn.Linear(1, 1)
        >>> kept = copy_weights(model, [])
        >>> with torch.no_grad():
        ...     before, _ = model.weight.item(), model.weight.fill_(7.0)
        >>> put_back(kept, model, [])
        >>> model.weight.item() == before
        True
    """
    return {
        "module": {name: _copied(tensor) for name, tensor in _tensors(module)},
        "optimizers": [
            {
                index: _copied(optimizer.state.get(parameter, {}))
                for index, parameter in _parameters(optimizer)
            }
            for optimizer in optimizers
        ],
    }


def weights_of_checkpoint(checkpoint: Mapping[str, Any]) -> Weights:
    """Return the weights in a checkpoint of Lightning in the form of `copy_weights`.

    Example:
        >>> weights_of_checkpoint({"state_dict": {"scale": torch.ones(1)}})
        {'module': {'scale': tensor([1.])}, 'optimizers': []}
    """
    states = checkpoint.get("optimizer_states", [])
    return {
        "module": dict(checkpoint["state_dict"]),
        "optimizers": [dict(state["state"]) for state in states],
    }


def put_back(weights: Weights, module: nn.Module, optimizers: Sequence[Optimizer]) -> None:
    """Write weights and optimizer states back in place, but not the optimizers' settings.

    If `weights` holds no optimizer states, the optimizers stay unchanged.
    """
    kept = weights["module"]
    with torch.no_grad():
        for name, tensor in _tensors(module):
            if name in kept:
                _local(tensor).copy_(kept[name])
        for optimizer, states in zip(optimizers, weights["optimizers"], strict=False):
            for index, parameter in _parameters(optimizer):
                _put_back_state(optimizer, parameter, states.get(index, {}))


def _put_back_state(optimizer: Optimizer, parameter: Tensor, kept: Mapping[str, Any]) -> None:
    if not kept:
        optimizer.state.pop(parameter, None)
        return
    state = optimizer.state[parameter]
    for name in state.keys() - kept.keys():
        del state[name]
    for name, value in kept.items():
        current = state.get(name)
        if isinstance(value, Tensor) and isinstance(current, Tensor) and current.shape == value.shape:
            _local(current).copy_(value)
        else:
            # Optimizers keep their count of steps on the CPU.
            state[name] = _copied(value, parameter.device if name != "step" else None)


def _tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters()
    yield from module.named_buffers()


def _parameters(optimizer: Optimizer) -> Iterator[tuple[int, Tensor]]:
    """Yield the parameters with their indices in the optimizer's `state_dict`."""
    yield from enumerate(parameter for group in optimizer.param_groups for parameter in group["params"])


def _copied(value: Any, device: torch.device | None = None) -> Any:
    if isinstance(value, Tensor):
        return _local(value).to(device or torch.device("cpu"), copy=True)
    if isinstance(value, Mapping):
        return {key: _copied(each, device) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_copied(each, device) for each in value]
    return value


def _local(tensor: Tensor) -> Tensor:
    local: Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return local.detach()
