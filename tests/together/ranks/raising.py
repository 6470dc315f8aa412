"""One of two ranks raises while an LR is looked for, and each notes its error: `raising.py RANK FOLDER`."""

import sys
from datetime import timedelta
from pathlib import Path

from helpers.finders import Learner
from helpers.toy import trainer
from lightning.pytorch import Callback
from lightning.pytorch.strategies import DDPStrategy

from lightning_lr import LRRangeTest


class Broken(Learner):
    def training_step(self, batch, batch_idx):
        if batch_idx == 7 and self.global_rank == int(sys.argv[1]):
            raise ArithmeticError(f"rank {self.global_rank} is broken")
        return super().training_step(batch, batch_idx)


class Note(Callback):
    """Notes the error of each rank as it comes: the first rank to end may take the others with it."""

    def on_exception(self, trainer, pl_module, exception):
        (Path(sys.argv[2]) / f"rank {trainer.global_rank}").write_text(repr(exception))


def main():
    strategy = DDPStrategy(process_group_backend="gloo", timeout=timedelta(seconds=20))
    trainer(LRRangeTest(40), Note(), devices=2, strategy=strategy).fit(Broken())


if __name__ == "__main__":
    main()
