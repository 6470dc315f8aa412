"""Runs a script as a process of a trial does, in one that has imported everything: SCRIPT ARGUMENTS..."""

import importlib
import json
import os
import runpy
import sys
from pathlib import Path

from lightning.pytorch import Trainer

from lightning_lr.tune.trial.spec import VARIABLE
from lightning_lr.tune.trial.start.sitecustomize import replace_fit, seed

replace_fit(Trainer)
if "pytorch_lightning" in Path(sys.argv[1]).read_text():
    replace_fit(importlib.import_module("pytorch_lightning").Trainer)
seed(json.loads(os.environ[VARIABLE])["seed"])
del sys.argv[0]
sys.path.insert(0, str(Path(sys.argv[0]).parent))
runpy.run_path(sys.argv[0], run_name="__main__")
