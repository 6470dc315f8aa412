"""Our callbacks under `lightning.pytorch` and `pytorch_lightning`, imported in any order: all the same."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("cases.py")
CASES, EXAMPLES = (runpy.run_path(str(SCRIPT))[name] for name in ("CASES", "EXAMPLES"))


@pytest.fixture(scope="module")
def found(once):
    def make(folder):
        environment = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "100"}
        subprocess.run([sys.executable, SCRIPT, folder], env=environment, timeout=500, check=True)

    def read(case):
        path = folder / case / "found.json"
        assert path.exists(), (folder / case / "stderr").read_text()
        return json.loads(path.read_text())

    folder = once("lightnings", make)
    return read


@pytest.mark.parametrize("case", CASES)
def test_only_what_the_program_imports_is_imported(case, found):
    wanted = {name.partition(".")[0] for name in CASES[case][0]} - {"lightning_lr"}
    assert set(found(case)["imported"]) == wanted


@pytest.mark.parametrize("case", CASES)
def test_callbacks_are_those_of_each_lightning_and_do_the_same(case, found):
    reference, looked = found("lightning"), found(case)
    assert looked["are callbacks"] == [True] * 4
    assert looked["from YAML"] == [True, True]
    assert looked["logged"] == reference["logged"]
    assert looked["averaged"] == reference["averaged"]
    assert looked["previewed"] == reference["previewed"]
    assert looked["refused"] == reference["refused"]


def test_what_is_compared_is_there(found):
    looked = found("lightning")
    logged = looked["logged"]["TensorBoard"]
    assert logged["."]["points"].keys() >= {
        "LR/AdamW",
        "Loss/val",
        "plateau/loss/val/verdict",
        "range_test/loss",
    }
    assert logged["."]["figures"].keys() == {"Overview", "range_test", "lr", "plateau/loss/val"}
    assert logged["."]["texts"].keys() >= {"decisions/text_summary", "range_test/text_summary"}
    assert "lr_schedule" in logged["hparams"]["HParams"][0]
    assert looked["logged"]["decisions"]
    assert [" ".join(each.split()[:3]) for each in looked["refused"]] == [
        "The callback StochasticWeightAveraging",
        "StochasticWeightAveraging keeps averages",
        "LRLogger has nowhere",
    ]
    assert [[name.partition("[")[0] for name in names] for names in looked["averaged"]] == [
        ["StochasticWeightAveraging"] * 3,
        ["EMAWeightAveraging"] * 3,
    ]
    assert all(
        plan.startswith("Linear(end=0.0, start=1.0) per epoch, 6 steps") for plan in looked["previewed"]
    )


def test_the_main_example_logs_the_same_tag_by_tag(found):
    ours, theirs = map(found, EXAMPLES)
    assert (ours["imported"], theirs["imported"]) == (["lightning"], ["pytorch_lightning"])
    assert ours["TensorBoard"].keys() == theirs["TensorBoard"].keys()
    assert any("val_acc" in kinds["points"] for kinds in ours["TensorBoard"].values())
    for folder, kinds in ours["TensorBoard"].items():
        for kind, tags in kinds.items():
            assert theirs["TensorBoard"][folder][kind] == tags, (folder, kind)
