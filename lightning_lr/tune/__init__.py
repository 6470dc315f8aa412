"""The best LR over whole runs: `python -m lightning_lr.tune`, and its sampler for any Optuna study.

Optuna is an extra, and imported only where it is used.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_lr.tune.sampler import CoarseToFine

__all__ = ["CoarseToFine"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from lightning_lr.tune import sampler  # noqa: PLC0415 (Optuna may not be installed)
    except ModuleNotFoundError as error:
        if not str(error.name).startswith("optuna"):
            raise
        raise ModuleNotFoundError(NO_OPTUNA, name="optuna") from error
    return getattr(sampler, name)


NO_OPTUNA = "lightning_lr.tune needs Optuna, which is not installed: `pip install 'lightning-lr[search]'`."
