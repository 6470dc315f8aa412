"""What is killed, terminated or interrupted goes on as if it had not been; an error once is one error.

`benchmarks/kills.py` does the same at random moments, as often as wanted.
"""

import json
import signal
from functools import partial
from types import ModuleType

import pytest
import torch
from helpers.interrupted import FINDERS, Interrupted, Interruption, Job, lines_in, perform
from helpers.logged_run import Repeating, decisions
from helpers.toy import LRTrace, trainer

from lightning_lr import LRDecay, LRLogger, PlateauDetector
from lightning_lr.policies import Cosine


@pytest.fixture(scope="module")
def wholes(once):
    """Runs that nothing interrupts, with the lines that they go through."""

    def make(folder, finder):
        job = Job(folder, finder)
        assert perform(job) == 0, (folder / "output.txt").read_text()
        kinds = [line["kind"] for line in decisions(job.logs)]
        assert {"default", finder, "warm-up end", "action"} <= set(kinds)
        assert len(kinds) == len(set(kinds))
        (folder / "lines.json").write_text(json.dumps(lines_in(job, *dict.fromkeys(PLACES_OF_MOMENTS))))

    return {finder: Job(once(f"whole {finder}", partial(make, finder=finder)), finder) for finder in FINDERS}


# The last is the share of the lines of a place that are gone through before the signal.
MOMENTS = [
    ("range test", "startup test", signal.SIGTERM, 0.6),
    ("search", "startup test", signal.SIGINT, 0.5),
    ("search", "startup test", signal.SIGKILL, 0.9),
    ("range test", "flush", signal.SIGKILL, 0.7),
    ("range test", "decision", signal.SIGINT, 0.9),
    ("search", "figure", signal.SIGTERM, 0.5),
    ("range test", "checkpoint", signal.SIGINT, 0.6),
    ("search", "checkpoint", signal.SIGKILL, 0.7),
    ("range test", "hparams", signal.SIGKILL, 0.9),
]


PLACES_OF_MOMENTS = [place for _, place, _, _ in MOMENTS]


@pytest.mark.parametrize("moment", MOMENTS, ids=str)
def test_a_run_that_a_signal_ends_goes_on_as_if_it_had_not(moment, wholes, tmp_path):
    finder, place, number, share = moment
    lines = json.loads((wholes[finder].folder / "lines.json").read_text())[place]
    run = Interrupted(Job(tmp_path / "run", finder), wholes[finder])
    assert run.interrupt(Interruption(number, place, round(share * lines))) == []
    assert run.was_ended
    if place == "startup test":
        assert not run.job.last.exists()
        # What is told of the settings comes before the test.
        told = run.job.logs / "decisions.jsonl"
        assert not told.exists() or {line["kind"] for line in decisions(run.job.logs)} == {"settings"}
    assert run.finish() == []


def test_a_place_that_no_run_comes_to_is_refused(tmp_path):
    for place in ("lightning_lr/no_such_file.py", "misspelt"):
        with pytest.raises(FileNotFoundError, match=f"there is no {place}"):
            lines_in(Job(tmp_path), place)
    with pytest.raises(LookupError, match="goes through no line of lightning_lr/preview/__main__"):
        lines_in(Job(tmp_path), "lightning_lr/preview/__main__.py")


def test_a_run_that_is_ended_again_and_again_comes_to_the_same_end(wholes, tmp_path):
    run = Interrupted(Job(tmp_path / "run"), wholes["range test"])
    for number, lines in ((signal.SIGTERM, 7000), (signal.SIGKILL, 4000), (signal.SIGINT, 2000)):
        assert run.interrupt(Interruption(number, "loops", lines)) == []
        assert run.was_ended
    assert run.finish() == []


class Breaks(Repeating):
    """Raises once in its life, in a call of one of its steps."""

    def __init__(self, step="", call=0):
        torch.manual_seed(0)
        super().__init__()
        self.broken = {"step": step, "call": call, "error": OSError("once")}
        self.ledger = Ledger()

    def training_step(self, batch, batch_idx):
        self.ledger.count("training", self.broken)
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch, batch_idx):
        self.ledger.count("validation", self.broken)
        return super().validation_step(batch, batch_idx)


class Ledger(ModuleType):
    """Counts calls, also those of a dry run: what a module of Python holds is not taken back."""

    def __init__(self):
        super().__init__("ledger")
        self.calls = {"training": 0, "validation": 0}

    def count(self, step, broken):
        self.calls[step] += 1
        if step == broken["step"] and self.calls[step] == broken["call"]:
            raise broken["error"]


def fit(module, callbacks, root):
    trace = LRTrace()
    run = trainer(*callbacks, trace, root=root, log_every_n_steps=3)
    run.fit(module)
    return trace.lrs, [each.tolist() for each in module.parameters()], callbacks[0].suggestion


def callbacks_with(finder):
    return [
        FINDERS[finder](),
        LRDecay(Cosine(), interval="step", warmup=3),
        PlateauDetector("val_acc", mode="max"),
        LRLogger(),
    ]


@pytest.mark.parametrize(
    ("finder", "step", "call"),
    [
        ("range test", "training", 2),  # while the bounds are looked for
        ("range test", "training", 20),
        ("search", "training", 30),  # in a trial
        ("search", "validation", 4),  # of a trial
        ("range test", "training", 37),  # in the run
        ("range test", "validation", 2),  # of the run
    ],
)
def test_after_an_error_once_the_next_fit_is_like_the_first(finder, step, call, tmp_path):
    fresh = fit(Breaks(), callbacks_with(finder), tmp_path / "fresh")
    callbacks, module = callbacks_with(finder), Breaks(step, call)
    with pytest.raises(OSError, match="once") as raised:
        fit(module, callbacks, tmp_path / "broken")
    assert raised.value is module.broken["error"]
    assert fit(Breaks(), callbacks, tmp_path / "again") == fresh
