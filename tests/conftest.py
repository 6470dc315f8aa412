"""What holds for every test."""

import os

# Steps as small as the tests' lose more to threads than they gain: here, and in every process started here.
os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import pytest
import torch

from lightning_lr.output import drawing


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def quick_figures(monkeypatch):
    """Make figures and do not render them, which takes longer than a fit; other tests look at them."""

    def render(make):
        make()
        return b"", np.zeros((1, 1, 4), np.uint8)

    monkeypatch.setattr(drawing, "_render", render)
