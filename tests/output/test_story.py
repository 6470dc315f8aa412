"""No decision is lost: what could not be written is written later, in order and once."""

import errno
import io
import json
import resource
import shutil
import signal
from contextlib import contextmanager

import pytest
import torch
from helpers.toy import Toy, trainer
from lightning.pytorch import Callback

from lightning_lr import LRLogger
from lightning_lr.output.decisions import Entry, story_of, tell
from lightning_lr.output.story import Story

FILE = "decisions.jsonl"


def entry(number):
    told = {"time": float(number), "step": number, "epoch": 0, "source": "test", "kind": "test"}
    return told | {"summary": "What happened. " * 10, "effect": "none", "evidence": {"lrs": [0.1, number]}}


def steps(folder):
    return [json.loads(line)["step"] for line in (folder / FILE).read_text().splitlines()]


def written(folder, *numbers, story=None):
    story = story or Story()
    for number in numbers:
        story.add(entry(number))
        story.write_to(str(folder))
    return story


@contextmanager
def a_file_in_the_way(folder):
    folder.parent.mkdir(exist_ok=True)
    if folder.exists():
        folder.rename(folder.with_name("aside"))
    folder.write_text("")
    yield
    folder.unlink()
    if folder.with_name("aside").exists():
        folder.with_name("aside").rename(folder)


@contextmanager
def a_folder_in_the_way(folder):
    folder.mkdir(exist_ok=True)
    file, aside = folder / FILE, folder / "aside"
    if file.exists():
        file.rename(aside)
    file.mkdir()
    yield
    file.rmdir()
    if aside.exists():
        aside.rename(file)


@contextmanager
def a_full_disk(folder):
    """Let the file grow by less than a line: the system writes a part of it."""
    folder.mkdir(exist_ok=True)
    size = (folder / FILE).stat().st_size if (folder / FILE).exists() else 0
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 50, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("outage", [a_file_in_the_way, a_folder_in_the_way, a_full_disk])
@pytest.mark.parametrize("before", [0, 3])
def test_what_could_not_be_written_is_written_later(outage, before, tmp_path, caplog):
    folder = tmp_path / "run"
    story = written(folder, *range(before))
    with (
        outage(folder),
        pytest.warns(UserWarning, match="are not written to .*gets them as soon as") as warned,
    ):
        written(folder, *range(before, before + 4), story=story)
    assert len(warned) == 1
    if before:
        assert steps(folder) == list(range(before))  # and no half of a line
    written(folder, 10, 11, story=story)
    assert steps(folder) == [*range(before + 4), 10, 11]
    assert [line for line in caplog.messages if "all decisions again" in line] == [
        f"{folder / FILE} has all decisions again."
    ]
    # A second outage is told again.
    with outage(folder), pytest.warns(UserWarning, match="are not written to"):
        written(folder, 12, story=story)


def test_a_file_whose_end_is_unknown_is_read_before_it_is_continued(tmp_path, monkeypatch):
    class Torn(io.FileIO):
        """A file whose end cannot be taken back."""

        def truncate(self, size=None):
            raise OSError(errno.EIO, "Input/output error")

    story = written(tmp_path, 0, 1)
    monkeypatch.setattr(type(tmp_path), "open", lambda self, mode, buffering: Torn(self, mode))
    with a_full_disk(tmp_path), pytest.warns(UserWarning, match="Input/output error"):
        written(tmp_path, 2, story=story)
    monkeypatch.undo()
    written(tmp_path, 3, story=story)
    lines = (tmp_path / FILE).read_text().splitlines()
    half = lines.pop(2)
    assert len(half) == 50
    assert json.dumps(entry(2)).startswith(half)
    assert [json.loads(line)["step"] for line in lines] == [0, 1, 2, 3]


def test_a_deleted_file_is_made_again_with_the_whole_story(tmp_path):
    story = written(tmp_path / "run", 0, 1, 2)
    shutil.rmtree(tmp_path / "run")
    written(tmp_path / "run", 3, story=story)
    assert steps(tmp_path / "run") == [0, 1, 2, 3]
    assert story.list_is_due


def test_a_resumed_story_adds_what_the_interrupted_one_could_not_write(tmp_path):
    dead = written(tmp_path, 0, 1)
    with a_full_disk(tmp_path), pytest.warns(UserWarning, match="are not written to"):
        written(tmp_path, 2, 3, story=dead)
    resumed = Story()
    resumed.begin_fit()
    resumed.add(entry(4))
    resumed.restore(dead.entries)
    written(tmp_path, 5, story=resumed)
    assert steps(tmp_path) == [0, 1, 2, 3, 4, 5]
    # In a folder of its own it begins with the story so far.
    written(tmp_path / "other", 6, story=resumed)
    assert steps(tmp_path / "other") == [0, 1, 2, 3, 4, 5, 6]


def test_a_long_story_is_bounded_in_memory_and_in_checkpoints(tmp_path):
    story = written(tmp_path, *range(2500))
    assert [each["step"] for each in story.entries] == list(range(1500, 2500))
    assert story.left_out == 1500
    assert steps(tmp_path) == list(range(2500))
    resumed = Story()
    resumed.restore(story.entries, story.left_out)
    written(tmp_path, 2500, story=resumed)
    assert steps(tmp_path) == list(range(2501))
    assert resumed.left_out == 1501
    assert resumed.as_markdown().startswith("The 2301 decisions before these")


def test_a_long_outage_is_bounded_too_and_keeps_ten_thousand(tmp_path):
    story = Story()
    with a_folder_in_the_way(tmp_path), pytest.warns(UserWarning, match="are not written to"):
        written(tmp_path, *range(10_100), story=story)
    assert len(story.entries) == 1000
    assert story.left_out == 9100
    written(tmp_path, 10_100, story=story)
    assert steps(tmp_path) == list(range(101, 10_101))


class Tells(Callback):
    """Tells a decision at every step, and lets something happen after some."""

    def __init__(self, **events):
        self.events = {int(name.removeprefix("after_")): event for name, event in events.items()}

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        tell(trainer, Entry("Tells", "test", f"Step {trainer.global_step}.", "LR stays"))
        self.events.get(trainer.global_step, lambda: None)()


def test_a_later_fit_writes_what_the_first_could_not(tmp_path):
    run, tells = tmp_path / "run", Tells()
    fit = trainer(tells, LRLogger(), root=tmp_path, max_epochs=1, limit_val_batches=0)
    module = Toy()
    (run / FILE).mkdir(parents=True)
    with pytest.warns(UserWarning, match="are not written to"):
        fit.fit(module)
    (run / FILE).rmdir()
    fit.fit_loop.max_epochs = 2
    fit.fit(module)
    told = [each for each in story_of(fit).entries if each["kind"] == "test"]
    assert [each["step"] for each in told] == list(range(20))
    assert steps(run) == [each["step"] for each in story_of(fit).entries]


def test_the_end_of_a_fit_writes_what_an_outage_has_held_up(tmp_path):
    run = tmp_path / "run"
    tells = Tells(after_3=lambda: (run / FILE).rename(run / "aside") and (run / FILE).mkdir())
    fit = trainer(tells, LRLogger(), Frees(run), root=tmp_path, max_epochs=1, limit_val_batches=0)
    with pytest.warns(UserWarning, match="are not written to"):
        fit.fit(Toy())
    assert steps(run) == list(range(10))


class Frees(Callback):
    """Lets the file be written again when all is trained."""

    def __init__(self, run):
        self.run = run

    def on_train_end(self, trainer, pl_module):
        (self.run / FILE).rmdir()
        (self.run / "aside").rename(self.run / FILE)


def test_a_checkpoint_of_a_long_run_has_a_bounded_story(tmp_path):
    fit = trainer(LRLogger(), root=tmp_path, max_epochs=1)
    module = Toy()
    fit.fit(module)
    for number in range(3000):
        story_of(fit).add(entry(number))
    fit.save_checkpoint(tmp_path / "saved.ckpt")
    state = torch.load(tmp_path / "saved.ckpt", weights_only=True)["callbacks"]["LRLogger"]
    assert len(state["decisions"]) == 1000
    assert state["decisions_before"] == 2000
    assert (tmp_path / "saved.ckpt").stat().st_size < 2**20
    again = trainer(LRLogger(), root=tmp_path, max_epochs=2)
    again.fit(Toy(), ckpt_path=tmp_path / "saved.ckpt", weights_only=True)
    assert story_of(again).left_out == 2001
