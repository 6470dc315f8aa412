"""What README says of Lightning's own LearningRateFinder, beside LRRangeTest."""

import runpy
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.callbacks import LearningRateFinder

from lightning_lr import LRRangeTest

DIGITS = runpy.run_path(str(Path(__file__).parents[2] / "examples/digits.py"))


class Classifier(DIGITS["DigitsClassifier"]):
    """The example, with the attribute that Lightning asks for."""

    def __init__(self, lr):
        super().__init__()
        self.lr = lr

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=self.lr)


def weights(lr, *callbacks):
    """Return the LR of a run of one epoch in its last step, and the weights after it."""
    seed_everything(0, verbose=False)
    module = Classifier(lr)
    trainer = Trainer(
        max_epochs=1,
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DIGITS["DigitsData"]())
    return trainer.optimizers[0].param_groups[0]["lr"], list(module.parameters())


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.usefixtures("quick_figures")
@pytest.mark.parametrize(("finder", "same"), [(LearningRateFinder, False), (LRRangeTest, True)])
def test_whether_a_test_leaves_the_run_that_starts_with_its_lr(finder, same, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # Lightning's writes a checkpoint
    lr, after_a_test = weights(1e-3, finder())

    _, without = weights(lr)

    assert (lr > 1e-3) == same
    assert all(map(torch.equal, after_a_test, without)) == same
