"""The one file that knows both Lightnings: `lightning.pytorch` and the distribution `pytorch_lightning`.

They are the same code, and an object of one is no instance of the other's classes. A program uses one of
them, or both by way of other libraries, and may import them after this package: sorted imports put
`lightning_lr` before `pytorch_lightning`. So nothing here imports a Lightning, or chooses one for all:

- Classes to ask `isinstance` for are stand-ins, which look among the classes that have been imported by then.
- What Lightning must know as its own, callbacks and `MisconfigurationException`, gets the classes of a
  Lightning as further bases as soon as that is imported.
- All else is an attribute of `lightning_of(trainer)`.

For the type checker these are the classes of `lightning.pytorch`.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, Any

from lightning_utilities.core.rank_zero import rank_zero_info, rank_zero_warn
from typing_extensions import override

if TYPE_CHECKING:
    from lightning.fabric.utilities.exceptions import MisconfigurationException
    from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
    from lightning.pytorch import Callback as BaseCallback
    from lightning.pytorch.callbacks import (
        BaseFinetuning,
        BatchSizeFinder,
        GradientAccumulationScheduler,
        LearningRateFinder,
        ModelCheckpoint,
        RichProgressBar,
        StochasticWeightAveraging,
        TQDMProgressBar,
        WeightAveraging,
    )
    from lightning.pytorch.core.optimizer import LightningOptimizer
    from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
    from lightning.pytorch.strategies import (
        DDPStrategy,
        DeepSpeedStrategy,
        FSDPStrategy,
        ModelParallelStrategy,
        Strategy,
    )
    from lightning.pytorch.utilities import CombinedLoader

__all__ = [
    "BaseCallback",
    "BaseFinetuning",
    "BatchSizeFinder",
    "CSVLogger",
    "Callback",
    "CombinedLoader",
    "DDPStrategy",
    "DeepSpeedStrategy",
    "FSDPStrategy",
    "GradientAccumulationScheduler",
    "LearningRateFinder",
    "LightningDataModule",
    "LightningModule",
    "LightningOptimizer",
    "Logger",
    "MisconfigurationException",
    "ModelCheckpoint",
    "ModelParallelStrategy",
    "RichProgressBar",
    "StochasticWeightAveraging",
    "Strategy",
    "TQDMProgressBar",
    "TensorBoardLogger",
    "Trainer",
    "TrainerFn",
    "WeightAveraging",
    "each_lightning",
    "installed",
    "is_overridden",
    "is_param_in_hook_signature",
    "lightning_of",
    "misconfigurations",
    "rank_zero_info",
    "rank_zero_warn",
]

# The first is what annotations mean, and what is taken where nothing else decides.
ROOTS = ("lightning.pytorch", "pytorch_lightning")


class TrainerFn:
    """What a Trainer is doing, as hooks and `trainer.state.fn` tell it: enums that equal their text."""

    FITTING = "fit"


def imported() -> list[ModuleType]:
    """Return the Lightnings that this process has imported."""
    found = (sys.modules.get(root) for root in ROOTS)
    # While it is being imported, a package is there without its names.
    return [each for each in found if each is not None and hasattr(each, "Trainer")]


def lightning_of(thing: object) -> ModuleType:
    """Return the Lightning of a Trainer, a module or a callback, or of a class of them."""
    for kind in (thing if isinstance(thing, type) else type(thing)).__mro__:
        for root in ROOTS:
            if f"{kind.__module__}.".startswith(f"{root}."):
                return sys.modules[root]
    # An object that only behaves like one.
    return imported()[0]


def installed() -> list[str]:
    """Return the names of the Lightnings that can be imported."""
    return [root for root in ROOTS if find_spec(root.partition(".")[0])]


def is_overridden(name: str, module: "LightningModule") -> bool:
    """Return whether a module has a method of its own in the place of Lightning's."""
    return bool(lightning_of(module).utilities.model_helpers.is_overridden(name, module))


def is_param_in_hook_signature(hook: Callable[..., Any], name: str, **options: Any) -> bool:
    """Return whether Lightning gives an argument of this name to a hook, by the rules of `options`."""
    return bool(imported()[0].utilities.signature_utils.is_param_in_hook_signature(hook, name, **options))


def misconfigurations() -> tuple[type[Exception], ...]:
    """Return the classes of MisconfigurationException to catch: what Lightning itself raises is not ours."""
    return (MisconfigurationException, *MisconfigurationException.__bases__)


_Task = Callable[[ModuleType], object]


@contextmanager
def each_lightning(task: _Task) -> Iterator[None]:
    """Do something with each Lightning: at once, or as soon as it is imported in this context."""
    _tasks.append(task)
    for lightning in imported():
        task(lightning)
    try:
        yield
    finally:
        _tasks.remove(task)


class _Watch(MetaPathFinder):
    """Leaves the import of a Lightning to the other finders, and does the tasks when it is done."""

    @override
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in ROOTS:
            return None
        others = (finder.find_spec for finder in sys.meta_path if finder is not self)
        spec = next((spec for find in others if (spec := find(fullname, path, target))), None)
        if spec is not None and spec.loader is not None:
            _do_after_import(spec.loader)
        return spec


def _do_after_import(loader: Any) -> None:
    """Let the loader of a Lightning do the tasks once it has executed it."""
    execute = loader.exec_module

    def exec_module(module: ModuleType) -> None:
        # The loader is its own again.
        vars(loader).pop("exec_module", None)
        execute(module)
        for task in tuple(_tasks):
            task(module)

    loader.exec_module = exec_module


class _StandIn(type):
    """Makes stand-ins: `isinstance` asks for the classes of that name in the Lightnings that are imported."""

    place: str

    def __new__(
        cls, name: str, bases: tuple[type, ...] = (), members: dict[str, Any] | None = None
    ) -> "_StandIn":
        if bases:
            raise TypeError(f"{bases[0].__name__} only stands for classes: derive {name} from BaseCallback.")
        return super().__new__(cls, name, bases, members or {})

    def _classes(cls) -> tuple[type, ...]:
        places = (sys.modules.get(root + cls.place) for root in ROOTS)
        return tuple(getattr(each, cls.__name__) for each in places if hasattr(each, cls.__name__))

    @override
    def __instancecheck__(cls, thing: object) -> bool:
        return isinstance(thing, cls._classes())

    @override
    def __subclasscheck__(cls, kind: type) -> bool:
        return issubclass(kind, cls._classes())


if not TYPE_CHECKING:
    _PLACES = {
        "": ("Callback", "LightningDataModule", "LightningModule", "Trainer"),
        ".callbacks": (
            *("BaseFinetuning", "BatchSizeFinder", "GradientAccumulationScheduler", "LearningRateFinder"),
            *("ModelCheckpoint", "RichProgressBar", "StochasticWeightAveraging", "TQDMProgressBar"),
            "WeightAveraging",
        ),
        ".core.optimizer": ("LightningOptimizer",),
        ".loggers": ("CSVLogger", "Logger", "TensorBoardLogger"),
        ".strategies": (
            *("DDPStrategy", "DeepSpeedStrategy", "FSDPStrategy", "ModelParallelStrategy", "Strategy"),
        ),
        ".utilities": ("CombinedLoader",),
    }
    globals().update(
        {
            name: _StandIn(name, (), {"place": place, "__module__": __name__})
            for place, names in _PLACES.items()
            for name in names
        }
    )

    # Python changes the bases of a class only if it has others than `object` and `Exception`.
    class _Unjoined:
        pass

    class _UnjoinedError(Exception):
        pass

    class BaseCallback(_Unjoined):
        """A callback of each Lightning that is imported."""

    class MisconfigurationException(_UnjoinedError):  # noqa: N818 (Lightning's name)
        """A conflict with the Trainer; the exception of this name of each Lightning that is imported."""


def _join(_: ModuleType) -> None:
    """Make our callbacks and exceptions those of the Lightnings that are imported."""
    lightnings = imported()
    BaseCallback.__bases__ = tuple(each.Callback for each in lightnings)
    MisconfigurationException.__bases__ = tuple(
        each.utilities.exceptions.MisconfigurationException for each in lightnings
    )


_tasks: list[_Task] = [_join]
sys.meta_path.insert(0, _Watch())
for _lightning in imported():
    _join(_lightning)
