"""What a study came to."""

import math

import pytest

from lightning_lr.tune.figure import results_figure
from lightning_lr.tune.results import Result, Results


def results(losses, mode="min"):
    return Results(
        "val_loss",
        mode,
        [Result(n, 2.0**octave, loss, "complete", 5) for n, (octave, loss) in enumerate(losses)],
    )


def test_the_best_is_complete():
    trials = [
        Result(0, 0.1, 0.2, "pruned", 3),
        Result(1, 0.2, 0.5, "complete", 10),
        Result(2, 0.4, 0.6, "complete", 10),
        Result(3, 0.8, math.nan, "diverged", 1),
    ]

    assert Results("val_loss", "min", trials).best is trials[1]
    assert Results("val_acc", "max", trials).best is trials[2]


def test_the_flat_span_is_read_off_lines_between_trials():
    low, high = results([(-3, 2.0), (-2, 1.0), (-1, 1.1), (0, 3.0)]).flat_span

    assert math.log2(low) == pytest.approx(-2.05)
    assert math.log2(high) == pytest.approx(-1.5)


def test_the_flat_span_where_more_is_better():
    low, high = results([(-3, 0.8), (-2, 1.0), (-1, 0.9)], mode="max").flat_span

    assert (math.log2(low), math.log2(high)) == pytest.approx((-2.25, -1.5))


def test_the_flat_span_ends_where_trials_end_and_where_they_diverge():
    trials = [
        Result(0, 0.25, 1.0, "complete"),
        Result(1, 0.5, 1.01, "complete"),
        Result(2, 1.0, math.nan, "diverged"),
    ]

    assert Results("val_loss", "min", trials).flat_span == pytest.approx((0.25, 0.5))


def test_losses_below_zero():
    low, high = results([(-1, -9.0), (0, -10.0), (1, -8.0)]).flat_span

    assert (math.log2(low), math.log2(high)) == pytest.approx((-0.5, 0.25))


def test_the_summary_says_how_flat_and_whether_a_better_one_may_lie_beyond():
    told = results([(-3, 2.0), (-2, 1.0), (-1, 1.1), (0, 3.0)]).summary().splitlines()
    assert told == [
        "Best LR: 0.25, val_loss 1 (trial 1; 4 trials, 0 pruned, 0 diverged)",
        "Within 5 % of that: 0.24 to 0.35 (0.6 octaves)",
    ]
    assert (
        results([(-3, 3.0), (-2, 2.0), (-1, 1.0)])
        .summary()
        .endswith("It is the highest LR that was tried: a better one may lie beyond.")
    )


def test_all_diverged():
    told = Results("val_loss", "min", [Result(0, 0.1, math.nan, "diverged", 2)])

    assert told.summary() == (
        "No best LR: 1 trials, 0 pruned, 1 diverged. Give a lower --high, and another --study."
    )
    assert told.flat_span is None
    assert "diverged" in told.table()


def test_the_table():
    trials = [
        Result(1, 0.04, 0.25, "pruned", 3599.6, "LRRangeTest"),
        Result(0, 0.001, 0.125, "complete", 3725, "the optimizer's own"),
    ]
    assert Results("val_loss", "min", trials).table().splitlines() == [
        "   LR  val_loss     state     time",
        "0.001     0.125  complete  1:02:05  best, the optimizer's own",
        " 0.04      0.25    pruned  1:00:00  LRRangeTest",
    ]


@pytest.mark.parametrize("trials", [
    [],
    [Result(0, 0.1, math.nan, "diverged")],
    [Result(0, 0.1, 0.5, "complete"), Result(1, 0.2, 50.0, "complete"), Result(2, 0.3, 1.0, "pruned")],
])  # fmt: skip
def test_the_figure_can_be_drawn(trials, tmp_path):
    figure = results_figure(Results("val_loss", "min", trials))

    figure.savefig(tmp_path / "figure.png")
    assert figure.axes[0].get_yscale() == ("log" if len(trials) == 3 else "linear")
