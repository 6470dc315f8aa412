"""Callbacks whose curves Custom Scalars shows, in every combination."""

from itertools import combinations

from lightning.pytorch.loggers import TensorBoardLogger

from helpers.finders import Learner
from helpers.scripted import Verdicts
from helpers.toy import trainer
from lightning_lr import LRDecay, LRLogger, LRRangeTest, LRSearch, PlateauDetector
from lightning_lr.policies import Constant, Cosine

OTHERS = {
    "decay": lambda: LRDecay(Cosine(), momentum=Constant(0.8)),
    "range test": lambda: LRRangeTest(30),
    "search": lambda: LRSearch(steps_per_trial=6, final_steps=6, budget=60),
    "plateau": lambda: PlateauDetector("val_loss", detector=Verdicts("ii")),
}
COMBINATIONS = [each for size in range(len(OTHERS) + 1) for each in combinations(OTHERS, size)]


class Validated(Learner):
    """Logs its validation loss itself."""

    def validation_step(self, batch, batch_idx):
        loss = super().validation_step(batch, batch_idx)
        self.log("val_loss", loss)
        return loss


def fit_with(names, root, version, module=Learner):
    """Fit with LRLogger and those of the others that have these names."""
    logger = TensorBoardLogger(root, name="", version=version)
    run = trainer(LRLogger(), *(OTHERS[name]() for name in names), logger=logger)
    run.fit(module())
