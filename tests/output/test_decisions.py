"""Decisions are told in the console, in TensorBoard and in a file, and a run does not end because of that."""

import json
import math
import re

import numpy as np
import pytest
import torch
from helpers.toy import ManualToy, Toy, trainer
from lightning.pytorch import Callback
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.logger import Logger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_lr import LRDecay, LRLogger
from lightning_lr.output.decisions import Entry, story_of, tell


class Tells(Callback):
    """Tells one decision at each of these steps, and one at each validation."""

    def __init__(self, *steps, **evidence):
        self.steps = steps
        self.evidence = evidence

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step in self.steps:
            tell(trainer, Entry("Tells", "test", f"Step {trainer.global_step}.", "LR a|b", self.evidence))

    def on_validation_end(self, trainer, pl_module):
        tell(trainer, Entry("Tells", "validation", "Line one.\nLine two.", "LR stays"))


def decisions(folder):
    return [json.loads(line) for line in (folder / "decisions.jsonl").read_text().splitlines()]


def texts(root, tag="decisions"):
    events = EventAccumulator(str(root / "run"), size_guidance={"tensors": 0}).Reload()
    return [
        (event.step, event.tensor_proto.string_val[0].decode())
        for event in events.Tensors(f"{tag}/text_summary")
    ]


def test_every_text_holds_the_whole_story_and_every_line_one_decision(tmp_path):
    trainer(Tells(2, 12), root=tmp_path).fit(Toy())
    lines, shown = decisions(tmp_path / "run"), texts(tmp_path)
    assert [(line["step"], line["epoch"], line["kind"]) for line in lines] == [
        (2, 0, "test"),
        (9, 0, "validation"),
        (12, 1, "test"),
        (19, 1, "validation"),
    ]
    assert [step for step, _ in shown] == [2, 9, 12, 19]
    for count, (_, text) in enumerate(shown, start=1):
        items = text.splitlines()
        assert len(items) == count
    when = r"\(20\d\d-\d\d-\d\d \d\d:\d\d:\d\d\)"
    assert re.fullmatch(rf"1\. \*\*Step 2, epoch 0: LR a\|b\.\*\* Tells, test: Step 2\. {when}", items[0])
    assert items[1].startswith("1. **Step 9, epoch 0: LR stays.** Tells, validation: Line one. Line two. (20")


def test_the_x_is_that_of_the_curves_under_manual_optimization_too(tmp_path):
    trainer(Tells(4), LRLogger(), root=tmp_path, max_epochs=1).fit(ManualToy())
    # Two optimizers step in every batch.
    assert [(line["kind"], line["step"]) for line in decisions(tmp_path / "run")] == [
        ("test", 2),
        ("validation", 9),
    ]


def test_evidence_of_any_kind_is_json_without_nan(tmp_path):
    evidence = {
        "nan": math.nan,
        "infinities": (math.inf, -math.inf),
        "array": np.array([1.5, np.nan]),
        "number": np.float32(0.5),
        "tensor": torch.tensor(2.0),
        "nested": {1: {"set": {3}}},
        "path": tmp_path,
    }
    trainer(Tells(0, **evidence), root=tmp_path, max_epochs=1).fit(Toy())
    text = (tmp_path / "run" / "decisions.jsonl").read_text().splitlines()[0]

    def refuse(name):
        raise AssertionError(name)

    assert json.loads(text, parse_constant=refuse)["evidence"] == {
        "nan": "nan",
        "infinities": ["inf", "-inf"],
        "array": [1.5, "nan"],
        "number": 0.5,
        "tensor": 2.0,
        "nested": {"1": {"set": [3]}},
        "path": str(tmp_path),
    }


def test_without_a_logger_or_a_folder_there_is_a_console_line_and_no_file(tmp_path, monkeypatch, caplog):
    class Nowhere(Logger):
        name, version = "nowhere", 0

        def log_metrics(self, metrics, step=None):
            pass

        def log_hyperparams(self, *args, **kwargs):
            pass

    monkeypatch.chdir(tmp_path)
    for logger in (False, Nowhere()):
        trainer(Tells(0), logger=logger, max_epochs=1).fit(Toy())
        assert "Tells: LR a|b. Step 0." in caplog.messages
    trainer(Tells(0), root=tmp_path, fast_dev_run=True).fit(Toy())
    assert list(tmp_path.iterdir()) == []


def test_of_a_logger_that_shares_its_folder_among_runs_the_run_has_one_of_its_own(tmp_path):
    class Sharing(Logger):
        name, version, save_dir = "project", "run 7", str(tmp_path)

        def log_metrics(self, metrics, step=None):
            pass

        def log_hyperparams(self, *args, **kwargs):
            pass

    trainer(Tells(0), logger=Sharing(), max_epochs=1).fit(Toy())
    assert len(decisions(tmp_path / "project" / "run 7")) == 2
    csv = CSVLogger(tmp_path, version=3)
    trainer(Tells(0), logger=[Sharing(), csv], max_epochs=1).fit(Toy())
    assert len(decisions(tmp_path / "lightning_logs" / "version_3")) == 2


def test_a_file_that_cannot_be_written_is_told_once_and_the_run_goes_on(tmp_path):
    (tmp_path / "run" / "decisions.jsonl").mkdir(parents=True)
    fit = trainer(Tells(0, 1, 2), root=tmp_path, max_epochs=1)
    with pytest.warns(UserWarning, match="are not written to") as caught:
        fit.fit(Toy())
    assert len([each for each in caught if "are not written to" in str(each.message)]) == 1
    assert fit.global_step == 10
    assert len(texts(tmp_path)) == 4


def test_a_half_written_line_is_ended_and_not_continued(tmp_path):
    path = tmp_path / "run" / "decisions.jsonl"
    path.parent.mkdir()
    path.write_text('{"whole": 1}\n{"hal')
    trainer(Tells(0), root=tmp_path, max_epochs=1).fit(Toy())
    whole, half, *rest = path.read_text().splitlines()
    assert (whole, half) == ('{"whole": 1}', '{"hal')
    assert [json.loads(line)["kind"] for line in rest] == ["test", "validation"]


def test_a_long_story_is_shown_from_its_last_decisions_on(tmp_path):
    fit = trainer(Tells(*range(250)), LRLogger(), root=tmp_path, max_epochs=25, limit_val_batches=0)
    fit.fit(Toy())
    lists = texts(tmp_path)
    assert [step for step, _ in lists] == [*range(20), 39, 79, 159, 249]
    text = lists[-1][1]
    assert text.splitlines()[0] == "The 50 decisions before these are in `decisions.jsonl`."
    assert len(text.splitlines()) == 2 + 200
    assert len(decisions(tmp_path / "run")) == len(story_of(fit).entries) == 250
    # A decision that the list does not show yet can be read all the same.
    newest = texts(tmp_path, "decisions_newest")
    assert sorted([*newest, *lists])[100][0] == 100
    assert newest[0][1].startswith("**Step 20, epoch 2: LR a|b.** Tells, test: Step 20. (")


def test_the_texts_of_a_story_grow_with_its_length_and_not_with_its_square(tmp_path):
    sizes = {}
    for count in (500, 1000, 2000):
        fit = trainer(root=tmp_path / f"{count}", max_epochs=1)
        fit.strategy.connect(Toy())
        for step in range(count):
            tell(fit, Entry("Tells", "test", f"Step {step} improved the loss by nothing. " * 3, "LR stays"))
        fit.logger.experiment.close()
        [events] = (tmp_path / f"{count}" / "run").glob("events*")
        sizes[count] = events.stat().st_size
    assert sizes[2000] < 1.5 * 2**20
    assert sizes[2000] - sizes[1000] < 2.5 * (sizes[1000] - sizes[500])


def test_a_second_fit_goes_on_with_the_story_and_a_resumed_one_with_that_of_its_checkpoint(tmp_path):
    fit = trainer(Tells(2, 7, 12), LRLogger(), root=tmp_path, max_epochs=1)
    module = Toy()
    fit.fit(module)
    fit.save_checkpoint(tmp_path / "epoch.ckpt")
    fit.fit_loop.max_epochs = 2
    fit.fit(module)
    steps = [entry["step"] for entry in story_of(fit).entries]
    assert steps == [2, 7, 9, 10, 12, 19]
    assert story_of(fit).entries[3]["kind"] == "resume"
    fit.fit(Toy(), ckpt_path=tmp_path / "epoch.ckpt")
    assert [entry["step"] for entry in story_of(fit).entries] == steps
    # To test does not go on with anything.
    fit.validate(Toy(), ckpt_path=tmp_path / "epoch.ckpt", verbose=False)
    assert [entry["step"] for entry in story_of(fit).entries][: len(steps)] == steps


def test_the_end_of_a_warm_up_is_told_once(tmp_path):
    decay = LRDecay(interval="step", warmup=3)
    trainer(decay, root=tmp_path, accumulate_grad_batches=2).fit(Toy())
    [line] = decisions(tmp_path / "run")
    assert (line["source"], line["kind"], line["step"]) == ("LRDecay", "warm-up end", 3)
    assert line["summary"] == "The warm-up of 3 steps is over."
    assert line["effect"].startswith("LR 0.1, from here on by Linear(")


def test_an_lr_that_other_code_changes_is_told(tmp_path):
    class Changes(Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            if batch_idx == 4:
                trainer.optimizers[0].param_groups[0]["lr"] = 0.02

    with pytest.warns(UserWarning, match="Other code changed a learning rate"):
        trainer(LRDecay(interval="step"), Changes(), root=tmp_path, max_epochs=1).fit(Toy())
    [line] = decisions(tmp_path / "run")
    assert line["kind"] == "LR changed"
    assert line["evidence"] == {"expected": pytest.approx(0.06), "found": 0.02}
