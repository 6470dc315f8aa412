"""The figure of a plan."""

import matplotlib.pyplot as plt
import pytest

from lightning_lr import preview
from lightning_lr.policies import (
    Cosine,
    Linear,
)
from lightning_lr.preview.figure import planned_figure


def test_a_long_run_is_drawn_from_few_points():
    plan = preview(Cosine(), max_steps=10**7, interval="step", warmup=12_345)
    [(x, lrs)] = plan.curves().values()
    assert len(x) <= 5_002
    assert (x[0], x[-1]) == (0, 10**7 - 1)
    assert (12_345, 1.0) in zip(x, lrs, strict=True)


def axes_of(**kwargs):
    return planned_figure(**kwargs).axes[0]


def test_the_line_is_the_plan_and_the_points_are_what_was_used():
    lrs = {"lr/SGD": ([0, 1, 2, 3], [0.4, 0.3, 0.2, 0.1])}
    axes = axes_of(planned=lrs, used={"lr/SGD": ([0, 1], [0.4, 0.3])}, epoch_starts=[0, 2])
    line, points = axes.lines
    # The last LR holds to the end of its step.
    assert [list(map(float, each)) for each in line.get_data()] == [
        [0, 1, 2, 3, 4],
        [0.4, 0.3, 0.2, 0.1, 0.1],
    ]
    assert [list(map(float, each)) for each in points.get_data()] == [[0, 1], [0.4, 0.3]]
    assert points.get_linestyle() == "None"
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "lr/SGD, planned, at most 0.4",
        "lr/SGD, used",
    ]


@pytest.mark.parametrize(
    ("lrs", "warmup", "scale"),
    [
        ([1.0, 0.5, 0.1], 0, "linear"),
        ([1.0, 0.5, 0.09], 0, "log"),
        ([0.0, 1.0, 0.5], 1, "linear"),
        ([0.001, 1.0, 0.5], 1, "linear"),
        ([0.001, 1.0, 0.5], 0, "log"),
        ([0.0, 0.0], 0, "linear"),
        ([1.0, 0.0], 0, "linear"),
    ],
)
def test_the_lr_axis_is_logarithmic_beyond_a_decade(lrs, warmup, scale):
    axes = axes_of(planned={"lr": (range(len(lrs)), lrs)}, warmup=warmup)
    assert axes.get_yscale() == scale
    assert ("log scale" in axes.get_ylabel()) == (scale == "log")
    low, high = axes.get_ylim()
    assert low <= min((lr for lr in lrs if lr > 0), default=0)
    assert high > max(lrs)


def test_a_decay_to_zero_leaves_room_for_its_body():
    plan = preview(Linear(), max_steps=100_000, interval="step")
    bottom, _ = plan.figure().axes[0].get_ylim()
    assert 1e-3 < bottom < 0.1


def test_the_epochs_stand_along_the_top(tmp_path):
    figure = preview(Linear(), max_epochs=300, steps_per_epoch=7).figure()
    figure.savefig(tmp_path / "plan.png")
    [top] = figure.axes[0].child_axes
    assert [tick.get_text() for tick in top.get_xticklabels()] == ["0", "50", "100", "150", "200", "250"]
    assert list(top.get_xticks()) == [0, 350, 700, 1050, 1400, 1750]


def test_nothing_to_draw_is_refused():
    for planned in ({}, {"lr": ([], [])}):
        with pytest.raises(ValueError, match="at least one curve"):
            planned_figure(planned)


def test_a_figure_opens_no_window_and_keeps_no_state(tmp_path):
    preview(Cosine(), max_epochs=30, base_lr=0.1).save_png(tmp_path / "plan.png")
    assert (tmp_path / "plan.png").read_bytes().startswith(b"\x89PNG\r\n")
    assert plt.get_fignums() == []
