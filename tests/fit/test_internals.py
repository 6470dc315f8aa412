"""The private names of Lightning and torch: that they are there, and what is told where one is not."""

import ast
import re
from pathlib import Path
from types import SimpleNamespace

import lightning
import pytest
import torch
from helpers.toy import Toy, trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.callbacks import LearningRateFinder, StochasticWeightAveraging
from lightning.pytorch.loggers import TensorBoardLogger

import lightning_lr
from lightning_lr import LRRangeTest, LRSearch, PlateauDetector
from lightning_lr.fit.internals import PRIVATE_NAMES, check_private_names

OF_TORCH = ("DataLoader", "DataLoaderIter", "Tensor", "LRScheduler", "SequentialLR", "ChainedScheduler")
PACKAGE = Path(lightning_lr.__file__).parent
# The two places for private names: of Lightning and torch, and of TensorBoard.
EXCEPT = {"fit/internals.py", "output/event_file.py"}


def private_names(tree):
    """Return the private names that a module uses of something else than itself, and those that it makes."""
    used, made = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            (made if isinstance(node.ctx, ast.Store) and is_own(node.value) else used).add(node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            used.add(node.value)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            made.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            made.add(node.id)
        elif isinstance(node, ast.ImportFrom):
            used.update(alias.name for alias in node.names)
    return {name for name in used if re.fullmatch("_[a-z][a-z0-9_]*", name)}, made


def is_own(node):
    return isinstance(node, ast.Name) and node.id in {"self", "cls", "curve"}


def test_no_private_name_of_others_is_used_anywhere_else():
    trees = {str(path.relative_to(PACKAGE)): ast.parse(path.read_text()) for path in PACKAGE.rglob("*.py")}
    names = {path: private_names(tree) for path, tree in trees.items()}
    # The names of the fields of a namedtuple are documented, and so is `os._exit`.
    ours = set.union({"_fields", "_exit"}, *(made for _, made in names.values()))
    foreign = {path: used - ours for path, (used, _) in names.items() if path not in EXCEPT}
    assert {path: used for path, used in foreign.items() if used} == {}
    # The search finds what there is: in the one place, all that the table lists.
    used, _ = names["fit/internals.py"]
    listed = {part for name in PRIVATE_NAMES for part in name.split(".") if part.startswith("_")}
    assert used - ours == listed - ours


def test_the_private_names_exist(tmp_path):
    checked = []

    class Look(Callback):
        def on_train_start(self, trainer, pl_module):
            averaging = StochasticWeightAveraging(0.1)
            roots = {"LightningModule": pl_module, "StochasticWeightAveraging": averaging}
            roots["LearningRateFinder"] = LearningRateFinder()
            roots |= {"TensorBoardLogger": TensorBoardLogger(tmp_path), "Callback": self}
            check_private_names(trainer=trainer, **roots)
            checked.append({*roots, "trainer", *OF_TORCH})

    trainer(Look(), max_epochs=1).fit(Toy())
    assert checked == [{name.split(".")[0] for name in PRIVATE_NAMES}]


class Roots(SimpleNamespace):
    """Stands for objects of a Lightning that has all names but one."""

    def __init__(self, missing):
        super().__init__()
        for name in PRIVATE_NAMES:
            place = self
            for part in name.split("."):
                if name == missing and part == name.split(".")[-1]:
                    break
                vars(place).setdefault(part, SimpleNamespace())
                place = vars(place)[part]


@pytest.mark.parametrize("name", PRIVATE_NAMES)
def test_a_name_that_is_gone_is_told_with_the_version_and_the_mend(name):
    roots = vars(Roots(name))
    library = torch if name.split(".")[0] in OF_TORCH else lightning
    with pytest.raises(MisconfigurationException) as caught:
        check_private_names(**roots)
    told = str(caught.value)
    assert told.startswith(f"{library.__name__} {library.__version__} has no `{name}` any more")
    assert PRIVATE_NAMES[name] in told
    assert f"`pip install '{library.__name__}" in told
    assert "do without the callback" in told
    check_private_names(**vars(Roots(None)))


@pytest.mark.parametrize("test", [LRRangeTest, LRSearch])
def test_a_startup_test_is_refused_before_any_step(test, monkeypatch):
    """Not deep down, where steps have been made already."""
    monkeypatch.delattr(LightningModule, "_on_before_batch_transfer")
    steps = []

    class Counted(Toy):
        def training_step(self, batch, batch_idx):
            steps.append(batch_idx)

    module = Counted()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    gone = r"has no `LightningModule\._on_before_batch_transfer`"
    with pytest.raises(MisconfigurationException, match=gone):
        trainer(test()).fit(module)
    assert not steps
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())


def test_an_averaging_without_its_name_is_refused_before_any_step():
    swa = StochasticWeightAveraging(0.1, swa_epoch_start=1)
    del swa._swa_lrs
    with pytest.raises(MisconfigurationException, match=r"has no `StochasticWeightAveraging\._swa_lrs`"):
        trainer(swa, PlateauDetector()).fit(Toy())
