"""What a run logs, read from the real TensorBoard server over HTTP, as a browser does."""

import json
import re
import urllib.parse
import urllib.request

import pytest
from helpers.logged_run import STEPS, run_apart
from helpers.tensorboard import serve, wait_until


@pytest.fixture(scope="module")
def logs(once):
    def make(folder):
        run_apart(folder, "whole")
        run_apart(folder, "resumed", "--kill-at", 27, killed=True)
        run_apart(folder, "resumed", "--resume", folder / "saved resumed" / "step=20.ckpt")

    return once("logs of a server", make)


# The usual server reads the files with a program of its own; where that is not to be had, Python does.
@pytest.fixture(scope="module", params=["true", "false"], ids=["fast", "python"])
def server(request, logs):
    with serve(str(logs), "--load_fast", request.param) as running:
        wait_until(lambda: _has_read_all(running))
        yield running


def _has_read_all(server):
    tags = server.json("plugin/scalars/tags")
    runs = ("whole", "resumed", "whole/hparams", "resumed/hparams")
    if not all(tags.get(run) for run in runs):
        return False
    return all(server.curve(f"{run}/hparams", "result/val_acc") for run in ("whole", "resumed")) and all(
        "Loss/train_epoch" in tags[run] and len(server.curve(run, "Loss/train_epoch")) == 3
        for run in ("whole", "resumed")
    )


def test_every_curve_is_there_and_a_resumed_run_has_the_same_ones(server):
    whole, resumed = server.curves("whole"), server.curves("resumed")
    for tag in ("LR/AdamW", "Loss/train"):
        assert [x for x, _ in whole[tag]] == list(range(STEPS))
    assert [x for x, _ in whole["Loss/val"]] == [9, 19, 29]
    assert {"lr_base/AdamW", "lr_factor/AdamW", "range_test/lr", "plateau/val_acc/verdict"} <= whole.keys()
    assert resumed == whole


def test_the_layout_has_every_chart_and_each_finds_its_curves(server):
    layout = server.json("plugin/custom_scalars/layout")
    charts = {category["title"]: category["chart"] for category in layout["category"]}
    assert list(charts) == ["Learning rate", "Loss", "Range test"]
    found = {}
    for chart in (chart for of_category in charts.values() for chart in of_category):
        for regex in chart.get("multiline", {"tag": []})["tag"]:
            answer = server.json("plugin/custom_scalars/scalars", run="whole", tag=regex)
            assert answer["regex_valid"]
            found.setdefault(chart["title"], set()).update(answer["tag_to_events"])
    assert found["LR, every group"] == {"LR/AdamW"}
    assert found["Factor: LR / base LR"] == {"lr_factor/AdamW"}
    assert found["Training loss per epoch, and validation loss"] == {"Loss/train_epoch", "Loss/val"}
    # From three validations the detector estimates no slope and no noise: these have no chart.
    assert all(found.values())
    # A chart with a band shows an error where one of its curves lacks a step.
    assert not any("margin" in chart for of_category in charts.values() for chart in of_category)


def test_the_figures_are_there(server):
    tags = server.json("plugin/images/tags")["whole"]
    assert min(tags) == "Overview"
    assert tags.keys() == {"Overview", "range_test", "plateau/val_acc", "lr"}
    for tag in tags:
        *_, image = server.json("plugin/images/images", run="whole", tag=tag, sample=0)
        picture = server.get("plugin/images/individualImage", **dict(urllib.parse.parse_qsl(image["query"])))
        assert picture.startswith(b"\x89PNG")
        assert len(picture) > 5000


def test_the_story_is_one_text_from_top_to_bottom(server):
    texts = server.json("plugin/text/text", run="resumed", tag="decisions/text_summary")
    items = re.findall(r"<li>(.*?)</li>", texts[-1]["text"], re.DOTALL)
    what = [
        found[0] for item in items if (found := re.search("LRRangeTest, range test|LRLogger, resume", item))
    ]
    assert what == ["LRRangeTest, range test", "LRLogger, resume"]
    assert all(re.match(r"(<p>)?<strong>Step \d+, epoch \d: .*LR .*\.</strong>", item) for item in items)


def test_hyperparameters_of_runs_compare(server, logs):
    names = ["lr_base", "lr_found", "lr_found_by", "lr_schedule", "plateau_detector", "width", "nested/lr"]
    experiment = server.post("plugin/hparams/experiment", {"experimentName": ""})
    assert set(names) <= {info["name"] for info in experiment["hparamInfos"]}
    metrics = [info["name"] for info in experiment["metricInfos"]]
    request = {
        "experimentName": "",
        "allowedStatuses": ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"],
        "colParams": [{"metric": name} for name in metrics],
        "startIndex": 0,
        "sliceSize": 100,
    }
    groups = server.post("plugin/hparams/session_groups", request)["sessionGroups"]
    ours = [
        {**group["hparams"], "name": session["name"]}
        for group in groups
        for session in group["sessions"]
        if session["name"].endswith("/hparams")
    ]
    assert {row["name"] for row in ours} == {"whole/hparams", "resumed/hparams"}
    assert ours[0]["lr_base"] == pytest.approx(ours[1]["lr_base"])
    told = map(json.loads, (logs / "whole/decisions.jsonl").read_text().splitlines())
    [lr] = [each["evidence"]["lr"] for each in told if each["kind"] == "range test"]
    assert [row["lr_found"] for row in ours] == pytest.approx([lr, lr])
    assert [row["lr_found_by"] for row in ours] == ["LRRangeTest, Basin"] * 2
    assert ours[0]["lr_schedule"].startswith("LRDecay(policy=Cosine(end=0.01)")
    assert ours[0]["plateau_detector"] == "PlateauDetector(monitor='val_acc', mode='max')"
    assert ours[0]["width"] == 4
    for run in ("whole", "resumed"):
        values = server.curves(f"{run}/hparams")
        assert values["result/val_acc"][-1] == server.curve(run, "val_acc")[-1]
        assert values["result/loss/val"][-1] == server.curve(run, "Loss/val")[-1]
