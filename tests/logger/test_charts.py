"""Custom Scalars: in any combination of callbacks, every chart has a curve and every curve a chart."""

import re

import pytest
from helpers.charted import COMBINATIONS, fit_with
from helpers.toy import Toy, fit
from lightning.pytorch.callbacks import ModelCheckpoint
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2

from lightning_lr import LRLogger, LRRangeTest

# Of these TensorBoard has a tab of its own, or they are numbers that stand for words.
WITHOUT = r"epoch|hp_metric|plateau/.*/verdict|search/steps"


def charts_and_tags(root):
    """Return the tags of each chart of the newest layout, and all tags."""
    events = EventAccumulator(str(root / "run"), size_guidance={"tensors": 0}).Reload()
    layout = layout_pb2.Layout()
    newest = events.Tensors("custom_scalars__config__")[-1]
    layout.ParseFromString(newest.tensor_proto.string_val[0])
    charts = {chart.title: list(chart.multiline.tag) for each in layout.category for chart in each.chart}
    return charts, events.Tags()["scalars"]


@pytest.mark.usefixtures("quick_figures")
@pytest.mark.parametrize("names", COMBINATIONS)
def test_every_chart_has_a_curve_and_every_curve_a_chart(names, tmp_path):
    fit_with(names, tmp_path, "run")

    charts, tags = charts_and_tags(tmp_path)
    for title, patterns in charts.items():
        assert any(re.match(pattern, tag) for pattern in patterns for tag in tags), title
    for tag in tags:
        drawn = any(re.match(pattern, tag) for patterns in charts.values() for pattern in patterns)
        assert drawn or re.fullmatch(WITHOUT, tag), tag


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
@pytest.mark.parametrize("folder", ["run", "again"])
def test_a_resumed_run_keeps_the_charts_of_its_folder(folder, tmp_path):
    checkpoint = ModelCheckpoint(tmp_path / "kept", save_last=True)
    fit(
        Toy(), LRLogger(), LRRangeTest(30), checkpoint, root=tmp_path, max_epochs=1, enable_checkpointing=True
    )
    root = tmp_path if folder == "run" else tmp_path / folder
    last = str(tmp_path / "kept/last.ckpt")
    fit(Toy(), LRLogger(), LRRangeTest(30), root=root, max_epochs=3, ckpt_path=last)

    charts, _ = charts_and_tags(root)
    assert ("LR of each step of the test" in charts) == (folder == "run")
    assert "LR, every group" in charts
