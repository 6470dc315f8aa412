"""Figures drawn beside the training."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.finders import Learner
from helpers.toy import Toy, trainer
from lightning.pytorch import Callback
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.logger import DummyLogger
from matplotlib.figure import Figure
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_lr import LRDecay, LRLogger, LRRangeTest, PlateauDetector
from lightning_lr.output.drawing import draw


class Draws(Callback):
    """Asks for a figure at one step, and notes how long the step before the next batch took."""

    def __init__(self, make, at=3):
        self.make = make
        self.at = at
        self.stall = None

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step == self.at:
            started = time.perf_counter()
            draw(trainer, "drawing", self.make, self.at)
            self.stall = time.perf_counter() - started


def figure():
    drawn = Figure(figsize=(4, 3), dpi=100)
    drawn.add_subplot().plot([1, 2], [1, 10])
    return drawn


def images(root):
    events = EventAccumulator(str(root / "run"), size_guidance={"images": 0}).Reload()
    return events.Images("drawing") if "drawing" in events.Tags()["images"] else []


def test_a_figure_is_in_the_event_file_when_the_fit_has_ended(tmp_path):
    trainer(Draws(figure), root=tmp_path).fit(Toy())
    [image] = images(tmp_path)
    assert (image.step, image.width, image.height) == (3, 400, 300)
    assert image.encoded_image_string.startswith(b"\x89PNG")


def test_a_figure_is_written_when_the_fit_breaks_off(tmp_path):
    class Breaks(Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            if trainer.global_step == 3:
                raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        trainer(Draws(figure), Breaks(), root=tmp_path).fit(Toy())
    assert len(images(tmp_path)) == 1


def test_an_error_in_drawing_is_a_warning_and_the_fit_goes_on(tmp_path):
    fit = trainer(Draws(lambda: 1 / 0), root=tmp_path)
    with pytest.warns(UserWarning, match="`drawing` could not be drawn: ZeroDivisionError"):
        fit.fit(Toy())
    assert fit.global_step == 20


def test_nothing_is_drawn_for_loggers_that_take_no_images(tmp_path):
    asked = []
    for loggers in (False, CSVLogger(tmp_path), DummyLogger()):
        trainer(Draws(lambda: asked.append(1)), logger=loggers).fit(Toy())
    trainer(Draws(lambda: asked.append(1)), root=tmp_path / "dev", fast_dev_run=4).fit(Toy())
    assert asked == []


class Album(CSVLogger):
    """A logger that takes images the way WandbLogger does."""

    def log_image(self, key, images, step=None, **kwargs):
        self.taken = (key, [image.shape for image in images], step)


def test_a_logger_that_takes_images_gets_them(tmp_path):
    album = Album(tmp_path)
    trainer(Draws(figure), logger=album).fit(Toy())
    assert album.taken == ("drawing", [(300, 400, 4)], 3)


def test_a_second_fit_draws_again(tmp_path):
    fit = trainer(Draws(figure, at=10), root=tmp_path, max_epochs=1)
    module = Toy()
    fit.fit(module)
    fit.fit_loop.max_epochs = 2
    fit.callbacks[0].at = 13
    fit.fit(module)
    assert [image.step for image in images(tmp_path)] == [10, 13]
    assert len({id(callback) for callback in fit.callbacks}) == len(fit.callbacks)


class Lengths(Callback):
    """Notes how long every step took."""

    def __init__(self):
        self.started = 0.0
        self.seconds = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.started = time.perf_counter()

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.seconds.append(time.perf_counter() - self.started)


def test_a_step_is_held_up_once_and_not_for_long_while_the_real_figures_are_drawn(tmp_path):
    # The best of three: another process may hold up a step as well.
    longest, others = [], []
    for attempt in range(3):
        lengths = Lengths()
        callbacks = [LRRangeTest(), LRDecay(interval="step"), PlateauDetector(), LRLogger(), lengths]
        module = Learner(batches=100)
        trainer(*callbacks, root=tmp_path / str(attempt), max_epochs=3).fit(module)
        *rest, last = sorted(lengths.seconds)
        longest.append(last)
        others.append(rest[-1])
    assert min(longest) < 1.5
    assert min(others) < 0.15


def test_what_figures_are_drawn_with_is_imported_before_the_first_step(tmp_path):
    script = """
import sys
from helpers.toy import Toy, trainer
from lightning.pytorch import Callback
from lightning_lr import LRLogger

class Look(Callback):
    def on_train_batch_start(self, *args):
        assert "matplotlib.backends.backend_agg" in sys.modules

assert "matplotlib.backends.backend_agg" not in sys.modules
trainer(LRLogger(), Look(), root=sys.argv[1], max_epochs=1).fit(Toy(batches=2))
"""
    command = [sys.executable, "-W", "ignore", "-c", script, str(tmp_path)]
    subprocess.run(
        command, env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}, check=True, timeout=120
    )
