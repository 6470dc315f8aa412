"""Weights and optimizer states as plain data, so that a fit, even a resumed one, can go back to them.

Unlike a `Snapshot`, which puts back a whole run within one process, this data fits into a checkpoint.
"""

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, repeat
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lightning_lr.checkpoints.saved_state import Read, each_of, mapping, optional, read_entries, text
from lightning_lr.fit.optimizers import with_inner

__all__ = ["Weights", "copy_weights", "put_back", "read_weights", "weights_of_checkpoint"]

Weights: TypeAlias = dict[str, Any]

# The settings of a group, which others may have changed on purpose. Whatever else it holds is state, such as
# the counts of schedule-free optimizers and the distance of Prodigy.
_SETTINGS = frozenset(
    {"params", "param_names", "lr", "initial_lr", "max_lr", "min_lr", "swa_lr", "weight_decay"}
    | {"initial_weight_decay"}
    | {"momentum", "betas", "base_momentum", "max_momentum", "fused", "foreach", "capturable"}
)

_NOTHING: dict[str, Any] = {"kind": None, "states": {}, "others": {}, "groups": [], "attributes": {}}
_OPTIMIZER: dict[str, Read] = {
    "kind": optional(text),
    **dict.fromkeys(("states", "others", "attributes"), mapping),
    "groups": each_of(mapping),
}


def copy_weights(
    module: nn.Module, optimizers: Iterable[Optimizer], averages: Mapping[str, Tensor] | None = None
) -> Weights:
    """Copy parameters, buffers and optimizer states to the CPU, those of wrapped optimizers too.

    Args:
        module: Whose parameters and buffers.
        optimizers: Whose states.
        averages: Other tensors that belong to the weights, such as averages of them, by names of their own.

    Returns:
        Only tensors, numbers and containers; for a sharded tensor, the shard of this rank.

    Example:
        >>> model = nn.Linear(1, 1)
        >>> kept = copy_weights(model, [])
        >>> with torch.no_grad():
        ...     before, _ = model.weight.item(), model.weight.fill_(7.0)
        >>> put_back(kept, model, [])
        []
        >>> model.weight.item() == before
        True
    """
    names = _names(module)
    return {
        "module": {name: _copied(tensor) for name, tensor in _tensors(module, averages)},
        "optimizers": [_copied_optimizer(optimizer, names) for optimizer in _with_states(optimizers)],
    }


def weights_of_checkpoint(checkpoint: Mapping[str, Any], averages: Iterable[str] = ()) -> Weights:
    """Return the weights in a checkpoint of Lightning in the form of `copy_weights`.

    Args:
        checkpoint: What the Trainer has saved.
        averages: The names of the averages that belong to the weights: of a callback, an attribute of it, and
            a tensor there.

    Example:
        >>> weights_of_checkpoint({"state_dict": {"scale": torch.ones(1)}})
        {'module': {'scale': tensor([1.])}, 'optimizers': []}
    """
    module = dict(checkpoint["state_dict"])
    if "current_model_state" in checkpoint:
        # A callback that averages has put its average in the place of the weights.
        averaged = {f"module.{name}": tensor for name, tensor in module.items()}
        averaged |= checkpoint["averaging_state"]
        module = dict(checkpoint["current_model_state"])
        for name in averages:
            _, _, tensor = name.split(".", 2)
            module[name] = averaged[tensor]
    return {"module": module, "optimizers": list(map(_of_state_dict, checkpoint.get("optimizer_states", [])))}


def read_weights(value: object) -> Weights:
    """Read weights from a checkpoint of a callback; raises ValueError if they are not valid."""
    return read_entries(value, {"module": mapping, "optimizers": each_of(_read_optimizer)})


def _read_optimizer(value: object) -> dict[str, Any]:
    found = mapping(value)
    # Version 0.1.0 wrote the states alone.
    return read_entries(found if "states" in found else _NOTHING | {"states": found}, _OPTIMIZER)


def put_back(
    weights: Weights,
    module: nn.Module,
    optimizers: Sequence[Optimizer],
    averages: Mapping[str, Tensor] | None = None,
) -> list[str]:
    """Write weights and optimizer states back in place, but not the optimizers' settings.

    If `weights` holds no optimizer states, the optimizers stay unchanged.

    Returns:
        The optimizers that are others than those whose states were kept: they start afresh.
    """
    kept, names = weights["module"], _names(module)
    afresh: list[str] = []
    with torch.no_grad():
        for name, tensor in _tensors(module, averages):
            if name in kept:
                _local(tensor).copy_(kept[name])
        if weights["optimizers"]:
            pairs = zip(_with_states(optimizers), chain(weights["optimizers"], repeat(None)), strict=False)
            afresh += [
                type(optimizer).__name__
                for optimizer, states in pairs
                if not _put_back_optimizer(optimizer, states, names)
            ]
    return afresh


def _with_states(optimizers: Iterable[Optimizer]) -> Iterator[Optimizer]:
    """Yield optimizers and those that they wrap, but for one that shows the state of another as its own."""
    seen: set[int] = set()
    for optimizer in with_inner(optimizers):
        state = getattr(optimizer, "state", None)
        if isinstance(state, Mapping) and id(state) not in seen:
            seen.add(id(state))
            yield optimizer


def _copied_optimizer(optimizer: Optimizer, names: Mapping[int, str]) -> dict[str, Any]:
    state: Any = optimizer.state
    return {
        "kind": type(optimizer).__name__,
        "states": {key: _copied(state.get(parameter, {})) for key, parameter in _keys(optimizer, names)},
        "others": {key: _copied(value) for key, value in state.items() if isinstance(key, str)},
        "groups": [_copied(_state_in(group)) for group in optimizer.param_groups],
        "attributes": _counts(optimizer),
    }


def _of_state_dict(state: Mapping[str, Any]) -> dict[str, Any]:
    groups = state.get("param_groups", ())
    return _NOTHING | {
        "states": dict(state["state"]),
        "groups": list(map(_state_in, groups)),
        "sizes": [len(group["params"]) for group in groups],
        "settings": sorted({name for group in groups for name in group}),
    }


def _put_back_optimizer(
    optimizer: Optimizer, kept: Mapping[str, Any] | None, names: Mapping[int, str]
) -> bool:
    """Put the state of an optimizer back, or forget it if `kept` is not of this one."""
    if kept is None or not _is_of(kept, optimizer):
        optimizer.state.clear()
        return False
    modes = _modes(optimizer)
    states = kept["states"]
    for index, (key, parameter) in enumerate(_keys(optimizer, names)):
        _put_back_state(optimizer, parameter, states.get(key, states.get(index, {})))
    state: Any = optimizer.state
    for name in [key for key in state if isinstance(key, str)]:
        del state[name]
    state.update({key: _copied(value) for key, value in kept["others"].items()})
    for group, entries in zip(optimizer.param_groups, kept["groups"], strict=False):
        group.update({name: _copied(value) for name, value in entries.items() if name in group})
    vars(optimizer).update(kept["attributes"])
    if _modes(optimizer) != modes:
        # The kept weights are those of the other mode of a schedule-free optimizer.
        switch: Any = optimizer
        (switch.train if any(modes) else switch.eval)()
    return True


def _modes(optimizer: Optimizer) -> list[Any]:
    return [
        getattr(optimizer, "train_mode", None),
        *(group.get("train_mode") for group in optimizer.param_groups),
    ]


def _is_of(kept: Mapping[str, Any], optimizer: Optimizer) -> bool:
    """Tell whether a kept state is of such an optimizer, over the same parameters or fewer."""
    if kept["kind"] not in (None, type(optimizer).__name__):
        return False
    sizes, now = kept.get("sizes"), [len(group["params"]) for group in optimizer.param_groups]
    # Numbers stand for the same parameters only if groups have been added behind those that were there.
    return sizes is None or (
        sizes == now[: len(sizes)] and set(getattr(optimizer, "defaults", ())) <= {*kept["settings"]}
    )


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
            # Most optimizers keep their count of steps on the CPU.
            state[name] = _copied(value, parameter.device if name != "step" else None)


def _state_in(group: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in group.items()
        if name not in _SETTINGS and isinstance(value, Tensor | int | float)
    }


def _counts(optimizer: Optimizer) -> dict[str, Any]:
    """Return the numbers that an optimizer keeps in its own attributes, such as the mode of a wrapper."""
    return {
        name: value
        for name, value in vars(optimizer).items()
        if isinstance(value, int | float) and not name.startswith("_")
    }


def _names(module: nn.Module) -> dict[int, str]:
    return {id(parameter): name for name, parameter in module.named_parameters()}


def _tensors(module: nn.Module, averages: Mapping[str, Tensor] | None) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters()
    yield from module.named_buffers()
    yield from (averages or {}).items()


def _keys(optimizer: Optimizer, names: Mapping[int, str]) -> Iterator[tuple[str | int, Tensor]]:
    """Yield the parameters with their names, or their numbers in the optimizer's `state_dict`."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    yield from ((names.get(id(parameter), index), parameter) for index, parameter in enumerate(parameters))


def _copied(value: Any, device: torch.device | None = None) -> Any:
    if isinstance(value, Tensor):
        return _local(value).to(device or torch.device("cpu"), copy=True)
    if isinstance(value, Mapping):
        return {key: _copied(each, device) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_copied(each, device) for each in value]
    return copy.deepcopy(value)


def _local(tensor: Tensor) -> Tensor:
    local: Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return local.detach()
