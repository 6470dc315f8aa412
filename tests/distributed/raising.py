"""One of two ranks raises while an LR is looked for: `raising.py RANK`."""

import sys
from datetime import timedelta

from lightning.pytorch.strategies import DDPStrategy
from startup import Learner
from toy import trainer

from lightning_lr import LRRangeTest


class Broken(Learner):
    def training_step(self, batch, batch_idx):
        if batch_idx == 7 and self.global_rank == int(sys.argv[1]):
            raise ArithmeticError(f"rank {self.global_rank} is broken")
        return super().training_step(batch, batch_idx)


def main():
    strategy = DDPStrategy(process_group_backend="gloo", timeout=timedelta(seconds=20))
    trainer(LRRangeTest(40), devices=2, strategy=strategy).fit(Broken())


if __name__ == "__main__":
    main()
