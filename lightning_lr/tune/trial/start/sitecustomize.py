"""Runs at the start of every Python process of a trial, since its folder is first on PYTHONPATH.

So the command is the user's, to the letter, and whatever starts the processes of a fit (Lightning, torchrun,
a shell script) starts ones that know the LR. Only once Lightning is imported, `Trainer.fit` is replaced.
"""

import importlib.util
import json
import os
import sys
from collections.abc import Sequence
from functools import wraps
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

# As in `spec.py`, which cannot be imported here without Lightning.
_VARIABLE = "LIGHTNING_LR_TRIAL"
_TRAINERS = {"lightning.pytorch.trainer.trainer", "pytorch_lightning.trainer.trainer"}


class _OnImport(MetaPathFinder):
    """Replaces `Trainer.fit` right after the module with the Trainer was imported."""

    # Without `override`: `typing_extensions` may be missing in an interpreter that a script starts.
    def find_spec(  # type: ignore[explicit-override]
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path, target) if fullname in _TRAINERS else None
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def execute_and_replace(module: ModuleType) -> None:
            execute(module)
            replace_fit(module.Trainer)
            seed(json.loads(os.environ[_VARIABLE])["seed"])

        spec.loader.exec_module = execute_and_replace  # type: ignore[method-assign]
        return spec


def replace_fit(trainer_class: Any) -> None:
    """Let the first `fit` of a process be that of the trial."""
    fit = trainer_class.fit

    @wraps(fit)
    def fit_of_trial(trainer: Any, *args: Any, **kwargs: Any) -> None:
        # Only now: lightning_lr itself imports Lightning.
        from lightning_lr.tune.trial.fit import fit_of_trial  # noqa: PLC0415

        fit_of_trial(fit, trainer, *args, **kwargs)

    trainer_class.fit = fit_of_trial


def seed(number: int | None) -> None:
    """Seed the random numbers, for scripts that do not do it themselves."""
    import random  # noqa: PLC0415 (not at the start of every process)

    import numpy as np  # noqa: PLC0415
    import torch  # noqa: PLC0415

    if number is not None:
        os.environ.setdefault("PL_GLOBAL_SEED", str(number))
        random.seed(number)
        np.random.seed(number)  # noqa: NPY002 (what scripts draw from)
        torch.manual_seed(number)


def _run_hidden_one() -> None:
    """Run the `sitecustomize` that this one hides, if there is one."""
    here = Path(__file__).parent
    others = [each for each in sys.path if Path(each or ".").absolute() != here]
    spec = PathFinder.find_spec("sitecustomize", others)
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


if __name__ == "sitecustomize":
    if _VARIABLE in os.environ:
        # Where lightning_lr itself is found by the folder that the command was started in.
        sys.path.append(str(Path(__file__).parents[4]))
        sys.meta_path.insert(0, _OnImport())
    _run_hidden_one()
