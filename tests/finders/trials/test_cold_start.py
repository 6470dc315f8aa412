"""A run that begins with its LR at once: half and a quarter of what a ramp shows are tried."""

import math

import pytest
import torch
from helpers.toy import LRTrace, Toy, fit

from lightning_lr import LRDecay, LRRangeTest
from lightning_lr.finders import GiveBack, Suggestion
from lightning_lr.finders.trials.cold_start import fitted_to_cold_start

FOUND = Suggestion(lr=0.4, low=0.1, high=0.8, rule="Basin", reason="It fell.")


@pytest.mark.parametrize(
    ("losses", "share", "told"),
    [
        ([0.5, 0.6, 0.7], 1, "It fell."),
        ([0.7, 0.6, 0.65], 2, "half of it does better (loss 0.6 instead of 0.7)."),
        ([0.7, 0.6, 0.5], 4, "a quarter of it does better (loss 0.5 instead of 0.7)."),
        ([-1.0, -1.5, -1.2], 2, "half of it does better (loss -1.5 instead of -1)."),
        ([math.inf, 0.6, 0.7], 2, "half of it does better (loss 0.6 instead of inf)."),
        ([math.inf, math.inf, 0.7], 4, "a quarter of it does better (loss 0.7 instead of inf)."),
        ([math.inf, math.inf, math.inf], 4, "the loss diverges even at a quarter of it, which is taken."),
        ([0.7, 0.7, 0.7], 1, "It fell."),
        ([0.7, 0.8, 0.6], 4, "a quarter of it does better (loss 0.6 instead of 0.7)."),
        ([0.7, math.inf, 0.6], 4, "a quarter of it does better (loss 0.6 instead of 0.7)."),
    ],
)
def test_the_best_of_it_half_of_it_and_a_quarter_is_taken(losses, share, told):
    made = []

    def loss_after(lr):
        made.append(lr)
        return losses[len(made) - 1]

    decision = fitted_to_cold_start(FOUND, loss_after)
    assert made == [0.4, 0.2, 0.1]
    assert (decision.lr, decision.low, decision.high) == (0.4 / share, 0.1 / share, 0.8 / share)
    assert decision.reason.endswith(told)


class SteepStart(Toy):
    """Begins on a steep slope, from which a long first step goes far beyond the bottom; a ramp comes down."""

    def __init__(self):
        super().__init__()
        self.place = torch.nn.Parameter(torch.zeros(()))

    def loss(self, batch):
        beyond = torch.relu(self.place - 1)
        return torch.exp(-10 * self.place) + 0.05 * beyond + 0.1 + 0 * super().loss(batch)

    def configure_optimizers(self):
        return torch.optim.SGD([self.place], lr=0.1)


@pytest.mark.parametrize("by_validation", [True, False])
def test_an_lr_that_is_too_high_for_the_first_steps_is_lowered(by_validation):
    warm, cold = (LRRangeTest(60, min_lr=1e-4, max_lr=100.0) for _ in range(2))
    kwargs = {"max_epochs": 3} | ({} if by_validation else {"limit_val_batches": 0})
    fit(SteepStart(), warm, LRDecay(warmup=8), **kwargs)
    trace = LRTrace()
    fit(SteepStart(), cold, trace, **kwargs)
    assert cold.suggestion.lr in {warm.suggestion.lr / 2, warm.suggestion.lr / 4}
    assert "Without a warm-up" in cold.suggestion.reason
    assert "Without a warm-up" not in warm.suggestion.reason
    assert trace.first_group() == pytest.approx([cold.suggestion.lr] * 30)


def test_the_reading_of_another_rule_stays_what_it_is():
    warm, cold = (LRRangeTest(60, min_lr=1e-4, max_lr=100.0, rule=GiveBack(divisor=1)) for _ in range(2))
    fit(SteepStart(), warm, LRDecay(warmup=8))
    fit(SteepStart(), cold)
    assert cold.suggestion == warm.suggestion
