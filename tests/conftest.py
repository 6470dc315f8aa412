"""What holds for every test."""

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    # Steps as small as the tests' lose more to threads than they gain.
    torch.set_num_threads(1)
