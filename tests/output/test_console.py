"""What a fit says in the console: one line for each decision, and one at the end."""

import io
import json
import logging
import re
import sys

import pytest
from helpers.finders import Learner
from helpers.judged import judged
from helpers.scripted import Verdicts
from helpers.toy import Toy, fit, trainer
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

from lightning_lr import LRDecay, LRLogger, LRRangeTest, LRSearch, PlateauDetector
from lightning_lr.finders import MidDescent
from lightning_lr.finders.doubts import NO_WARMUP
from lightning_lr.output.decisions import Entry, tell
from lightning_lr.plateau import Patience, ReduceLR, ReportOnly
from lightning_lr.policies import Linear

OURS = ("LRRangeTest", "LRSearch", "LRDecay", "PlateauDetector", "LRLogger", "Tells")


class Validated(Learner):
    """Is validated by something that it can learn."""

    def val_dataloader(self):
        return self.train_dataloader()


NUMBER = r"[\d.]+(?:e-\d+)?"


@pytest.fixture
def said(caplog):
    """Return what our callbacks have said so far."""
    caplog.set_level(logging.INFO)
    return lambda: [line for line in caplog.messages if line.startswith(OURS)]


def told(root):
    return [json.loads(line) for line in (root / "run" / "decisions.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(("finder", "kind"), [(LRRangeTest(40), "range test"), (LRSearch(), "search")])
def test_an_lr_found_is_one_short_line_and_the_reasons_are_in_the_file(finder, kind, said, tmp_path):
    fit(Validated(), finder, LRDecay(Linear(), interval="step", warmup=4), max_epochs=40, root=tmp_path)
    found = finder.suggestion
    [line] = [line for line in said() if "->" in line]
    span = f"({found.low:.2g} to {found.high:.2g})"
    assert line == f"{finder.name}: LR 0.002 -> {found.lr:.3g} {span}."
    [entry] = [entry for entry in told(tmp_path) if entry["kind"] == kind]
    assert found.reason in entry["summary"]
    assert entry["evidence"]["lr"] == found.lr


def test_what_there_is_to_do_about_an_lr_stays_in_the_line(said):
    fit(Learner(), LRRangeTest(40, rule=MidDescent()), max_epochs=40)
    [line] = said()
    assert line.endswith(f"). {NO_WARMUP}")


def test_an_lr_that_is_only_looked_for_comes_first_too(said):
    test = LRRangeTest(40, apply=False)
    fit(Learner(), test, LRDecay(Linear(), interval="step", warmup=4), max_epochs=40)
    found = test.suggestion
    assert said() == [
        f"LRRangeTest: LR {found.lr:.3g} ({found.low:.2g} to {found.high:.2g}) found, and LR stays 0.002."
    ]


def test_a_change_by_the_detector_is_one_short_line_and_improving_is_none(said):
    judge = PlateauDetector(
        detector=Verdicts("uiiuipouuod"), on_plateau=ReduceLR(0.5, final_decay=0), on_overfitting=[]
    )
    judged(judge=judge, max_epochs=11)
    *lines, _ = said()
    assert lines[0] == "PlateauDetector: plateau of val_loss at validation 6: LR 0.1 -> 0.05."
    assert lines[1] == "PlateauDetector: overfitting in val_loss at validation 7: LR stays 0.05."
    assert lines[2].startswith("PlateauDetector: divergence of val_loss at validation 11: weights back to")
    assert len(lines) == 3


@pytest.mark.parametrize(
    ("others", "options", "lines"),
    [
        ([], {"on_plateau": []}, 1),
        ([], {"on_plateau": ReportOnly()}, 1),
        ([LRDecay(Linear())], {}, 0),
        ([], {"on_plateau": ReduceLR(0.5, min_lr=0.1)}, 0),
    ],
)
def test_a_plateau_without_an_action_is_told_where_one_asked_to_be_told(others, options, lines, said):
    judge = PlateauDetector(detector=Verdicts("ippp"), **options)
    judged(*others, judge=judge, max_epochs=4)
    assert len([line for line in said() if "plateau of val_loss" in line]) == lines


def test_what_is_warned_of_is_not_said_again(said):
    class Other(Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            if trainer.global_step == 5:
                trainer.optimizers[0].param_groups[0]["lr"] = 0.5

    with pytest.warns(UserWarning, match="Other code changed a learning rate"):
        fit(Toy(), Other(), LRDecay(Linear()))
    assert said() == []


def test_the_last_line_says_what_is_best_and_where_the_logs_are(said, tmp_path):
    decay = LRDecay(Linear(), interval="step")
    fit(Toy(), LRLogger(), decay, root=tmp_path, max_epochs=3)
    *_, line = said()
    value, step, lr = re.fullmatch(
        rf"LRLogger: best validation loss ({NUMBER}) after step (\d+) of 30, LR ({NUMBER})\."
        rf" Logs: {re.escape(str(tmp_path / 'run'))}",
        line,
    ).groups()
    assert float(value) > 0
    # The step before the validation was made with this LR; that of the next one is lower.
    assert float(lr) == pytest.approx(0.1 * (1 - (int(step) - 1) / 30), rel=5e-3)


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
def test_the_best_of_a_resumed_run_is_that_of_the_whole_run(said, tmp_path):
    class Worse(Toy):
        def validation_step(self, batch, batch_idx):
            return super().validation_step(batch, batch_idx) + self.current_epoch

    saver = ModelCheckpoint(tmp_path / "saved", "{epoch}", save_top_k=-1)
    fit(Worse(), LRLogger(), saver, root=tmp_path, max_epochs=2, enable_checkpointing=True)
    *_, first = said()
    fit(Worse(), LRLogger(), ckpt_path=tmp_path / "saved" / "epoch=1.ckpt", root=tmp_path, max_epochs=4)
    *_, second = said()
    assert "after step 10 of 20" in first
    assert second == first.replace("of 20", "of 40")


def test_without_a_validation_the_last_line_says_where_the_logs_are(said, tmp_path):
    logger = CSVLogger(tmp_path)
    fit(Toy(), LRLogger(), logger=logger, limit_val_batches=0)
    assert said() == [f"LRLogger: Logs: {logger.log_dir}"]


def test_without_an_lr_logger_the_detector_says_the_last_line(said):
    judge = PlateauDetector("val_loss", detector=Patience(100))
    fit(Toy(), judge, max_epochs=3)
    [line] = [line for line in said() if "best" in line]
    best = min(judge.records, key=lambda record: record.value)
    assert line == (
        f"PlateauDetector: best val_loss {best.value:.3g} at validation {best.validation} (step"
        f" {10 * best.validation}), LR 0.1."
    )


def test_with_both_there_is_one_last_line(said, tmp_path):
    fit(Toy(), PlateauDetector(detector=Patience(100)), LRLogger(), root=tmp_path)
    [line] = [line for line in said() if "best" in line]
    assert line.startswith("LRLogger: best validation loss ")


def test_after_an_error_there_is_no_last_line(said, tmp_path):
    class Broken(Toy):
        def training_step(self, batch, batch_idx):
            if self.global_step == 15:
                raise RuntimeError("broken")
            return super().training_step(batch, batch_idx)

    with pytest.raises(RuntimeError, match="broken"):
        fit(Broken(), LRLogger(), root=tmp_path)
    assert said() == []


def test_a_user_who_silences_lightning_silences_this(caplog, tmp_path):
    logger = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        fit(Validated(), LRRangeTest(40), LRLogger(), root=tmp_path, max_epochs=1)
    finally:
        logger.setLevel(level)
    assert [line for line in caplog.messages if line.startswith(OURS)] == []


def test_a_line_does_not_stick_to_a_progress_bar(monkeypatch, said):
    tqdm = pytest.importorskip("tqdm")
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)

    class Tells(Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            if trainer.global_step == 3:
                with tqdm.tqdm(total=9, file=stream) as bar:
                    bar.update(3)
                    handler = logging.StreamHandler(stream)
                    logging.getLogger("lightning.pytorch.utilities.rank_zero").addHandler(handler)
                    try:
                        tell(trainer, Entry("Tells", "test", "Why.", "LR 1 -> 2"))
                    finally:
                        logging.getLogger("lightning.pytorch.utilities.rank_zero").removeHandler(handler)

    trainer(Tells(), max_epochs=1).fit(Toy())
    assert said() == ["Tells: LR 1 -> 2. Why."]
    before, _ = stream.getvalue().split("Tells: LR 1 -> 2. Why.")
    # The bar has been wiped out.
    assert re.search(r"\r +\r$", before)
