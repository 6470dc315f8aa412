"""Runs a script or a module as a process of a trial does, in one that has imported everything."""

import importlib
import json
import os
import runpy
import sys
from pathlib import Path

from lightning.pytorch import Trainer

from lightning_lr.tune.trial.spec import VARIABLE
from lightning_lr.tune.trial.start.sitecustomize import replace_fit, seed

if __name__ == "__main__":
    replace_fit(Trainer)
    script = Path(sys.argv[1])
    if script.suffix == ".py" and "pytorch_lightning" in script.read_text():
        replace_fit(importlib.import_module("pytorch_lightning").Trainer)
    seed(json.loads(os.environ[VARIABLE])["seed"])
    del sys.argv[0]
    if script.suffix == ".py":
        sys.path.insert(0, str(script.parent))
        runpy.run_path(str(script), run_name="__main__")
    else:
        sys.path.insert(0, str(Path.cwd()))
        runpy.run_module(str(script), run_name="__main__", alter_sys=True)
