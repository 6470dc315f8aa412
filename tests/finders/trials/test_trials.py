import csv
import json
import math

import pytest

from lightning_lr.finders.trials.trials import Trial, Trials

MADE = Trials(
    2.3,
    "validation loss",
    (
        Trial(0.1, 1.9, 16, 16, "coarse"),
        Trial(1.6, math.inf, 3, 16, "coarse", "diverged"),
        Trial(0.025, math.inf, 7, 16, "fine", "lost"),
        Trial(0.1, 1.2, 64, 64, "final"),
    ),
)


def test_steps_are_counted_and_those_saved_are_of_lost_trials_alone():
    assert (len(MADE), MADE.steps, MADE.steps_saved) == (4, 90, 9)
    assert [trial.lr for trial in MADE.at_stage("fine", "final")] == [0.025, 0.1]


def test_they_come_back_from_plain_values_and_from_files(tmp_path):
    values = MADE.to_dict()
    assert type(values["trials"][0]) is dict
    assert Trials.from_dict(values) == MADE
    MADE.to_json(tmp_path / "trials.json")
    assert Trials.from_json(tmp_path / "trials.json") == MADE
    json.loads((tmp_path / "trials.json").read_text(), parse_constant=pytest.fail)
    MADE.to_csv(tmp_path / "trials.csv")
    with (tmp_path / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["lr"]) for row in rows] == [trial.lr for trial in MADE]
    assert rows[2]["outcome"] == "lost"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((0.0, 1.0, 1, 1, "coarse"), ValueError, r"lr=.*got 0.0"),
        ((0.1, 1.0, 1, 0, "coarse"), ValueError, r"length=.*got 0"),
        ((0.1, 1.0, -1, 1, "coarse"), ValueError, r"steps=.*got -1"),
        ((0.1, 1.0, 1, 1, "last"), ValueError, "'last'"),
        ((0.1, 1.0, 1, 1, "final", "cut"), ValueError, "'cut'"),
        ((0.1, math.inf, 1, 1, "final"), ValueError, "must be finite for a finished trial"),
        ((0.1, 1.0, 1, 1, "final", "lost"), ValueError, "infinite for others, got 1.0 for one that lost"),
    ],
)
def test_bad_arguments_are_errors_that_name_them(arguments, error, message):
    with pytest.raises(error, match=message):
        Trial(*arguments)
