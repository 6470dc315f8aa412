"""Runs with everything on that are killed and resumed until they are done, and checks of what they leave.

Each process is forked from one that has imported everything, so that it takes no more than the run does.
"""

import logging
import math
import os
import signal
import sys
import tempfile
import threading
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from pickle import UnpicklingError

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger

import lightning_lr
from helpers.apart import begin
from helpers.logged_run import Repeating, curves, decisions, shown
from helpers.scripted import Verdicts
from helpers.toy import LRTrace, trainer
from lightning_lr import LRDecay, LRLogger, LRRangeTest, LRSearch, PlateauDetector
from lightning_lr.plateau import ReduceLR
from lightning_lr.policies import Cosine

# Of every reader of a resumed run: that it hides points, which is what it should do.
logging.getLogger("tensorboard").setLevel(logging.ERROR)

FINDERS = {"range test": lambda: LRRangeTest(20), "search": lambda: LRSearch(steps_per_trial=6, budget=60)}
# For each place its files and folders, below the folder of the package that they are in.
PLACES = {
    "startup test": ["lightning_lr/dry_run"],
    "flush": [
        f"lightning_lr/{name}.py" for name in ("output/points", "output/event_file", "logger/steps/buffer")
    ],
    "decision": ["lightning_lr/output/decisions.py"],
    "figure": [
        f"lightning_lr/{name}.py"
        for name in (
            *("preview/figure", "plateau/report", "finders/range_test/evidence", "finders/search/evidence"),
            *("output/style", "output/drawing"),
        )
    ],
    "checkpoint": [
        "lightning/pytorch/callbacks/model_checkpoint.py",
        "lightning/pytorch/trainer/connectors/checkpoint_connector.py",
        "lightning/fabric/utilities/cloud_io.py",
    ],
    "hparams": ["lightning_lr/logger/hparams.py"],
    "anywhere": ["lightning_lr"],
    "loops": ["lightning/pytorch/loops"],
}
ROOTS = {package.__name__: Path(package.__file__).parents[1] for package in (lightning, lightning_lr)}
STEPS, EPOCH, SAVE_EVERY = 24, 8, 5
LOGGED = ("events.out.tfevents", "hparams.yaml", "decisions.jsonl")


@dataclass(frozen=True)
class Interruption:
    """A signal that a process sends itself at a traced line, or that comes from outside after some time."""

    signal: int
    place: str = ""
    line: int = 0
    after_s: float = math.inf


@dataclass(frozen=True)
class Job:
    """One process: a run from the start or from its last checkpoint, in a folder of its own."""

    folder: Path
    finder: str = "range test"
    interruption: Interruption = field(default_factory=lambda: Interruption(0))
    count: tuple[str, ...] = ()

    @property
    def logs(self):
        return self.folder / "logs" / "run"

    @property
    def last(self):
        return self.folder / "saved" / "last.ckpt"


def paths_of(place):
    """Return the files and folders of a place, or of one path; in a missing one no line would ever run."""
    names = PLACES.get(place, [place])
    paths = [ROOTS.get(name.partition("/")[0], Path()) / name for name in names]
    if missing := [name for name, path in zip(names, paths, strict=True) if not path.exists()]:
        raise FileNotFoundError(f"Mend `PLACES`: there is no {' and no '.join(missing)}.")
    return tuple(f"{path}{os.sep}" if path.is_dir() else str(path) for path in paths)


class Tripwire:
    """Counts the lines that run in some places, in every thread, and calls something at one of the first."""

    def __init__(self, *places, at=0, call=None):
        self.paths = {place: paths_of(place) for place in places}
        self.first, self.at, self.call = places[0], at, call
        self.lines = dict.fromkeys(places, 0)
        self.known = {}

    def __call__(self, frame, event, arg):
        code = frame.f_code
        if code not in self.known:
            file = code.co_filename
            self.known[code] = [place for place, paths in self.paths.items() if file.startswith(paths)]
        return self.line if self.known[code] else None

    def line(self, frame, event, arg):
        if event == "line":
            for place in self.known[frame.f_code]:
                self.lines[place] += 1
        if self.lines[self.first] == self.at and self.call is not None:
            call, self.call = self.call, None
            call()
        return self.line

    @contextmanager
    def stretched(self):
        threading.settrace(self)
        sys.settrace(self)
        try:
            yield
        finally:
            sys.settrace(None)
            threading.settrace(None)


def work(job):
    """Do a job; what it has to say at its end goes to `result.pt`, beside what the run writes itself."""
    for name in ("cwd", "tmp"):
        (job.folder / name).mkdir(exist_ok=True)
    output = (job.folder / "output.txt").open("a")
    os.dup2(output.fileno(), 1)
    os.dup2(output.fileno(), 2)
    os.chdir(job.folder / "cwd")
    os.environ["TMPDIR"] = tempfile.tempdir = str(job.folder / "tmp")
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    chosen = job.interruption
    places = [chosen.place] if chosen.place else job.count or ["anywhere"]
    wire = Tripwire(*places, at=chosen.line, call=lambda: os.kill(os.getpid(), chosen.signal))
    trace, module = LRTrace(), Repeating()
    fit = trainer(
        FINDERS[job.finder](),
        LRDecay(Cosine(end=0.01), interval="step", warmup=3),
        PlateauDetector("val_acc", mode="max", detector=Verdicts("up"), on_plateau=ReduceLR(0.5)),
        LRLogger(),
        trace,
        ModelCheckpoint(
            job.folder / "saved", "{step}", save_top_k=-1, save_last=True, every_n_train_steps=SAVE_EVERY
        ),
        max_epochs=STEPS // EPOCH,
        limit_train_batches=EPOCH,
        enable_checkpointing=True,
        log_every_n_steps=3,
        logger=TensorBoardLogger(job.folder / "logs", name="", version="run"),
    )
    with wire.stretched() if chosen.place or job.count else warnings.catch_warnings():
        fit.fit(module, ckpt_path=job.last if job.last.exists() else None, weights_only=True)
    result = {"weights": module.state_dict(), "lrs": trace.lrs, "lines": wire.lines}
    torch.save(result, job.folder / "result.pt")


def perform(job):
    """Do a job in a process of its own and return its exit code: minus the signal where one killed it."""
    process = begin(work, job)
    process.join(min(job.interruption.after_s, 120))
    if process.is_alive():
        os.kill(process.pid, job.interruption.signal or signal.SIGKILL)
        process.join(120)
    if process.is_alive():
        process.kill()
        raise TimeoutError(f"{job} hangs.")
    return process.exitcode


def lines_in(job, *places):
    """Return for each place how many of its lines an uninterrupted run goes through; there are some."""
    for place in places:
        paths_of(place)
    counted = replace(job, folder=job.folder / "count", count=places)
    counted.folder.mkdir()
    if perform(counted):
        raise RuntimeError((counted.folder / "output.txt").read_text())
    lines = torch.load(counted.folder / "result.pt")["lines"]
    if passed_by := [place for place, count in lines.items() if not count]:
        raise LookupError(f"Mend `PLACES`: the run goes through no line of {' and of '.join(passed_by)}.")
    return lines


class Interrupted:
    """A run, and what it must come to in the end: what the one that was not interrupted did."""

    def __init__(self, job, whole):
        self.job, self.whole = job, whole
        self.job.folder.mkdir()
        self.codes = []
        self.told_before = 0

    def interrupt(self, interruption):
        """Run until a signal comes, or the end; return what is wrong then."""
        self._begin()
        self.codes.append(perform(replace(self.job, interruption=interruption)))
        problems = [] if self.codes[-1] in exit_codes(interruption.signal) else [f"exit {self.codes[-1]}"]
        return problems + debris(self.job, interruption)

    @property
    def was_ended(self):
        """Whether the last process was ended by its signal before the run was done."""
        return not (self.job.folder / "result.pt").exists()

    def finish(self):
        """Run to the end; return what is wrong then."""
        self._begin()
        if (code := perform(self.job)) != 0:
            said = (self.job.folder / "output.txt").read_text()[-800:]
            return [f"the resumed run ends with {code}: {said}"]
        return debris(self.job, Interruption(0)) + differences(self.job, self.whole, self.told_before)

    def _begin(self):
        (self.job.folder / "result.pt").unlink(missing_ok=True)
        if not self.job.last.exists() and self.job.logs.exists():
            # It starts over, since it has come to no checkpoint: what it tells is told again.
            told = self.job.logs / "decisions.jsonl"
            self.told_before = len(told.read_text().splitlines()) if told.exists() else 0


def exit_codes(number):
    """Return what a process may end with after a signal; 0 where the run was done before it."""
    # Lightning ends with 0 on SIGTERM once the Trainer is set up, and with 1 on Ctrl-C.
    return {signal.SIGKILL: (-9, 0), signal.SIGTERM: (0, -15), signal.SIGINT: (1, 0)}[number]


def debris(job, interruption):
    """Return what is on disk, or still runs, and should not."""
    found = [f"stray {path.name} in {path.parent.name}" for path in job.logs.rglob("*") if is_stray(path)]
    for name in ("cwd", "tmp"):
        found += [f"stray {path.name} in {name}" for path in (job.folder / name).rglob("*")]
    if interruption.signal == signal.SIGKILL:
        # Lightning writes a checkpoint to a temporary file and renames it.
        found = [each for each in found if not (each.startswith("stray tmp") and each.endswith("in tmp"))]
    found += [f"{path.name} does not load" for path in (job.folder / "saved").glob("*") if not loads(path)]
    running = [each for each in Path("/proc").glob("[0-9]*") if works_in(each) == job.folder / "cwd"]
    return found + [f"process {each.name} still runs" for each in running]


def loads(checkpoint):
    try:
        torch.load(checkpoint, weights_only=True)
    except (EOFError, OSError, RuntimeError, UnpicklingError):
        return False
    return True


def works_in(process):
    try:
        return (process / "cwd").readlink()
    except OSError:  # It is another user's, or has ended.
        return None


def is_stray(path):
    return path.is_file() and not path.name.startswith(LOGGED)


def differences(job, whole, told_before):
    """Return in what a finished run differs from the one that was not interrupted."""
    result, wanted = torch.load(job.folder / "result.pt"), torch.load(whole.folder / "result.pt")
    weights = result["weights"]
    found = [
        f"weights of {name}" for name, right in wanted["weights"].items() if not weights[name].equal(right)
    ]
    found += [f"LR of step {step}" for step, lrs in result["lrs"].items() if wanted["lrs"][step] != lrs]
    ours, theirs = curves(job.logs), curves(whole.logs)
    if ours.keys() != theirs.keys():
        found.append(f"curves: {sorted(ours.keys() ^ theirs.keys())}")
    # A run that has started over has left its first points in the folder.
    found += [f"points of {tag}" for tag in theirs if ours.get(tag, [])[-len(theirs[tag]) :] != theirs[tag]]
    lines = story(decisions(job.logs)[told_before:])
    if lines != story(decisions(whole.logs)):
        found.append(f"decisions {lines}")
    if [item for item in shown(job.logs) if "LRLogger, resume: " not in item] != shown(whole.logs):
        found.append("the text of decisions")
    return found


def story(lines):
    """Return decisions as they stand once a resumed run has told again what it makes again."""
    told = []
    for line in lines:
        if line["kind"] == "resume":
            told = [each for each in told if each[0] < line["step"]]
        else:
            told.append((line["step"], line["epoch"], line["kind"], line["summary"], line["effect"]))
    return told
