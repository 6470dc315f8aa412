"""A run that is killed and resumed has the curves of the run that was not, point by point."""

import csv

import pytest
from helpers.logged_run import STEPS, curves, decisions, run_apart, shown


@pytest.fixture(scope="module")
def root(once):
    return once("resumed curves", lambda folder: run_apart(folder, "whole"))


@pytest.mark.parametrize(
    ("options", "kill_at", "step"),
    [
        ([], 27, 20),  # saved after a validation, killed in the next epoch
        (["--save-every", 7], 19, 14),  # saved and killed within an epoch
        (["--save-every", 10], 17, 10),  # saved after the last batch of an epoch, before its validation
        (["--save-every", 7], 29, 7),  # not resumed from the last checkpoint: two validations are made again
    ],
)
def test_the_curves_are_those_of_the_run_that_was_not_interrupted(options, kill_at, step, root):
    version = f"killed at {kill_at}"
    run_apart(root, version, *options, "--kill-at", kill_at, killed=True)
    before = curves(root / version)
    assert before["loss/train"][-1][0] >= step
    run_apart(root, version, *options, "--resume", root / f"saved {version}" / f"step={step}.ckpt")
    whole, resumed = curves(root / "whole"), curves(root / version)
    assert resumed.keys() == whole.keys()
    for tag, points in whole.items():
        assert resumed[tag] == points, tag
    assert [x for x, _ in whole["loss/train"]] == list(range(STEPS))
    assert {"range_test/loss", "loss/val", "plateau/val_acc/verdict", "lr_factor/AdamW"} <= whole.keys()


def test_the_points_of_a_search_are_kept_too(tmp_path):
    run_apart(tmp_path, "run", "--search", "--save-every", 2, "--kill-at", 4, killed=True)
    before = curves(tmp_path / "run")
    assert before["search/loss"][-1][0] > 2
    run_apart(tmp_path, "run", "--search", "--resume", tmp_path / "saved run" / "step=2.ckpt")
    resumed = curves(tmp_path / "run")
    for tag in ("search/lr", "search/loss", "search/steps"):
        assert resumed[tag] == before[tag]
    assert [x for x, _ in resumed["loss/train"]] == list(range(STEPS))


def test_the_points_of_several_tests_are_kept_in_order(tmp_path):
    options = ["--milestones", 0, 1, "--save-every", 7]
    run_apart(tmp_path, "run", *options, "--kill-at", 17, killed=True)
    before = curves(tmp_path / "run")
    run_apart(tmp_path, "run", *options, "--resume", tmp_path / "saved run" / "step=14.ckpt")
    resumed = curves(tmp_path / "run")
    for tag in ("range_test/lr", "range_test/loss"):
        assert resumed[tag] == before[tag]
        # The second test, at step 10, goes on where the first has ended.
        assert [x for x, _ in before[tag]] == list(range(len(before[tag])))
    assert len(before["range_test/lr"]) > 50


def test_a_resumed_run_tells_the_whole_story_in_whichever_folder(root):
    run_apart(root, "before", "--kill-at", 17, killed=True)
    told = decisions(root / "before")
    for version in ("before", "after"):
        run_apart(root, version, "--resume", root / "saved before" / "step=10.ckpt")
        lines, items = decisions(root / version), shown(root / version)
        assert lines[: len(told)] == told
        [resume] = [line for line in lines if line["kind"] == "resume"]
        assert resume["step"] == resume["evidence"]["step"] == 10
        assert resume["summary"] == "The run goes on in epoch 1 with step 10."
        lr = [lr for x, lr in curves(root / "whole")["lr/AdamW"] if x == 10]
        assert resume["evidence"]["lrs"] == {"lr/AdamW": pytest.approx(*lr)}
        for item, line in zip(items, lines, strict=True):
            assert f"{line['source']}, {line['kind']}: {line['summary']}" in item
        kinds = [line["kind"] for line in lines]
        assert kinds.index("range test") < kinds.index("warm-up end") < kinds.index("resume")
        assert kinds.count("warm-up end") == 1


def test_a_csv_file_of_its_own_goes_on_with_the_same_points(root):
    run_apart(root, "csv", "--kill-at", 17, killed=True)
    run_apart(root, "csv", "--resume", root / "saved csv" / "step=10.ckpt")
    parts = [rows(root / "csv" / f"csv {first}" / "metrics.csv") for first in (True, False)]
    whole = rows(root / "csv" / "whole True" / "metrics.csv")
    for tag in ("loss/train", "lr/AdamW", "lr_base/AdamW", "loss/val", "plateau/val_acc/verdict"):
        before, after = ([(int(row["step"]), row[tag]) for row in part if row.get(tag)] for part in parts)
        joined = [point for point in before if point[0] < 10] + after
        assert joined == [(int(row["step"]), row[tag]) for row in whole if row.get(tag)]


def rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))
