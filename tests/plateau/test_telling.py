"""PlateauDetector in real fits: how it is configured, what follows by default, and what it tells."""

import json
import re
import sys

import pytest
import torch
from helpers.judged import SCHEDULERS, judged, scheduled, sgd
from helpers.scripted import Stalling, Verdicts
from helpers.toy import Toy, fit, scalars
from lightning.pytorch import Callback
from lightning.pytorch.cli import LightningCLI
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.optim import AdamW

from lightning_lr import LRDecay, PlateauDetector
from lightning_lr.plateau import (
    Escape,
    Patience,
    Progress,
    ReduceLR,
    ReportOnly,
    RestoreBest,
    Retune,
    StartCooldown,
    StopTraining,
)
from lightning_lr.policies import Constant, Linear


@pytest.mark.parametrize(
    ("make", "others", "schedule"),
    [
        (sgd, list, None),
        (sgd, lambda: [LRDecay(Constant(), interval="step", warmup=2)], None),
        (sgd, lambda: [LRDecay(Linear())], r"LRDecay\(Linear\)"),
        (scheduled(SCHEDULERS["StepLR"]), list, "StepLR"),
    ],
)
def test_with_a_schedule_the_default_is_to_report_and_an_action_given_acts(make, others, schedule, caplog):
    judge = PlateauDetector(detector=Verdicts("iipod"))
    judged(*others(), module=Stalling(make, batches=4), judge=judge, max_epochs=6)
    acted = [bool(record.effects) for record in judge.records]
    said = [line for line in caplog.messages if "only reports, since" in line]
    if schedule is None:
        assert acted == [False, False, True, True, True, False]
        assert not said
    else:
        assert not any(acted)
        assert len(said) == 1
        assert re.search(schedule, said[0])
    given = PlateauDetector(detector=Verdicts("iipod"), on_plateau=ReduceLR(0.5))
    judged(*others(), module=Stalling(make, batches=4), judge=given, max_epochs=6)
    assert given.records[2].effects


def test_changes_of_the_verdict_actions_and_a_summary_are_in_the_file_with_their_reasons(tmp_path):
    judge = PlateauDetector(
        detector=Verdicts("uiiuipouuod"), on_plateau=ReduceLR(0.5, final_decay=0), on_overfitting=[]
    )
    judged(judge=judge, max_epochs=11, root=tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "run" / "decisions.jsonl").read_text().splitlines()]
    summaries = [line["summary"] for line in lines]
    assert [each.split(",")[0] for each in summaries[:3]] == [
        "val_loss improves",
        "val_loss has reached a plateau",
        "val_loss gets worse while the training loss still falls: overfitting",
    ]
    assert summaries[1].endswith("at validation 6. Validation 6.")
    assert [line["effect"] for line in lines[1:3]] == ["LR 0.1 -> 0.05", "LR stays 0.05"]
    assert "diverging" in summaries[3]
    counts = "4 undecided, 3 improving, 1 plateau, 2 overfitting, 1 diverging"
    assert summaries[4].startswith(f"Of 11 validations of val_loss: {counts}. The last: Validat")
    assert lines[4]["effect"] == "2 actions, LR 0.015 at the end"
    assert len(lines) == 5


def test_a_run_too_short_for_a_plateau_says_so_once(caplog):
    judged(judge=PlateauDetector(), max_epochs=4)
    [said] = [line for line in caplog.messages if "The run has" in line]
    assert "The run has 4 validations, and a plateau of val_loss takes at least 7 to be seen." in said
    assert "PlateauDetector(detector=Progress(patience=...))" in said


@pytest.mark.parametrize(
    ("options", "judge", "total"),
    [
        ({"max_epochs": 4}, {}, 4),
        ({"max_epochs": 3, "val_check_interval": 0.5}, {}, 6),
        ({"max_epochs": 6, "check_val_every_n_epoch": 2}, {}, 3),
        ({"max_epochs": 5, "check_val_every_n_epoch": None, "val_check_interval": 6}, {}, 3),
        ({"max_epochs": -1, "max_steps": 12}, {}, 3),
        ({"max_epochs": 4}, {"every_n_steps": 5}, 3),
        ({"max_epochs": 7}, {}, None),
        ({"max_epochs": 4, "val_check_interval": 0.5}, {}, None),
    ],
)
def test_too_few_validations_are_told_before_the_first_step(options, judge, total, caplog):
    class Early(Callback):
        said = None

        def on_train_batch_start(self, *args):
            if self.said is None:
                self.said = [line for line in caplog.messages if "The run has" in line]

    early = Early()
    judge = PlateauDetector("loss/train" if judge else "val_loss", **judge)
    judged(early, judge=judge, **options)
    assert [f"The run has {total} validations" in line for line in early.said] == [True] * (total is not None)


def test_tensorboard_shows_verdicts_numbers_and_a_figure(tmp_path):
    judge = PlateauDetector(detector=Verdicts("uipod"), on_plateau=ReduceLR(0.5), on_overfitting=[])
    judged(judge=judge, max_epochs=5, root=tmp_path)
    curves = scalars(tmp_path)
    xs = [3, 7, 11, 15, 19]
    assert curves["plateau/val_loss/verdict"] == list(zip(xs, [0, 1, 2, 3, 4], strict=True))
    assert curves["plateau/val_loss/slope"] == [(x, -0.25) for x in xs]
    assert curves["plateau/val_loss/noise"] == [(x, 0.5) for x in xs]
    assert curves["plateau/val_loss/threshold"] == [(x, 0.125) for x in xs]
    assert curves["plateau/val_loss/upper_threshold"] == [(x, 0.375) for x in xs]
    events = EventAccumulator(str(tmp_path / "run"), size_guidance={"images": 0}).Reload()
    [image] = events.Images("plateau/val_loss")
    assert (image.width, image.height) > (400, 300)
    lines = [json.loads(line) for line in (tmp_path / "run" / "decisions.jsonl").read_text().splitlines()]
    kinds = [line["kind"] for line in lines if line["source"] == "PlateauDetector"]
    assert kinds == ["verdict", "action", "verdict", "action", "summary"]
    action = lines[kinds.index("action")]
    assert action["effect"] == "LR 0.1 -> 0.05"
    assert action["evidence"]["verdict"]["state"] == "plateau"
    assert action["evidence"]["value"] == pytest.approx(judge.records[2].value)


def test_the_figure_can_be_had_without_a_logger():
    judge = PlateauDetector(detector=Verdicts("uipod"))
    with pytest.raises(RuntimeError, match="before the first validation"):
        judge.plot()
    judged(judge=judge, max_epochs=6)
    curve, rates = judge.plot().axes
    labels = [text.get_text() for text in curve.get_legend().get_texts()]
    assert labels == ["undecided", "improving", "plateau", "overfitting", "diverging"]
    assert (curve.get_ylabel(), rates.get_ylabel()) == ("val_loss", "LR (log scale)")


def test_only_the_last_thousand_validations_are_remembered(monkeypatch):
    monkeypatch.setattr("lightning_lr.plateau.judgments._REMEMBERED", 3)
    judge, _ = judged(max_epochs=5)
    assert [record.validation for record in judge.records] == [3, 4, 5]


def test_a_fit_that_is_only_judged_is_the_plain_one():
    def end(*callbacks):
        torch.manual_seed(0)
        module = Toy(lambda parameters: AdamW(parameters, lr=0.1))
        fit(module, *callbacks, max_epochs=5)
        return [*module.parameters(), torch.rand(3)]

    judge = PlateauDetector(detector=Patience(patience=0), on_plateau=ReportOnly())
    assert all(map(torch.equal, end(), end(judge)))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"monitor": None}, TypeError, "monitor"),
        ({"mode": "auto"}, ValueError, "'min' or 'max', got 'auto'"),
        ({"detector": "SlopeTest"}, TypeError, "must be a Detector"),
        ({"on_plateau": "ReduceLR"}, TypeError, r"on_plateau=.*got 'ReduceLR'"),
        ({"on_overfitting": [ReduceLR(), 3]}, TypeError, r"on_overfitting=.*got 3"),
        ({"on_divergence": ReduceLR}, TypeError, "on_divergence="),
    ],
)
def test_bad_arguments_are_errors_that_name_them(arguments, error, message):
    with pytest.raises(error, match=message):
        PlateauDetector(**arguments)


def test_it_is_configured_in_yaml(tmp_path, monkeypatch):
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")
    config = tmp_path / "run.yaml"
    config.write_text("""
trainer:
  accelerator: cpu
  logger: false
  callbacks:
    - class_path: lightning_lr.PlateauDetector
    - class_path: lightning_lr.PlateauDetector
      init_args:
        monitor: val_acc
        mode: max
        detector:
          class_path: lightning_lr.plateau.Patience
          init_args: {patience: 3}
        on_plateau:
          class_path: lightning_lr.plateau.ReduceLR
          init_args: {factor: 0.2, min_lr: 1e-5}
        on_overfitting:
          - class_path: lightning_lr.plateau.RestoreBest
          - class_path: lightning_lr.plateau.StopTraining
        on_divergence: []
    - class_path: lightning_lr.PlateauDetector
      init_args:
        monitor: third
        detector: {class_path: lightning_lr.plateau.SlopeTest}
        on_plateau: {class_path: lightning_lr.plateau.StartCooldown}
        on_overfitting: {class_path: lightning_lr.plateau.Escape, init_args: {quantity: momentum}}
        on_divergence:
          - class_path: lightning_lr.plateau.Retune
          - class_path: lightning_lr.plateau.ReportOnly
""")
    monkeypatch.setenv("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
    monkeypatch.setattr(sys, "argv", ["run.py", "--config", str(config)])
    cli = LightningCLI(Toy, run=False, save_config_callback=None, seed_everything_default=False)
    plain, full, other = (each for each in cli.trainer.callbacks if isinstance(each, PlateauDetector))
    assert (plain.monitor, plain.mode, plain.detector) == ("val_loss", "min", Progress())
    assert plain.on_plateau is plain.on_overfitting is plain.on_divergence is None
    assert (full.monitor, full.mode, full.detector) == ("val_acc", "max", Patience(patience=3))
    assert full.on_plateau == (ReduceLR(0.2, min_lr=1e-5),)
    assert full.on_overfitting == (RestoreBest(), StopTraining())
    assert full.on_divergence == ()
    assert other.on_plateau == (StartCooldown(),)
    assert other.on_overfitting == (Escape(quantity="momentum"),)
    assert other.on_divergence == (Retune(), ReportOnly())
