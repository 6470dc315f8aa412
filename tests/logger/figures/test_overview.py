"""The overview of a run: what it shows, when it is drawn, and that it is bounded and survives a resume."""

import math

import pytest
from helpers.finders import Learner
from helpers.scripted import Verdicts
from helpers.toy import Toy, fit
from lightning.pytorch.callbacks import ModelCheckpoint
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_lr import LRDecay, LRLogger, LRRangeTest, PlateauDetector
from lightning_lr.logger.figures import overview, thinned
from lightning_lr.logger.figures.overview import RunOverview
from lightning_lr.logger.figures.thinned import ThinnedRun
from lightning_lr.logger.steps.buffer import StepRecord
from lightning_lr.policies import Cosine

pytestmark = pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")


def images(root):
    events = EventAccumulator(str(root / "run"), size_guidance={"images": 0}).Reload()
    return {tag: [image.step for image in events.Images(tag)] for tag in events.Tags()["images"]}


def texts_of(figure):
    found = [text.get_text() for axes in figure.axes for text in axes.texts]
    return [*found, *(text.get_text() for text in figure.texts)]


def test_it_is_the_first_figure_and_tells_which_lr_since_when_and_why(tmp_path):
    logger, test = LRLogger(), LRRangeTest()
    script = Verdicts("iipi")
    detector = PlateauDetector(detector=script)
    fit(Learner(), logger, test, detector, root=tmp_path, max_epochs=4)

    assert min(images(tmp_path)) == "Overview"
    rates, losses, of_test = logger.plot().axes
    [high] = [line for line in rates.lines if line.get_drawstyle() == "steps-post"]
    used = dict(zip(high.get_xdata(), high.get_ydata(), strict=True))
    assert used[0] == pytest.approx(test.suggestion.lr)
    assert used[39] == pytest.approx(0.3 * test.suggestion.lr)
    assert {"training", "loss/val"} <= {line.get_label() for line in losses.lines}
    told = texts_of(logger.plot())
    assert {"plateau: LR x0.3", f"range test: LR {test.suggestion.lr:.2g}"} <= set(told)
    [title] = [text for text in told if "best validation loss" in text]
    assert title.startswith(f"LR {test.suggestion.lr:.3g}, now ")
    assert of_test.get_xscale() == "log"
    assert f"{test.suggestion.lr:.3g}" in {text.get_text() for text in of_test.texts}


@pytest.mark.parametrize("callbacks", [[], [LRDecay(Cosine(), interval="step", warmup=0.2)]])
def test_a_run_without_events_has_no_marks_but_those_of_its_warm_up(callbacks, tmp_path):
    logger = LRLogger()
    fit(Toy(), logger, *callbacks, root=tmp_path)

    assert len(logger.plot().axes) == 2
    assert texts_of(logger.plot())[:-1] == ["warm-up end"] * len(callbacks)


def test_without_it_nothing_is_drawn_and_a_plot_says_what_it_needs(tmp_path):
    logger = LRLogger(overview=False)
    with pytest.raises(RuntimeError, match=r"before `Trainer\.fit` has ended, with `overview=True`"):
        logger.plot()
    fit(Toy(), logger, root=tmp_path)

    assert "Overview" not in images(tmp_path)
    with pytest.raises(RuntimeError, match="overview=True"):
        logger.plot()


def test_it_is_renewed_now_and_then(tmp_path, monkeypatch):
    monkeypatch.setattr(overview, "_TIME_SHARE", math.inf)
    fit(Toy(), LRLogger(), root=tmp_path, max_epochs=40)

    drawn = images(tmp_path)["Overview"]
    # After every tenth of the run, for each of which there are four epochs, and at its end.
    assert 8 <= len(drawn) <= 13
    assert drawn[-1] == 399

    monkeypatch.setattr(overview, "_TIME_SHARE", 0.0)
    fit(Toy(), LRLogger(), root=tmp_path / "short", max_epochs=40)
    assert images(tmp_path / "short")["Overview"] == [399]


def test_a_run_without_an_end_is_drawn_ever_more_rarely(monkeypatch):
    drawn = []
    monkeypatch.setattr(overview, "_TIME_SHARE", math.inf)
    shown = RunOverview(is_wanted=True)
    monkeypatch.setattr(shown, "draw", lambda trainer, step, best: drawn.append(step))
    for step in range(0, 10_000, 10):
        shown.draw_if_due(None, step, 0.0, "")
        shown._drawn_step = max(drawn, default=0)

    assert drawn == [10, 40, 160, 640, 2560]


@pytest.mark.parametrize("cost", [0.1, 0.5, 4.0])
def test_its_drawings_take_no_more_than_a_hundredth_of_the_time(cost, monkeypatch):
    now = 0.0
    spent = []

    def draw(*_):
        nonlocal now
        now += cost
        spent.append(cost)

    monkeypatch.setattr(overview.time, "perf_counter", lambda: now)
    monkeypatch.setattr(overview, "draw", draw)
    monkeypatch.setattr(RunOverview, "overview", lambda *args: None)
    shown = RunOverview(is_wanted=True)
    shown._run.steps.append(0)
    for epoch in range(1, 1001):
        now += 1.0
        shown.draw_if_due(None, epoch, epoch / 1000, "")
        # The first one comes before its cost is known.
        assert sum(spent[1:]) <= 0.01 * now
    assert len(spent) == {0.1: 10, 0.5: 10, 4.0: 2}[cost]


def test_after_a_resume_it_shows_the_whole_run(tmp_path):
    whole = LRLogger()
    fit(Toy(), whole, root=tmp_path / "whole", max_epochs=4)
    checkpoint = ModelCheckpoint(tmp_path / "kept", save_last=True)
    fit(Toy(), LRLogger(), checkpoint, root=tmp_path / "half", max_epochs=2, enable_checkpointing=True)
    resumed = LRLogger()
    last = str(tmp_path / "kept/last.ckpt")
    fit(Toy(), resumed, root=tmp_path / "rest", max_epochs=4, ckpt_path=last)

    first, second = (logger.plot().axes[0].lines[0].get_xdata() for logger in (whole, resumed))
    assert list(first) == list(second) == list(range(40))
    [validations] = [line for line in resumed.plot().axes[1].lines if line.get_label() == "loss/val"]
    assert len(validations.get_xdata()) == 4


@pytest.mark.parametrize("length", [0, 1, 10, 11, 1234])
def test_a_long_run_is_kept_in_few_stretches_with_the_mean_of_their_losses(length, monkeypatch):
    monkeypatch.setattr(thinned, "_MOST_STRETCHES", 10)
    run = ThinnedRun()
    run.extend(StepRecord(step, 0.0, {"lr/SGD": 1.0 / (1 + step)}, [float(step)]) for step in range(length))

    assert len(run.steps) <= 10
    stride = run.steps[1] if len(run.steps) > 1 else 1
    for begin, high, loss in zip(run.steps, run.high, run.losses, strict=True):
        inside = range(begin, min(begin + stride, length))
        assert (high, loss) == (1 / (1 + begin), pytest.approx(sum(inside) / len(inside)))

    again = ThinnedRun()
    again.restore(run.state())
    assert (again.state(), again.losses) == (run.state(), run.losses)


def test_steps_without_a_loss_or_an_lr_leave_a_gap():
    run = ThinnedRun()
    run.extend([StepRecord(0, 0.0, {"lr/SGD": 0.1}, []), StepRecord(1, 0.0, {}, [2.0])])

    assert math.isnan(run.losses[0])
    assert (run.high, run.losses[1]) == ([0.1, 0.1], 2.0)


@pytest.mark.parametrize("loaders", [1, 2])
def test_a_resumed_run_names_its_best_validation_as_before(loaders, tmp_path):
    class Loaders(Toy):
        def val_dataloader(self):
            return [super(Loaders, self).val_dataloader() for _ in range(loaders)]

        def validation_step(self, batch, batch_idx, dataloader_idx=0):
            return self.loss(batch)

    first, second = LRLogger(), LRLogger()
    checkpoint = ModelCheckpoint(tmp_path / "kept", save_last=True)
    fit(Loaders(), first, checkpoint, root=tmp_path / "first", max_epochs=1, enable_checkpointing=True)
    last = str(tmp_path / "kept/last.ckpt")
    fit(Loaders(), second, root=tmp_path / "second", max_epochs=1, ckpt_path=last)

    assert repr(second) == repr(first)
    assert ("dataloader_idx_0" in repr(first)) == (loaders == 2)
