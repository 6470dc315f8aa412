"""The plan from a command line."""

import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import apart
from lightning.pytorch import Trainer

EXAMPLES = Path(__file__).parents[2] / "examples"
SCRIPT = """
import sys
import torch
from lightning.pytorch import Trainer
from lightning_lr import LRDecay, preview
from beside import Module

assert __name__ == "__main__" and callable(preview)
print("arguments", sys.argv[1:])
trainer = Trainer(max_epochs=int(sys.argv[1]), callbacks=[LRDecay(warmup=5)])
try:
    trainer.fit(Module())
except Exception:
    print("swallowed")
print("trained")
"""
MODULE = """
import torch
from lightning.pytorch import LightningModule

class Module(LightningModule):
    def __init__(self, lr: float = 0.5):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.lr = lr

    def training_step(self, batch, batch_idx):
        raise AssertionError

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.lr)

    def train_dataloader(self):
        return torch.utils.data.DataLoader(torch.zeros(12, 1), batch_size=4)
"""
CONFIG = """
seed_everything: false
trainer:
  max_epochs: 2
  accelerator: cpu
  callbacks:
    - class_path: lightning_lr.LRDecay
      init_args: {interval: step}
model:
  class_path: beside.Module
  init_args: {lr: 0.25}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a script, the module that it imports, and a config; the process works in it."""
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts/train.py").write_text(SCRIPT)
    (tmp_path / "scripts/beside.py").write_text(MODULE)
    (tmp_path / "run.yaml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    # Put back what the command changes in a process that is its own.
    monkeypatch.setattr(sys, "argv", ["preview"])
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.setenv("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
    yield tmp_path
    sys.modules.pop("beside", None)


@pytest.fixture
def shown(folder, capsys):  # noqa: ARG001 (where it is run)
    """The command in this process: what it printed and its exit code."""
    main = runpy.run_module("lightning_lr.preview.__main__", run_name="preview")["main"]
    fit = Trainer.fit

    def run(*arguments):
        try:
            main(list(arguments))
            code = 0
        except SystemExit as ended:
            code = ended.code
        assert Trainer.fit is fit
        return code, *capsys.readouterr()

    return run


@pytest.mark.filterwarnings("ignore:You defined a")
def test_a_script_runs_up_to_its_fit(shown, folder):
    code, out, _ = shown("scripts/train.py", "3", "--flag")
    assert code == 0
    lines = out.splitlines()
    assert lines[0] == "arguments ['3', '--flag']"
    assert "trained" not in out
    assert "swallowed" not in out
    assert lines[1] == "Linear(end=0.0, start=1.0) per epoch, warm-up 5 of 9 steps"
    assert [line.split() for line in lines[3:]] == [
        ["epoch", "step", "factor", "lr/SGD"],
        *(
            [str(step // 3), str(step), f"{factor:.4g}", f"{factor * 0.5:.4g}"]
            for step, factor in enumerate((1 - step // 3 / 3) * min(1, step / 5) for step in range(9))
            if step in {0, 3, 5, 6, 8}
        ),
    ]
    assert sorted(each.name for each in folder.iterdir()) == ["run.yaml", "scripts"]


@pytest.mark.filterwarnings("ignore:You defined a")
def test_a_config_with_class_paths_needs_no_script(shown, folder, monkeypatch):
    monkeypatch.syspath_prepend(folder / "scripts")
    code, out, _ = shown("--config", "run.yaml", "--png", "plan.png", "--trainer.max_epochs=4")
    assert code == 0
    assert out.splitlines()[0] == "Linear(end=0.0, start=1.0) per step, 12 steps"
    assert out.splitlines()[3].split() == ["0", "0", "1", "0.25"]
    assert out.endswith("The figure is in plan.png.\n")
    assert (folder / "plan.png").read_bytes().startswith(b"\x89PNG\r\n")
    assert sorted(each.name for each in folder.iterdir()) == ["plan.png", "run.yaml", "scripts"]


@pytest.mark.filterwarnings("ignore:You defined a")
def test_a_resumed_fit_is_told(shown, folder, monkeypatch):
    monkeypatch.syspath_prepend(folder / "scripts")
    code, out, _ = shown("--config", "run.yaml", "--ckpt_path", "last.ckpt")
    assert code == 0
    assert out.endswith("The fit resumes from last.ckpt; this is the plan of a run from the start.\n")


ONE_LINE = {
    "missing config": (["--config", "nowhere.yaml"], "There is no file `nowhere.yaml`."),
    "missing config of a script": (["scripts/train.py", "--config=no.yml"], "There is no file `no.yml`."),
    "missing script": (["nowhere.py", "fit"], "There is no file `nowhere.py`."),
    "no fit": (["scripts/beside.py"], "The script ended without calling `Trainer.fit`."),
    "no LRDecay": (["--config", "run.yaml", "--trainer.callbacks=null"], "There is no LRDecay"),
    "no end": (["--config", "run.yaml", "--trainer.max_epochs=-1"], "Set `Trainer(max_steps=...)`"),
    "misspelt": (["--config", "run.yaml", "--trainer.max_epocks=3"], "max_epocks"),
    "no class": (["--config", "flat.yaml"], "put it first: `python -m lightning_lr.preview train.py fit"),
    "no folder for the figure": (
        ["--config", "run.yaml", "--png", "nowhere/plan.png"],
        "The figure could not be saved: ",
    ),
}


@pytest.mark.filterwarnings("ignore:You defined a")
@pytest.mark.parametrize("name", ONE_LINE)
def test_a_mistake_is_one_line_that_says_what_to_do(name, shown, folder, monkeypatch):
    monkeypatch.syspath_prepend(folder / "scripts")
    (folder / "flat.yaml").write_text(CONFIG.partition("model:")[0] + "model: {lr: 0.25}\n")
    arguments, message = ONE_LINE[name]
    code, _, err = shown(*arguments)
    assert code == 1
    [line] = err.splitlines()
    assert line.startswith("python -m lightning_lr.preview: ")
    assert message in line


def test_without_arguments_the_usage_is_told(shown):
    code, _, err = shown()
    assert code == 2
    assert "--config RUN.YAML" in err


@pytest.fixture
def digits(tmp_path):
    """The repository's example in a folder of its own, and the command on it."""
    shutil.copytree(EXAMPLES, tmp_path / "examples", ignore=shutil.ignore_patterns("__pycache__"))

    def run(script, *arguments):
        result = apart.run(script, *arguments, cwd=tmp_path, limit=300)
        assert result.returncode == 0, result.stderr
        return result

    return tmp_path, run


def test_the_example_of_the_repository(digits):
    folder, _ = digits
    command = ["examples/digits.py", "fit", "--config", "examples/digits.yaml", "--png", "plan.png"]
    result = subprocess.run(
        [sys.executable, "-m", "lightning_lr.preview", *command],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    # 1,437 images in batches of 64, 15 times.
    assert lines[0] == "Cosine(end=0.01) per step, warm-up 18 of 345 steps"
    assert lines[1] == "base LR: found at fit start by LRRangeTest, in place of 0.003"
    assert lines[3].split() == ["epoch", "step", "factor"]
    assert lines[4].split() == ["0", "0", "0"]
    assert lines[-3].split() == ["14", "344", "0.01002"]
    assert sorted(each.name for each in folder.iterdir()) == ["examples", "plan.png"]


def test_the_config_that_a_run_has_saved(digits):
    folder, run = digits
    # No epoch: the config is saved all the same.
    run(folder / "examples/digits.py", "fit", "--config", "examples/digits.yaml", "--trainer.max_epochs=0")
    saved = ["--config", "logs/digits/version_0/config.yaml", "--trainer.max_epochs=2"]
    result = run("lightning_lr.preview", "examples/digits.py", "fit", *saved)
    assert result.stdout.splitlines()[0] == "Cosine(end=0.01) per step, warm-up 3 of 46 steps"
    assert [each.name for each in (folder / "logs/digits").iterdir()] == ["version_0"]
