"""A test leaves no trace in code as people write it, or says by name what it could not put back."""

import pytest
import torch
from helpers.finders import START, TESTS_OF_LRS
from helpers.real_code import CASES, NAMED, Code
from helpers.real_code.left import left_by, told
from lightning.pytorch.callbacks import GradientAccumulationScheduler

from lightning_lr import LRRangeTest, LRSearch
from lightning_lr.finders import Suggestion


@pytest.mark.usefixtures("quick_figures")
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("kind_of_test", TESTS_OF_LRS)
def test_a_fit_is_the_one_that_had_started_with_the_lr_found(kind_of_test, name, tmp_path):
    test = TESTS_OF_LRS[kind_of_test]()
    tested = left_by(CASES[name], START, tmp_path / "tested", test)
    lr = test.suggestion.lr if isinstance(test.suggestion, Suggestion) else START
    plain = left_by(CASES[name], lr, tmp_path / "plain")
    assert tested == plain
    assert not [line for line in told(tmp_path / "tested") if line["kind"] == "trace"]


@pytest.mark.usefixtures("quick_figures")
@pytest.mark.parametrize("name", NAMED)
def test_what_cannot_be_put_back_is_named(name, tmp_path):
    with pytest.warns(UserWarning, match=name):
        left_by(NAMED[name], START, tmp_path, LRRangeTest(24))
    [line] = [line for line in told(tmp_path) if line["kind"] == "trace"]
    assert line["evidence"]["traces"]


def test_the_accumulation_of_the_epoch_is_honored(tmp_path):
    test = LRRangeTest(10, min_lr=1e-5, max_lr=1e-2)
    scheduler = GradientAccumulationScheduler({0: 4, 1: 1})
    tested = left_by(Code, START, tmp_path / "tested", test, scheduler)
    lr = test.suggestion.lr if isinstance(test.suggestion, Suggestion) else START
    assert tested == left_by(Code, lr, tmp_path / "plain", GradientAccumulationScheduler({0: 4, 1: 1}))


class Checked(Code):
    """Raises where the loss is too large, as checks of arguments and of gradients do."""

    error: type[Exception] = ValueError
    first = False

    def training_step(self, batch, batch_idx):
        loss = self.loss(batch)
        if loss > 100 or self.first:
            raise self.error("The scale must be positive.")
        return loss


@pytest.mark.parametrize("error", [ValueError, RuntimeError, torch.linalg.LinAlgError, AssertionError])
@pytest.mark.parametrize("kind", [LRRangeTest, LRSearch])
def test_a_step_that_raises_at_too_high_an_lr_is_a_divergence(kind, error, tmp_path, monkeypatch):
    monkeypatch.setattr(Checked, "error", error)
    tests = {LRRangeTest: LRRangeTest(60, min_lr=1e-4, max_lr=1e4), LRSearch: LRSearch(1e-3, 1e3, budget=100)}
    test = tests[kind]
    left_by(Checked, START, tmp_path, test)
    assert isinstance(test.suggestion, Suggestion)
    [line] = [line for line in told(tmp_path) if line["kind"] in ("range test", "search")]
    assert f"the step raised {error.__name__}: The scale must be positive." in line["summary"]


@pytest.mark.parametrize("error", [ValueError, StopIteration, torch.OutOfMemoryError])
def test_an_error_at_the_first_lr_reaches_the_user_unchanged(error, tmp_path, monkeypatch):
    monkeypatch.setattr(Checked, "error", error)
    monkeypatch.setattr(Checked, "first", True)
    with pytest.raises(error, match="must be positive"):
        left_by(Checked, START, tmp_path, LRRangeTest(20))


@pytest.mark.parametrize("error", [StopIteration, torch.OutOfMemoryError, KeyError])
def test_other_errors_at_a_high_lr_reach_the_user_unchanged(error, tmp_path, monkeypatch):
    monkeypatch.setattr(Checked, "error", error)
    with pytest.raises(error, match="must be positive"):
        left_by(Checked, START, tmp_path, LRRangeTest(60, min_lr=1e-4, max_lr=1e4))
