"""Writes an LR into a copy of a config, where the optimizer is configured in it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from lightning_lr.fit.lightnings import MisconfigurationException

__all__ = ["apply_to"]

_NAMES = {"lr", "learning_rate"}


def apply_to(config: Path, *, old: float, new: float) -> tuple[Path, list[str]]:
    """Copy a config with all LRs of the optimizers and of the model multiplied by `new / old`.

    Everything else stays to the letter, comments included.

    Args:
        config: The config; the copy is `NAME.tuned.yaml` beside it.
        old: The highest LR of the run as it is configured.
        new: What it is to be.

    Returns:
        The copy, and which keys were changed.

    Raises:
        MisconfigurationException: It has no LR, or is no YAML.
    """
    text = config.read_text(encoding="utf-8")
    try:
        root = yaml.compose(text)
    except yaml.YAMLError as error:
        raise MisconfigurationException(f"--apply: {config} is no YAML: {error}") from error
    found = list(_lrs(root, ()))
    if not found:
        raise MisconfigurationException(
            f"--apply: {config} configures no LR (`lr` or `learning_rate` of `model`, or of an optimizer), so"
            f" there is no place for {new:.3g}. Give it to the optimizer in your code."
        )
    for _, node in sorted(found, key=lambda each: -each[1].start_mark.index):
        lr = float(node.value) * (new / old)
        text = f"{text[: node.start_mark.index]}{lr:.6g}{text[node.end_mark.index :]}"
    copy = config.with_suffix(f".tuned{config.suffix}")
    copy.write_text(text, encoding="utf-8")
    return copy, [".".join(path) for path, _ in found]


def _lrs(node: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], yaml.ScalarNode]]:
    """Yield the places of LRs: below `model`, or below a key with `optimizer` in its name."""
    if isinstance(node, yaml.SequenceNode):
        for index, each in enumerate(node.value):
            yield from _lrs(each, (*path, str(index)))
    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        place = (*path, str(key.value))
        is_of_optimizer = place[0] == "model" or any("optimizer" in part for part in place)
        if place[-1] in _NAMES and is_of_optimizer and _is_number(value):
            yield place, value
        else:
            yield from _lrs(value, place)


def _is_number(node: Any) -> bool:
    try:
        return isinstance(node, yaml.ScalarNode) and float(node.value) > 0
    except ValueError:
        return False
