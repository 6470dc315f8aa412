"""The progress bars of tests before the first batch: what they say is what is done."""

import math
import re
import time
from contextlib import contextmanager

import pytest
import rich
import torch
from helpers.finders import LossByLR
from helpers.toy import Toy, fit, trainer
from lightning.pytorch.callbacks import RichProgressBar, TQDMProgressBar

import lightning_lr.finders.range_test.lr_range_test as range_test_module
from lightning_lr import LRLogger, LRRangeTest
from lightning_lr.finders import GiveBack, MidDescent
from lightning_lr.finders.progress import Bar, progress_bar


@pytest.fixture
def phases(monkeypatch):
    """Return the phases of the bar: the name, the steps that were told, and those that were made."""
    seen = []

    @contextmanager
    def recorded(_, description, total):
        seen.append([description, total, 0])

        def advance():
            seen[-1][2] += 1

        yield Bar(advance, lambda description, total: seen.append([description, total, 0]))

    monkeypatch.setattr(range_test_module, "progress_bar", recorded)
    return seen


class Noise(Toy):
    def training_step(self, batch, batch_idx):
        return self.loss(batch) * 0 + 1 + 0.1 * torch.randn(())


class Saturating(Toy):
    """Has a loss that no LR makes rise."""

    def training_step(self, batch, batch_idx):
        return 2 - torch.tanh(self.linear.weight.sum())


def valley():
    return LossByLR(lambda lr: 1 + 0.1 * (math.log10(lr) + 2) ** 2)


def told_by(module, test, root):
    """Return what the decisions of a fit say."""
    logger = LRLogger()
    fit(module, test, logger, root=root, max_epochs=1)
    return repr(logger.state_dict()["decisions"])


def test_a_hundred_steps_are_a_hundred_and_the_one_that_measures_the_last_loss(phases, tmp_path):
    told = told_by(valley(), LRRangeTest(min_lr=1e-4, max_lr=1.0, rule=GiveBack()), tmp_path)
    assert phases == [["LR range test", 101, 101]]
    assert "The test took" not in told


# The fit has 10 steps, and no trial is longer.
@pytest.mark.parametrize(("num_steps", "most"), [(20, 3 * 9), (100, 3 * 10)])
def test_trials_without_a_warm_up_are_a_phase_and_the_steps_are_told(num_steps, most, phases, tmp_path):
    told = told_by(valley(), LRRangeTest(num_steps, min_lr=1e-4, max_lr=1.0), tmp_path)
    assert [name for name, _, _ in phases] == ["LR range test", "LR range test, without a warm-up"]
    assert phases[1][1] == most >= phases[1][2] > 0
    assert f"The test took {num_steps + 1 + phases[1][2]} steps." in told


def test_a_repeated_ramp_is_a_phase_of_its_own(phases, tmp_path):
    told = told_by(valley(), LRRangeTest(30, min_lr=1e-4, max_lr=1.0, repeats=2, rule=GiveBack()), tmp_path)
    assert phases == [["LR range test", 31, 31], ["LR range test, repeated", 31, 31]]
    assert "The test took" not in told


def test_a_ramp_that_goes_on_says_so(phases, tmp_path):
    told = told_by(Saturating(), LRRangeTest(30, rule=MidDescent()), tmp_path)
    first, *further = phases
    assert first == ["LR range test", 31, 30]
    assert {name for name, _, _ in further} == {"LR range test, further up"}
    assert all(made in (told, told - 1) for _, told, made in further)
    assert further[-1][2] == further[-1][1]
    assert f"The test took {sum(made for _, _, made in phases)} steps." in told


def test_a_longer_ramp_for_the_noise_says_so(phases, tmp_path):
    torch.manual_seed(0)
    told = told_by(Noise(), LRRangeTest(30, min_lr=1e-6, max_lr=1e-3), tmp_path)
    assert phases == [["LR range test", 31, 31], ["LR range test, longer for the noise", 91, 91]]
    assert "The test took 122 steps." in told


@pytest.mark.parametrize("kind", [TQDMProgressBar, RichProgressBar])
def test_a_bar_has_the_total_of_its_phase(kind, monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr(rich, "_console", None)
    run = trainer(kind(), enable_progress_bar=True)
    with progress_bar(run, "first", 2) as bar:
        for _ in range(2):
            bar.advance()
        bar.begin("second", None)
        for _ in range(3):
            bar.advance()
        bar.begin("third", 4)
        for _ in range(4):
            time.sleep(0.06)  # A bar is drawn a few times a second.
            bar.advance()
    shown = "".join(capsys.readouterr())
    assert "third" in shown
    assert re.search("third.*(3/4|75%|100%)", shown)
