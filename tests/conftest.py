"""What holds for every test."""

import fcntl
import os
import shutil

# Steps as small as the tests' lose more to threads than they gain: here, and in every process started here.
os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import pytest
import torch

from lightning_lr.output import drawing

# It needs optimizers that no extra brings along.
collect_ignore = ["benchmarks/long/peers.py"]


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def once(tmp_path_factory):
    """Make a folder that all processes of the tests read, by `make(folder)`, in the one that comes first."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent

    def folder_of(name, make):
        folder, done = root / name, root / f"{name}.done"
        with (root / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                make(folder)
                done.touch()
        return folder

    return folder_of


@pytest.fixture
def quick_figures(monkeypatch):
    """Make figures and do not render them, which takes longer than a fit; other tests look at them."""

    def render(make):
        make()
        return b"", np.zeros((1, 1, 4), np.uint8)

    monkeypatch.setattr(drawing, "_render", render)
