"""Fits over several processes: all ranks decide alike, and none waits for another for ever."""

import json
import math
from pathlib import Path

import pytest
from helpers.dry_run import NEEDS_FSDP2_ON_CPU
from helpers.finders import START
from helpers.ranks import fail_script, results, run_on_machines, run_ranks
from helpers.toy import scalars

HERE = Path(__file__).parent


def assert_all_ranks_decided_alike(root, ranks):
    first, *others = results(root)
    assert len(others) == ranks - 1
    for other in others:
        assert other == first
    for name, fit in first.items():
        assert "lr" in fit["test"]["suggestion"], name
        assert [record["verdict"]["state"] for record in fit["records"]][-1] == "plateau"
        # The mean over the ranks, of which each has logged another value.
        mean = (ranks - 1) / 2
        assert fit["records"][-1]["value"] == pytest.approx(1 + mean, abs=0.5)
        assert fit["records"][-1]["effects"], name
        [*_, (before, _), (last, _)] = fit["lrs"]
        assert (before, last) == (len(fit["lrs"]) - 2, len(fit["lrs"]) - 1)
    return first


def assert_one_set_of_logs(root, fits):
    for name, fit in fits.items():
        run = root / name / "run"
        found = sorted(path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file())
        events = [path for path in found if "tfevents" in path]
        assert [path.rpartition("/")[0] for path in events] == ["", "hparams"]
        assert sorted(set(found) - set(events)) == ["decisions.jsonl", "hparams.yaml"]
        told = [json.loads(line)["kind"] for line in (run / "decisions.jsonl").read_text().splitlines()]
        test = "range test" if "RangeTest" in name else "search"
        assert sorted(told) == sorted(
            ["default", "settings", test, "warm-up end", "verdict", "action", "summary"]
        )
        curve = scalars(run.parent)["lr/AdamW"]
        assert curve == [(step, pytest.approx(lr)) for step, [lr] in fit["lrs"]]


def test_four_ranks_decide_alike(tmp_path):
    run_ranks(HERE / "everything.py", "ddp", 1, 4, tmp_path, ranks=4)
    fits = assert_all_ranks_decided_alike(tmp_path, ranks=4)
    assert_one_set_of_logs(tmp_path, fits)


@NEEDS_FSDP2_ON_CPU
@pytest.mark.parametrize("ranks", [1, 2])
def test_two_machines_decide_alike(ranks, tmp_path):
    # One of them by torchrun itself, whose start takes longer than the fits.
    run = run_on_machines if ranks == 1 else run_ranks
    run(HERE / "everything.py", "ddp,fsdp2", 2, ranks, tmp_path, machines=2, ranks=ranks)
    fits = assert_all_ranks_decided_alike(tmp_path, ranks=2 * ranks)
    assert_one_set_of_logs(tmp_path, fits)
    for test in ("LRRangeTest", "LRSearch"):
        whole, sharded = (
            fits[f"{strategy} {test}"]["test"]["suggestion"]["lr"] for strategy in ("ddp", "fsdp2")
        )
        assert whole == pytest.approx(sharded, rel=1e-3)


@pytest.mark.parametrize("rank", [1])
def test_a_rank_that_raises_ends_with_its_error_and_so_do_the_others(rank, tmp_path):
    said = fail_script(HERE / "raising.py", rank, tmp_path, limit=60)
    assert (tmp_path / f"rank {rank}").read_text() == f"ArithmeticError('rank {rank} is broken')"
    assert "Timeout (" not in said


@pytest.fixture(scope="module")
def hostile(once):
    """Fits of two ranks that are not alike, all of them in one launch."""
    root = once("hostile", lambda folder: run_ranks(HERE / "hostile.py", folder))
    return root, results(root)


@pytest.fixture
def alike(hostile):
    def of_both(scenario):
        first, second = (found[scenario] for found in hostile[1])
        # NaN is another NaN.
        assert repr(first) == repr(second)
        return first

    return of_both


def test_a_range_test_ends_where_the_loss_of_one_rank_is_nan(alike):
    test = alike("range_test_where_one_loss_is_nan")
    assert test["curve"]["diverged"]
    assert START < test["suggestion"]["lr"] < test["curve"]["lrs"][-1] <= 1.0


def test_a_search_goes_on_where_the_loss_of_one_rank_is_nan(alike):
    search = alike("search_where_one_loss_is_nan")
    outcomes = {trial["outcome"] for trial in search["trials"]["trials"] if trial["lr"] > 0.05}
    assert outcomes == {"diverged"}
    assert search["suggestion"]["lr"] <= 0.05


def test_the_amp_scaler_does_not_part_the_ranks_where_the_loss_of_one_is_nan(alike):
    test = alike("scaler_where_one_loss_is_nan")
    assert test["curve"]["diverged"]


def test_a_validation_counts_as_nan_where_one_rank_has_none_other(alike, hostile):
    found = alike("validation_where_one_loss_is_nan")
    assert [math.isnan(value) for value in found["values"]] == [False, False, True, False, False]
    shown = dict(scalars(hostile[0] / "validation_where_one_loss_is_nan")["loss/val"])
    assert sum(map(math.isnan, shown.values())) == 1


def test_a_rank_may_return_no_loss_under_manual_optimization(alike, hostile):
    found = alike("manual_steps_where_one_rank_returns_no_loss")
    # Noise hides the fall, so a second ramp took three times the steps.
    assert len(found["test"]["curve"]["losses"]) == 60
    assert found["batches"] == 2 * 5 - 1
    curve = scalars(hostile[0] / "manual_steps_where_one_rank_returns_no_loss")["loss/train"]
    assert [x for x, _ in curve] == list(range(10))


def test_all_ranks_decide_alike_on_values_that_nobody_synchronized(alike):
    found = alike("verdicts_on_values_that_nobody_synchronized")
    assert found["values"] == [1, 1, 1, 1, pytest.approx(math.nan, nan_ok=True), 6, 1, 1]
    assert found["lrs"] == [0.0125]


def test_a_loss_that_is_only_logged_is_averaged_over_the_ranks(alike):
    found = alike("verdicts_on_a_loss_that_is_logged")
    assert found["values"] == [1, 1, 1, 1, pytest.approx(math.nan, nan_ok=True), 6, 1, 1]


def test_a_rank_without_validation_batches_follows_the_others(alike):
    found = alike("validation_where_one_rank_has_no_batches")
    assert found["search"]["trials"]["judged_by"] == "validation loss"
    assert len(found["values"]) == 4
    assert all(map(math.isfinite, found["values"]))


def test_epochs_may_end_with_different_steps(alike, hostile):
    found = alike("epochs_that_end_with_different_steps")
    assert [step for step, _ in found["lrs"]] == list(range(30))
    curves = scalars(hostile[0] / "epochs_that_end_with_different_steps")
    for tag in ("loss/train", "lr/AdamW"):
        assert [x for x, _ in curves[tag]] == list(range(30)), tag
    # Those of rank 0.
    assert [x for x, _ in curves["loss/train_epoch"]] == [5, 11, 17, 23, 29]
    assert [x for x, _ in curves["loss/val"]] == [5, 11, 17, 23, 29]


def test_streams_of_different_lengths_are_judged_by_steps(alike, hostile):
    found = alike("validations_by_steps_of_uneven_streams")
    assert len(found["values"]) == 6
    assert found["lrs"][0] < 0.3
    shown = scalars(hostile[0] / "validations_by_steps_of_uneven_streams")["loss/val"]
    assert shown == [(5 * index + 4, pytest.approx(value)) for index, value in enumerate(found["values"])]


def test_ranks_with_different_numbers_of_batches_plan_the_same_lrs(alike):
    found = alike("plans_over_samplers_of_different_lengths")
    assert "steps=60" in found["plan"]
    assert len(found["lrs"]) == 20


def test_verdicts_after_different_steps_are_refused(alike):
    error = alike("validations_after_different_steps_are_refused")
    assert "6, 9 batches" in error
    assert "check_val_every_n_epoch=None" in error


def test_lrs_by_epochs_of_different_lengths_are_refused(alike):
    found = alike("lrs_by_epochs_of_different_lengths_are_refused")
    assert "6, 9 batches" in found["error"]
    assert "Use `LRDecay(interval='step')`" in found["error"]
    assert found["steps"] == 0


def test_a_danger_in_epochs_of_unknown_length_is_told(hostile):
    first, second = (found["epochs_of_lengths_that_nobody_knows"] for found in hostile[1])
    assert [warning.split(maxsplit=1)[0] for warning in first] == [
        "`LRDecay(interval='epoch')`",
        "PlateauDetector",
    ]
    assert "it trains with another LR" in first[0]
    assert "they wait for each other for ever" in first[1]
    assert second == []


@pytest.mark.parametrize("test", ["LRRangeTest", "LRSearch"])
def test_an_interrupted_run_of_two_ranks_goes_on_as_if_it_had_not_been(test, alike, hostile):
    found = alike("runs_with_and_without_an_interruption")[test]
    root = hostile[0] / "runs_with_and_without_an_interruption" / test
    assert found["whole"] == found["parts"]
    assert len(found["whole"]) == 70
    assert found["same weights"]
    whole, parts = scalars(root / "whole"), scalars(root / "parts")
    assert whole == parts
