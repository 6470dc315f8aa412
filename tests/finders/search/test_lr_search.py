"""LRSearch in real fits; that it leaves no trace is tested in together/test_twins.py."""

import json
import math
import re
import sys
from itertools import pairwise

import pytest
import torch
from helpers.finders import START, Learner
from helpers.toy import LEDGER, LRTrace, Notes, Toy, fit, lrs_of, scalars, trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.cli import LightningCLI
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.data import DataLoader, TensorDataset

from lightning_lr import LRSearch
from lightning_lr.finders import Abstention, Suggestion


class Validated(Learner):
    """Validates on other data than it trains on, sorted by size; what it is asked for is noted outside."""

    def validation_step(self, batch, batch_idx):
        LEDGER["validated"] = LEDGER.get("validated", 0) + 1
        return self.loss(batch)

    def val_dataloader(self):
        features = torch.randn(64, 4, generator=torch.Generator().manual_seed(1))
        features = features[features.sum(1).argsort()]
        return DataLoader(TensorDataset(features, 3 * features.sum(1, keepdim=True)), 8)


def small(**kwargs):
    return LRSearch(**{"steps_per_trial": 8, "final_steps": 16} | kwargs)


def test_the_lr_of_every_step_is_the_one_found():
    search, trace = small(), LRTrace()
    fit(Validated(), search, trace)
    assert isinstance(search.suggestion, Suggestion)
    assert trace.first_group() == [search.suggestion.lr] * 20
    # Of the quadratic 9 |w|^2 with unit features, steps beyond 1 are unstable.
    assert 0.01 < search.suggestion.lr < 1


def test_what_it_finds_trains_better_than_what_it_is_given():
    losses = []
    for callbacks in ([], [small()]):
        module = Validated()
        fitted = trainer(*callbacks)
        fitted.fit(module)
        losses.append(fitted.validate(module, verbose=False))
        losses[-1] = module.loss(module.val_dataloader().dataset.tensors).item()
    assert losses[1] < 0.1 * losses[0]


def test_every_step_is_counted_and_kept_within_the_budget():
    for budget in (75, 150, 300):
        search = LRSearch(budget=budget, steps_per_trial=15)
        fit(Validated(batches=100), search, max_epochs=1)
        made = LEDGER["steps"] - 100
        assert made == search.trials.steps + 4 + 1 <= budget


def test_a_budget_may_be_a_share_of_the_run():
    search = LRSearch(budget=0.5)
    fit(Validated(batches=400), search, max_epochs=1)
    assert 100 <= search.trials.steps <= 200
    with pytest.raises(MisconfigurationException, match="share of the run, and this one has no end"):
        fit(Validated(), LRSearch(budget=0.25), max_epochs=-1, max_steps=-1)


def test_trials_are_no_longer_than_the_run():
    search = LRSearch()
    fit(Validated(batches=10), search, max_epochs=1)
    assert {trial.length for trial in search.trials} == {10}


def test_all_trials_see_the_same_batches_from_the_same_start():
    notes = Notes()

    class Watched(Validated):
        def training_step(self, batch, batch_idx):
            notes.append((batch[0].sum().item(), self.linear.weight.sum().item(), self.training))
            return super().training_step(batch, batch_idx)

        def train_dataloader(self):
            return DataLoader(super().train_dataloader().dataset, 16, shuffle=True)

    search = small()
    fit(Watched(), search)
    seen = notes.all
    starts = [index for index, (_, weight, _) in enumerate(seen) if weight == 0][5:-1]
    trials = list(search.trials)
    assert len(starts) >= len(trials)
    runs = [
        [batch for batch, *_ in seen[first:last]] for first, last in pairwise([*starts[: len(trials)], None])
    ]
    longest = max(runs[:-1], key=len)
    assert all(run[:5] == longest[:5] for run in runs)
    assert all(training for *_, training in seen)


def test_the_validation_samples_are_from_all_over_a_sorted_set():
    notes = Notes()

    class Watched(Validated):
        def validation_step(self, batch, batch_idx):
            assert not self.training
            assert not torch.is_grad_enabled()
            notes.append(batch[0].sum(1))
            return super().validation_step(batch, batch_idx)

    fit(Watched(), small(validation_batches=2), limit_val_batches=8, max_epochs=1)
    seen = notes.all
    first = torch.cat(seen[:2])
    whole = Validated().val_dataloader().dataset.tensors[0].sum(1)
    assert len(first) == 16
    assert first.min() < whole.quantile(0.1)
    assert first.max() > whole.quantile(0.9)
    assert all(torch.equal(torch.cat(pair), first) for pair in zip(seen[2:-8:2], seen[3:-8:2], strict=True))


def judged(module, **kwargs):
    search = small(**kwargs)
    fit(module, search)
    return search


def test_where_there_is_no_validation_the_training_loss_judges(tmp_path):
    search, chosen = small(), small(score="train")
    fit(Validated(), search, limit_val_batches=0, root=tmp_path)
    assert search.trials.judged_by.startswith("training loss (There is no validation loss")
    fit(Validated(), chosen)
    assert chosen.trials.judged_by == "training loss"
    assert chosen.trials.trials == search.trials.trials
    assert isinstance(chosen.suggestion, Suggestion)
    assert "by training loss" in (tmp_path / "run" / "decisions.jsonl").read_text()


class Logs(Validated):
    """Logs its loss and returns nothing."""

    def validation_step(self, batch, batch_idx):
        self.log_dict({"val_loss": super().validation_step(batch, batch_idx), "val_acc": 0.5})


class TwoLoaders(Validated):
    def val_dataloader(self):
        return [super().val_dataloader(), super().val_dataloader()]

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        return super().validation_step(batch, batch_idx) * (1 + 2 * dataloader_idx)


def test_a_logged_loss_judges_like_a_returned_one():
    returned, logged, two = judged(Validated()), judged(Logs()), judged(TwoLoaders())
    losses = [[trial.loss for trial in search.trials] for search in (logged, returned)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert two.trials.start_loss == pytest.approx(2 * returned.trials.start_loss)


class Lossless(Validated):
    def validation_step(self, batch, batch_idx):
        self.log("val_acc", 0.5)


def test_a_validation_without_a_loss_is_told():
    search = judged(Lossless())
    assert "returns and logs no loss" in search.trials.judged_by


@pytest.mark.parametrize(
    ("module", "options", "message"),
    [
        (Lossless, {}, "returns and logs no loss.*score='train'"),
        (Validated, {"limit_val_batches": 0}, "no validation loss.*limit_val_batches=0.*score='train'"),
    ],
)
def test_to_insist_on_a_validation_that_is_not_there_is_an_error(module, options, message):
    with pytest.raises(MisconfigurationException, match=message):
        fit(module(), small(score="val"), **options)
    assert LEDGER["steps"] <= 4


class Spoiled(Validated):
    def __init__(self, spoil):
        super().__init__()
        self.spoil = spoil

    def loss(self, batch):
        return self.spoil(super().loss(batch))


@pytest.mark.parametrize("bounds", [{}, {"low": 1e-5, "high": 1.0}])
@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda loss: loss * math.nan, "no finite number|diverged"),
        (lambda loss: loss * math.inf, "no finite number|diverged"),
        (lambda loss: loss * 0 + 1, "no scale|mean_descent|stays at 1"),
        (lambda loss: -loss.detach() + loss, "mean_loss|no scale|stays at 0"),
    ],
)
def test_a_loss_that_says_nothing_leaves_the_lr_alone(spoil, reason, bounds, caplog):
    search = small(**bounds)
    fitted = fit(Spoiled(spoil), search)
    assert isinstance(search.suggestion, Abstention)
    assert lrs_of(fitted) == [START]
    [line] = [each for each in caplog.messages if each.startswith("LRSearch: LR stays 0.002. ")]
    assert any(part in line for part in reason.split("|"))


def test_bounds_of_the_user_are_kept():
    search = small(low=1e-4, high=3e-3)
    fit(Validated(), search)
    assert all(1e-4 <= trial.lr <= 3e-3 for trial in search.trials)


def test_a_trial_that_is_lost_is_cut_short_and_told(tmp_path):
    search = LRSearch(steps_per_trial=40)
    fit(Validated(batches=100), search, max_epochs=1, root=tmp_path)
    saved = search.trials.steps_saved
    assert saved > 0
    told = (tmp_path / "run" / "decisions.jsonl").read_text()
    assert f"Cutting lost trials short saved {saved} steps." in told


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
def test_a_resumed_fit_is_not_searched_again_and_keeps_what_was_found(tmp_path):
    saver = ModelCheckpoint(tmp_path, filename="{step}", save_top_k=-1, every_n_train_steps=10)
    whole = small()
    fit(Validated(), whole, saver, enable_checkpointing=True)
    resumed, trace = small(), LRTrace()
    LEDGER["steps"] = 0
    trainer(resumed, trace).fit(Validated(), ckpt_path=tmp_path / "step=10.ckpt", weights_only=True)
    assert LEDGER["steps"] == 10
    assert (resumed.suggestion, resumed.trials) == (whole.suggestion, whole.trials)
    assert trace.first_group() == [whole.suggestion.lr] * 10


def test_a_milestone_is_searched_from_where_the_run_is():
    search, trace = small(milestones=(1,)), LRTrace()
    fit(Validated(), search, trace)
    lrs = trace.first_group()
    assert lrs[:10] == [START] * 10
    assert lrs[10:] == [search.suggestion.lr] * 10


def test_to_look_only_changes_nothing():
    search, module = small(apply=False, stop_after=True), Validated()
    fitted = fit(module, search)
    assert isinstance(search.suggestion, Suggestion)
    assert lrs_of(fitted) == [START]
    assert fitted.global_step == 0
    assert not module.linear.weight.any()


def test_an_error_inside_arrives_and_nothing_has_changed(tmp_path):
    class Breaks(Validated):
        def validation_step(self, batch, batch_idx):
            if LEDGER["steps"] > 20:
                raise ValueError("broken")
            return super().validation_step(batch, batch_idx)

    search, module = small(), Breaks()
    LEDGER["steps"] = 0
    fitted = trainer(search, root=tmp_path)
    callbacks, loggers = list(fitted.callbacks), list(fitted.loggers)
    with pytest.raises(ValueError, match="broken"):
        fitted.fit(module)
    assert (fitted.callbacks, fitted.loggers) == (callbacks, loggers)
    assert lrs_of(fitted) == [START]
    assert not module.linear.weight.any()
    assert module.training
    assert not {"log", "log_dict"} & vars(module).keys()
    assert (search.suggestion, search.trials) == (None, None)


def test_tensorboard_shows_the_trials_and_the_choice(tmp_path):
    search = small()
    fit(Validated(), search, root=tmp_path)
    events = EventAccumulator(str(tmp_path / "run"), size_guidance={"tensors": 0, "images": 0}).Reload()
    [image] = events.Images("search")
    assert (image.width, image.height) > (400, 300)
    [text] = events.Tensors("search/text_summary")
    shown = text.tensor_proto.string_val[0].decode()
    assert search.suggestion.reason in shown
    assert shown.count("| final |") == len(search.trials.at_stage("final"))
    assert [lr for _, lr in scalars(tmp_path)["search/lr"]] == pytest.approx(
        [trial.lr for trial in search.trials]
    )
    lines = map(json.loads, (tmp_path / "run" / "decisions.jsonl").read_text().splitlines())
    _, told = lines
    assert (told["source"], told["kind"]) == ("LRSearch", "search")
    assert told["evidence"]["lr"] == search.suggestion.lr


def test_the_figure_can_be_had_without_a_logger():
    search = small()
    with pytest.raises(RuntimeError, match=r"before `Trainer.fit` has run the search"):
        search.plot()
    fit(Validated(), search)
    axes = search.plot().axes[0]
    assert f"{search.suggestion.lr:.3g} after {len(search.trials)} trials" in axes.get_title("left")
    assert axes.get_xscale() == "log"


def test_a_bar_where_the_trainer_has_one(capsys):
    fit(Validated(), small(), TQDMProgressBar(), enable_progress_bar=True)
    assert "LR search" in "".join(capsys.readouterr())


def test_no_search_in_a_fast_dev_run(caplog):
    search = small()
    fit(Validated(), search, fast_dev_run=True)
    assert "LRSearch: no test in a `fast_dev_run`" in caplog.text
    assert search.suggestion is None


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"low": 0.0}, ValueError, r"low=.*\(0, inf\), got 0.0"),
        ({"high": math.nan}, ValueError, "got nan"),
        ({"low": 0.1, "high": 0.1}, ValueError, r"\(0.1, inf\), got 0.1"),
        ({"steps_per_trial": 0}, ValueError, "got 0"),
        ({"final_steps": 1.5}, TypeError, "final_steps"),
        ({"budget": 0}, ValueError, r"\(int >= 1\).*, got 0"),
        ({"budget": 1.5}, ValueError, r"\(0, 1\]\), got 1.5"),
        ({"budget": 600.0}, ValueError, r"\(0, 1\]\), got 600.0"),
        ({"budget": True}, TypeError, "budget"),
        ({"score": "test"}, ValueError, "'test'"),
        ({"warmup": 1.0}, ValueError, r"\[0, 1\), got 1.0"),
        ({"validation_batches": 0}, ValueError, "got 0"),
        ({"milestones": (-1,)}, ValueError, r"LRSearch\(milestones"),
    ],
)
def test_bad_arguments_are_errors_that_name_them(arguments, error, message):
    with pytest.raises(error, match=message):
        LRSearch(**arguments)


@pytest.mark.parametrize("budget", [20, 49, 1, 0.5])
def test_a_budget_that_is_too_small_is_an_error_that_names_one_that_will_do(budget):
    with pytest.raises(MisconfigurationException, match="is too small: 3 coarse trials") as refused:
        fit(Validated(), LRSearch(budget=budget, score="val"))
    named = int(re.search(r"Use `budget=(\d+)`", str(refused.value))[1])
    search = LRSearch(budget=named, score="val")
    fit(Validated(), search)
    assert sum(trial.steps for trial in search.trials) <= named
    with pytest.raises(MisconfigurationException, match=f"`budget={named}`"):
        fit(Validated(), LRSearch(budget=named - 1, score="val"))


@pytest.mark.parametrize(
    ("arguments", "budget"),
    [("{low: 1e-5, budget: 0.1, score: train, milestones: [0, 3]}", 0.1), ("{budget: 300}", 300)],
)
def test_it_is_configured_in_yaml(arguments, budget, tmp_path, monkeypatch):
    config = tmp_path / "run.yaml"
    config.write_text(f"""
seed_everything: 1
trainer:
  accelerator: cpu
  logger: false
  callbacks:
    - class_path: lightning_lr.LRSearch
      init_args: {arguments}
""")
    monkeypatch.setenv("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
    monkeypatch.setattr(sys, "argv", ["run.py", "--config", str(config)])
    cli = LightningCLI(Toy, run=False, save_config_callback=None)
    [search] = [each for each in cli.trainer.callbacks if isinstance(each, LRSearch)]
    assert search.budget == budget
    assert type(search.budget) is type(budget)
    if budget == 0.1:
        assert (search.low, search.score, search.milestones) == (1e-5, "train", (0, 3))
