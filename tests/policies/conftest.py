"""Torch's own schedulers, run for real, as the facts that the policies are compared with."""

import pytest
import torch


@pytest.fixture
def torch_factors():
    """Return the factors of `count` steps under the scheduler that `make(optimizer)` returns."""

    def factors(make, count, lr=0.5):
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
        scheduler = make(optimizer)
        found = []
        for _ in range(count):
            found.append(optimizer.param_groups[0]["lr"] / lr)
            optimizer.step()
            scheduler.step()
        return found

    return factors


@pytest.fixture
def exactly():
    """Compare floats to 1e-12, relative and absolute."""
    return lambda values: pytest.approx(values, rel=1e-12, abs=1e-12)
