"""Experiment trackers that steps write to past Lightning's loggers: `wandb.log`, `writer.add_scalar`."""

import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import FunctionType, ModuleType
from typing import Any

from lightning_lr.fit.objects import package_of

__all__ = ["Trackers", "ignoring"]

# By the module that has been imported, and how the names of what writes begin.
_TRACKERS = {
    "comet_ml": "log_",
    "mlflow": "log_",
    "tensorboardX": "add_",
    "torch.utils.tensorboard": "add_",
    "wandb": "log",
    # The hooks of `wandb.watch`.
    "wandb.integration.torch.wandb_torch": "log_tensor",
}


class Trackers:
    """The functions and methods that write to trackers, of those that have been imported.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from torch.utils.tensorboard import SummaryWriter
        >>> trackers = Trackers()
        >>> with TemporaryDirectory() as folder, SummaryWriter(folder) as writer:
        ...     trackers.silence()
        ...     _ = writer.add_scalar("loss", 0.5)
        ...     trackers.let_write()
        ...     writer.add_scalar("loss", 0.25)
    """

    def __init__(self) -> None:
        self._before = list[tuple[Any, str, Any]]()

    def silence(self) -> None:
        """Let them do nothing."""
        for tracker, prefix in _TRACKERS.items():
            module = sys.modules.get(tracker)
            for owner, name in set() if module is None else _writing(module, prefix):
                before, nothing = vars(owner)[name], ignoring(name)
                # Some classes cannot be changed.
                with suppress(AttributeError, TypeError):
                    setattr(owner, name, staticmethod(nothing) if issubclass(type(owner), type) else nothing)
                    self._before.append((owner, name, before))

    def let_write(self) -> None:
        """Give them back what they do; to do so again is harmless."""
        for owner, name, value in self._before:
            setattr(owner, name, value)


def ignoring(name: str) -> Callable[..., object]:
    """Return a function that does nothing, in the place of a method of this name."""
    return _close_figures if name == "add_figure" else _ignore


class _Nothing:
    """What an artifact is that was not logged: `log_artifact(...).wait()` goes on."""

    def __getattr__(self, name: str) -> "_Nothing":
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __call__(self, *args: object, **kwargs: object) -> "_Nothing":
        return self

    def __getitem__(self, key: object) -> "_Nothing":
        return self

    def __iter__(self) -> Iterator[object]:
        return iter(())

    def __bool__(self) -> bool:
        return False


def _writing(module: ModuleType, prefix: str) -> set[tuple[Any, str]]:
    """Return what writes, as the module or the class that has it and its name there."""
    found: set[tuple[Any, str]] = set()
    for name, value in vars(module).items():
        # By its real class, since to ask one that is loaded when it is needed would load it.
        if issubclass(type(value), type):
            package = package_of(module.__name__)
            kinds = [kind for kind in value.__mro__ if package_of(kind.__module__) == package]
            found |= {(kind, each) for kind in kinds for each in vars(kind) if _writes(kind, each, prefix)}
        elif name.startswith(prefix) and callable(value):
            found.add((module, name))
    return found


def _writes(kind: type, name: str, prefix: str) -> bool:
    return name.startswith(prefix) and issubclass(type(vars(kind)[name]), FunctionType)


def _ignore(*_: Any, **__: Any) -> _Nothing:
    return _Nothing()


def _close_figures(*args: Any, **kwargs: Any) -> None:
    """Do what `SummaryWriter.add_figure(tag, figure, step, close=True)` does beside writing.

    Otherwise all figures of a test would be open at once.
    """
    given = dict(zip(("tag", "figure", "global_step", "close"), args, strict=False)) | kwargs
    pyplot, figures = sys.modules.get("matplotlib.pyplot"), given["figure"]
    if pyplot is not None and given.get("close", True):
        for each in figures if isinstance(figures, list) else [figures]:
            pyplot.close(each)
