"""A budget in which trials would be few and short goes into a ramp."""

import copy
import math
import re
from itertools import pairwise

import pytest
import torch
from helpers.finders import START, Learner
from helpers.toy import LEDGER, LRTrace, Notes, fit, lrs_of, scalars, trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import TQDMProgressBar
from torch.utils.data import DataLoader

from lightning_lr import LRDecay, LRRangeTest, LRSearch
from lightning_lr.finders import Abstention, Suggestion


class Validated(Learner):
    def validation_step(self, batch, batch_idx):
        return self.loss(batch)

    def val_dataloader(self):
        return DataLoader(self.train_dataloader().dataset, 64)


class Falls(Validated):
    """Its loss falls further the higher the LR is, without an end."""

    def loss(self, batch):
        return 10 - 0.1 * self.linear.weight.sum() + 0 * super().loss(batch)


class Noise(Validated):
    def loss(self, batch):
        return super().loss(batch) * 1e-3 + torch.rand(())


@pytest.mark.parametrize("budget", [50, 61, 100, 169])
@pytest.mark.parametrize("model", [Validated, Falls, Noise])
@pytest.mark.parametrize("warms_up", [True, False])
def test_every_step_is_within_the_budget(budget, model, warms_up):
    search = LRSearch(budget=budget)
    fit(model(batches=20), search, *[LRDecay(warmup=5)] * warms_up, max_epochs=1)
    made = LEDGER["steps"] - 20
    assert 0.4 * budget < made <= budget
    assert search.trials is None
    assert len(search.curve.losses) + 1 + 4 <= made


def test_it_is_the_ramp_of_a_range_test_that_ends_where_the_budget_does():
    search, test = LRSearch(budget=105), LRRangeTest(80)
    fit(Validated(batches=100), search, LRDecay(warmup=5), max_epochs=1)
    fit(Validated(batches=100), test, LRDecay(warmup=5), max_epochs=1)
    assert search.curve.lrs[:80] == test.curve.lrs[:80]
    assert search.curve.losses[:80] == test.curve.losses[:80]
    assert search.suggestion.lr == pytest.approx(test.suggestion.lr, rel=0.2)
    assert search.suggestion.rule == "Basin"


@pytest.mark.parametrize(
    ("options", "makes_ramp"),
    [
        ({"budget": 100}, True),
        ({"budget": 0.25}, True),
        ({"budget": 100, "score": "train"}, True),
        ({"budget": 100, "low": 1e-6}, True),
        ({"budget": 169}, True),
        ({"budget": 170}, False),
        ({}, False),
        ({"budget": 100, "score": "val"}, False),
        ({"budget": 100, "steps_per_trial": 15}, False),
        ({"budget": 100, "high": 1.0}, False),
    ],
)
def test_trials_are_made_where_the_budget_suffices_or_where_they_are_asked_for(options, makes_ramp):
    search = LRSearch(**options)
    fit(Validated(batches=400), search, max_epochs=1)
    assert (search.curve is not None) == makes_ramp
    assert (search.trials is None) == makes_ramp
    assert isinstance(search.suggestion, Suggestion)
    if "low" in options:
        assert search.curve.lrs[0] == options["low"]


def test_it_is_fitted_to_the_length_of_the_run():
    short, long = (LRSearch(budget=100, stop_after=True) for _ in range(2))
    fit(Validated(batches=100), short, LRDecay(warmup=5), max_epochs=2)
    fit(Validated(batches=100), long, LRDecay(warmup=5), max_epochs=64)
    # Of plain SGD, a tenth of an octave per doubling.
    assert long.suggestion.lr == pytest.approx(short.suggestion.lr * 2**-0.5)
    assert "For the length of the run it is lowered" in long.suggestion.reason


class SensitiveStart(Validated):
    """Never gets over a high LR at its first step."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.first_lr = None

    def loss(self, batch):
        return super().loss(batch) + 5 * (self.first_lr or 0.0)

    def training_step(self, batch, batch_idx):
        if self.first_lr is None:
            self.first_lr = self.optimizers().param_groups[0]["lr"]
        return super().training_step(batch, batch_idx)


def test_without_a_warm_up_the_lr_is_tried_so():
    warm, cold, trace = LRSearch(budget=100), LRSearch(budget=100), LRTrace()
    fit(SensitiveStart(), warm, LRDecay(warmup=8), max_epochs=3)
    fit(SensitiveStart(), cold, trace, max_epochs=3)
    assert "Without a warm-up" in cold.suggestion.reason
    assert "Without a warm-up" not in warm.suggestion.reason
    assert trace.first_group() == pytest.approx([cold.suggestion.lr] * 30)


@pytest.mark.parametrize("score", ["auto", "train"])
def test_it_validates_only_where_that_may_judge(score):
    validated = Notes()

    class Watched(Validated):
        def validation_step(self, batch, batch_idx):
            validated.append(LEDGER["steps"])
            return super().validation_step(batch, batch_idx)

    search = LRSearch(budget=100, score=score)
    fit(Watched(batches=10), search, max_epochs=1)
    during = [step for step in validated.all if step < LEDGER["steps"]]
    assert bool(during) == (score == "auto")
    assert isinstance(search.suggestion, Suggestion)


def test_no_trial_without_a_warm_up_is_longer_than_the_run():
    starts = Notes()

    class Watched(Validated):
        def training_step(self, batch, batch_idx):
            if not self.linear.weight.any():
                starts.append(LEDGER["steps"])
            return super().training_step(batch, batch_idx)

    search = LRSearch(budget=169)
    fit(Watched(batches=3), search, max_epochs=1)
    # Four to find the range, the ramp, three trials, the run.
    trials = starts.all[5:]
    assert trials[0] == 4 + len(search.curve.losses) + 1
    assert [later - start for start, later in pairwise(trials)] == [3, 3, 3]


@pytest.mark.parametrize(
    ("model", "seen"),
    [
        (Noise, r"The loss (rose from|stayed at) \S+ .* (fallen first|within its noise)"),
        (Falls, r"The loss fell from \S+ to \S+ and was still falling at the highest LR \S+"),
    ],
)
def test_a_ramp_that_shows_nothing_leaves_the_lr_alone_and_tells_what_to_do(model, seen, caplog):
    search = LRSearch(low=1e-6, budget=60)
    fitted = fit(model(), search, LRDecay(warmup=2))
    assert isinstance(search.suggestion, Abstention)
    assert lrs_of(fitted)[0] <= START
    reason = search.suggestion.reason
    assert re.fullmatch(rf"{seen}, in a ramp of \d+ steps: use `budget=170` or more\.", reason)
    assert "LRSearch: LR stays 0.002. " in caplog.text


def test_beyond_the_range_of_the_model_it_goes_on_in_larger_steps():
    search = LRSearch(low=1e-6, budget=60)
    fit(Falls(), search, LRDecay(warmup=2))
    steps = [math.log10(after / before) for before, after in pairwise(search.curve.lrs)]
    assert steps[:43] == pytest.approx([steps[0]] * 43)
    assert steps[44:] == pytest.approx([2 * steps[0]] * len(steps[44:]))
    assert len(steps) == 54


@pytest.mark.parametrize("budget", [1, 49, 0.5])
def test_a_budget_that_is_too_small_is_an_error_before_any_step(budget):
    with pytest.raises(MisconfigurationException, match=r"at least 50 steps, .* Use `budget=50`"):
        fit(Validated(), LRSearch(budget=budget))
    assert LEDGER["steps"] == 0


def test_it_is_kept_in_a_checkpoint_and_drawn(tmp_path):
    search = LRSearch(budget=100)
    fit(Validated(), search, root=tmp_path)
    again = LRSearch(budget=100)
    again.load_state_dict(copy.deepcopy(search.state_dict()))
    assert (again.curve, again.suggestion, again.trials) == (search.curve, search.suggestion, None)
    assert again.plot().axes[0].get_xlabel() == "learning rate (log scale)"
    assert [lr for _, lr in scalars(tmp_path)["search/lr"]] == pytest.approx(search.curve.lrs)
    told = (tmp_path / "run" / "decisions.jsonl").read_text()
    assert '"source": "LRSearch"' in told
    assert "The loss fell from" in told


def test_a_state_of_before_there_were_ramps_is_read():
    search = LRSearch(budget=300)
    fit(Validated(), search)
    state = search.state_dict()
    del state["curve"]
    again = LRSearch(budget=300)
    again.load_state_dict(state)
    assert (again.trials, again.curve) == (search.trials, None)


def test_a_later_one_ends_no_run():
    search = LRSearch(budget=60, milestones=(1,))
    fitted = trainer(search, max_epochs=3)
    fitted.fit(Validated())
    assert fitted.global_step == 30
    assert search.curve is not None


def test_a_bar_where_the_trainer_has_one(capsys):
    fit(Validated(), LRSearch(budget=100), TQDMProgressBar(), enable_progress_bar=True)
    assert "LR search" in "".join(capsys.readouterr())


def test_what_it_finds_trains_better_than_what_it_is_given():
    losses = []
    for callbacks in ([], [LRSearch(budget=60)]):
        module = Validated()
        fit(module, *callbacks)
        losses.append(module.loss(module.train_dataloader().dataset.tensors).item())
    assert math.isfinite(losses[1])
    assert losses[1] < 0.1 * losses[0]
