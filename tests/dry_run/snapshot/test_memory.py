"""A test of an LR holds one copy of what is trained, and not more."""

import pytest
import torch
from helpers.apart import run
from helpers.toy import Toy, trainer
from lightning.pytorch import Callback
from torch.optim import Adam

from lightning_lr.dry_run.snapshot.kept import KeptTensor
from lightning_lr.dry_run.snapshot.roots import snapshot_of
from lightning_lr.dry_run.snapshot.snapshot import tensor_bytes

SCRIPT = """
import ctypes
import sys
from pathlib import Path

import torch
from helpers.toy import Toy, trainer

from lightning_lr import LRRangeTest, LRSearch

# Else what the allocator keeps of freed tensors counts too, another amount at each start.
M_MMAP_THRESHOLD = -3
assert ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 2**17) == 1

class Large(Toy):
    def __init__(self):
        super().__init__(lambda parameters: torch.optim.Adam(parameters, lr=1e-4, foreach=False))
        self.layers = torch.nn.Sequential(*[torch.nn.Linear(1000, 1000, bias=False) for _ in range(10)])

    def loss(self, batch):
        return super().loss(batch) + self.layers(batch[0].repeat(1, 250)).square().mean()

milestones = [int(sys.argv[2])]
tests = {
    "none": lambda: [],
    "LRRangeTest": lambda: [LRRangeTest(12, milestones=milestones)],
    "LRSearch": lambda: [LRSearch(steps_per_trial=3, final_steps=3, budget=40, milestones=milestones)],
}
trainer(*tests[sys.argv[1]](), max_epochs=2, limit_train_batches=4).fit(Large())
[line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
print(int(line.split()[1]) * 1024)
"""
COPY = 10_000_000 * 4


@pytest.fixture(scope="module")
def peak(tmp_path_factory):
    root = tmp_path_factory.mktemp("memory")
    script = root / "large.py"
    script.write_text(SCRIPT)

    def peak_of(kind, epoch):
        done = run(script, kind, epoch, cwd=root)
        assert done.returncode == 0, done.stderr
        return int(done.stdout.split()[-1])

    return peak_of


@pytest.mark.parametrize(("kind", "epoch", "copies"), [("LRSearch", 0, 1), ("LRRangeTest", 1, 3)])
def test_the_peak_grows_by_one_copy_of_weights_and_state(kind, epoch, copies, peak):
    extra = peak(kind, epoch) - peak("none", epoch)
    # Beside tensors, libraries that a test imports; much less than another copy.
    assert extra < copies * COPY + 12 * 2**20


def test_a_snapshot_copies_each_tensor_once():
    found = []

    class Look(Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            if trainer.current_epoch == 1:
                snapshot = snapshot_of(trainer, pl_module)
                kept = [each for _, each in snapshot._watches if isinstance(each, KeptTensor)]
                states = [each for state in trainer.optimizers[0].state.values() for each in state.values()]
                found.append(tensor_bytes([each._elements for each in kept]))
                found.append(tensor_bytes([*pl_module.parameters(), *states]))

    trainer(Look(), max_epochs=2).fit(WithoutData())
    assert found[0] == found[1]


class WithoutData(Toy):
    def __init__(self):
        super().__init__(lambda parameters: Adam(parameters, lr=0.1))
        self.linear = torch.nn.Linear(4, 1)

    def train_dataloader(self):
        return Batches()

    def val_dataloader(self):
        return Batches()


class Batches:
    """Makes its batches anew in each pass."""

    def __iter__(self):
        return ((torch.full((4, 4), float(number)), torch.ones(4, 1)) for number in range(3))
