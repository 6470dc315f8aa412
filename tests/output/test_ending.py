"""The best validation of a run."""

import math

import pytest

from lightning_lr.output.ending import BestValidation


def best_of(losses, best=None):
    best = BestValidation() if best is None else best
    for step, loss in enumerate(losses, start=1):
        best.note({"loss/val": loss, "loss/val/dataloader_idx_1": 0.0}, steps=step, lr=lambda: 0.1)
    return best


@pytest.mark.parametrize("losses", [(2.0, 1.0, 3.0), (math.nan, 1.0, 2.0), (1.0, math.nan), (math.inf, 1.0)])
def test_the_best_is_the_lowest_number(losses):
    best = best_of(losses)
    step = losses.index(1.0) + 1
    assert best.told == f"best validation loss 1 after step {step}"
    assert best.texts(steps=9) == [f"best validation loss 1 after step {step} of 9, LR 0.1"]


def test_without_a_number_there_is_none():
    best = best_of([math.nan])
    assert (best.told, best.texts(steps=1), best.state()) == ("", [], None)


def test_a_checkpoint_of_a_version_that_took_nan_for_the_best_is_no_obstacle():
    old = BestValidation()
    old.restore({"tag": "loss/val", "value": math.nan, "steps": 1, "lr": 0.1})
    assert best_of([3.0, 2.0], old).told == "best validation loss 2 after step 2"


def test_it_goes_on_from_a_checkpoint():
    best = BestValidation()
    best.restore(best_of([1.0]).state())
    assert best_of([2.0], best).told == "best validation loss 1 after step 1"
    with pytest.raises(ValueError, match="state must be a dict"):
        best.restore([1.0])
