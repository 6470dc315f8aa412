"""All callbacks, in fits over several ranks: `everything.py STRATEGIES MACHINES RANKS ROOT`."""

import sys
from pathlib import Path

import torch
from helpers.finders import Learner
from helpers.ranks import write_result
from helpers.toy import LRTrace, trainer
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy
from torch.distributed.fsdp import fully_shard
from torch.optim import AdamW

from lightning_lr import LRDecay, LRLogger, LRRangeTest, LRSearch, PlateauDetector
from lightning_lr.plateau import Patience, ReduceLR
from lightning_lr.policies import Cosine


class Ranked(Learner):
    """Has a loss of its own on every rank, and logs another one that nobody synchronizes."""

    def __init__(self):
        super().__init__(lambda parameters: AdamW(parameters, lr=0.002), batches=16)

    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx) * (1 + self.global_rank)

    def validation_step(self, batch, batch_idx):
        # Falls at first, and then no more.
        self.log("own", max(1.0 + self.global_rank, 4.0 - self.trainer.current_epoch))
        return self.loss(batch)


class Sharded(Ranked):
    def configure_model(self):
        if not hasattr(self.linear, "unshard"):
            fully_shard(self.linear, mesh=self.device_mesh["data_parallel"])


STRATEGIES = {
    "ddp": (Ranked, lambda ranks: DDPStrategy(process_group_backend="gloo")),
    # By default, the ranks of one node share one batch and no shard.
    "fsdp2": (Sharded, lambda ranks: ModelParallelStrategy(ranks, 1, process_group_backend="gloo")),
}


def fit(root, kind, test, *, machines, ranks):
    judge = PlateauDetector("own", detector=Patience(patience=1), on_plateau=ReduceLR(0.5))
    decay = LRDecay(Cosine(end=0.01), interval="step", warmup=5)
    trace = LRTrace()
    make, strategy = STRATEGIES[kind]
    module = make()
    torch.manual_seed(0)
    where = {"strategy": strategy(machines * ranks), "devices": ranks, "num_nodes": machines, "root": root}
    trainer(test, decay, judge, LRLogger(), trace, max_epochs=6, log_every_n_steps=3, **where).fit(module)
    weights = [each.full_tensor() if hasattr(each, "full_tensor") else each for each in module.parameters()]
    return {
        "test": test.state_dict(),
        "lrs": sorted(trace.lrs.items()),
        "records": [record.to_dict() for record in judge.records],
        "weights": [each.tolist() for each in weights],
    }


def main():
    kinds, machines, ranks, root = sys.argv[1].split(","), *map(int, sys.argv[2:4]), Path(sys.argv[4])
    found = {}
    for kind in kinds:
        for test in (LRRangeTest(40), LRSearch(budget=80, steps_per_trial=6, final_steps=12)):
            name = f"{kind} {type(test).__name__}"
            found[name] = fit(root / name, kind, test, machines=machines, ranks=ranks)
    write_result(root, torch.distributed.get_rank(), found)


if __name__ == "__main__":
    main()
