"""Values show themselves: in a console as a short text, in a notebook as a figure or a table."""

import base64
import builtins
import math
import re
from html import escape

import pytest
from helpers.finders import Learner, sgd
from helpers.scripted import Verdicts
from helpers.toy import Toy, fit, trainer

import lightning_lr
from lightning_lr import LRDecay, LRLogger, LRRangeTest, LRSearch, PlateauDetector, preview
from lightning_lr.finders import (
    Abstention,
    Basin,
    GiveBack,
    LossCurve,
    MinimumOver,
    Steepest,
    Suggestion,
    Trial,
    Trials,
)
from lightning_lr.output.style import new_figure
from lightning_lr.plateau import (
    Escape,
    Observation,
    Patience,
    Progress,
    Record,
    ReduceLR,
    ReportOnly,
    RestoreBest,
    Retune,
    SlopeTest,
    StartCooldown,
    StopTraining,
    Verdict,
)
from lightning_lr.policies import Constant, Cosine, Linear, OneCycle
from lightning_lr.preview import preview_of_fit
from lightning_lr.tune.results import Result, Results

VERDICT = Verdict("plateau", 0.00123456, 0.0213456, math.nan, math.nan, 12, "Flat.")
CURVE = LossCurve(tuple(10 ** (k / 10) for k in range(-40, 1)), (1.0,) * 20 + (0.5,) * 21)
TRIAL = Trial(0.0123456, 1.9123456, 25, 25, "coarse", noise=0.0123456)
TRIALS = Trials(2.3, "validation loss", (TRIAL, Trial(0.2, math.inf, 5, 25, "coarse", "diverged")))
FOUND = Suggestion(0.0136234, 0.0045123, 0.041234, "Basin", "The loss fell.")

CALLS = [
    LRRangeTest(),
    LRRangeTest(200, rule=GiveBack(), repeats=3, milestones=[0, 5]),
    LRSearch(),
    LRSearch(1e-5, budget=0.1, apply=False),
    LRDecay(),
    LRDecay(OneCycle(), interval="step", warmup=0.1, policies={"head": Cosine()}, momentum=Constant(0.9)),
    PlateauDetector(),
    PlateauDetector(
        "val_acc",
        mode="max",
        detector=Patience(patience=3),
        on_plateau=ReduceLR(0.5, min_lr=1e-5),
        on_overfitting=[RestoreBest(), StopTraining()],
        on_divergence=[],
    ),
    LRLogger(),
    LRLogger(prog_bar=True),
    *(Progress(), Progress(patience=7), Patience(), SlopeTest(z=3.0)),
    *(ReduceLR(), ReportOnly(), RestoreBest(0.5), StopTraining(), StartCooldown(), Retune()),
    Escape(quantity="momentum"),
    *(Basin(), Basin(margin=2.0), GiveBack(), Steepest(), MinimumOver(divisor=5)),
]


@pytest.mark.parametrize("made", CALLS, ids=repr)
def test_what_is_configured_shows_the_call_that_makes_it(made):
    text = repr(made)
    again = eval(text, {**vars(lightning_lr), **vars(lightning_lr.policies), **_room_names()})
    assert type(again) is type(made)
    assert repr(again) == text
    assert len(text) < 230


def _room_names():
    return {**vars(lightning_lr.finders), **vars(lightning_lr.plateau)}


def test_arguments_with_their_defaults_are_left_out():
    assert [repr(each) for each in (LRRangeTest(), LRSearch(), LRDecay(), PlateauDetector(), LRLogger())] == [
        "LRRangeTest()",
        "LRSearch()",
        "LRDecay()",
        "PlateauDetector()",
        "LRLogger()",
    ]
    assert repr(PlateauDetector(on_plateau=ReduceLR(0.5))) == (
        "PlateauDetector(on_plateau=(ReduceLR(factor=0.5),))"
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (FOUND, "Suggestion(lr=0.0136, low=0.00451, high=0.0412, rule='Basin', ...)"),
        (Abstention("Basin", "Why."), "Abstention(rule='Basin', reason='Why.')"),
        (CURVE, "LossCurve(41 steps, LR 0.0001 to 1)"),
        (
            LossCurve((0.1, 0.2), (1.0, math.nan), diverged=True),
            "LossCurve(2 steps, LR 0.1 to 0.2, diverged)",
        ),
        (LossCurve((), ()), "LossCurve(0 steps)"),
        (TRIAL, "Trial(lr=0.0123, loss=1.912, 25 of 25 steps, coarse, finished)"),
        (TRIALS, "Trials(2 trials, 30 steps, LR 0.0123 to 0.2, loss 2.3 -> 1.912 at LR 0.0123)"),
        (Trials(2.3, "validation loss"), "Trials(0 trials)"),
        (VERDICT, "Verdict('plateau', slope=0.00123, noise=0.0213, window=12, reason='Flat.')"),
        (
            Record(33, 1484, 0.0213456, 0.4, 0.02, VERDICT, ("LR 0.02 -> 0.006",)),
            "Record(validation=33, step=1484, value=0.02135, lr=0.02, 'plateau', 'LR 0.02 -> 0.006')",
        ),
        (Observation(0.5), "Observation(value=0.5)"),
        (preview(Linear(), max_epochs=30), "Preview(Linear(end=0.0, start=1.0) per epoch, 30 epochs)"),
        (
            Results("val_loss", "min", [Result(0, 0.012345, 1.9, "complete")]),
            "Results(1 trials, best LR 0.0123 with val_loss 1.9)",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_found_shows_itself_in_a_line_of_three_digits(value, text):
    assert repr(value) == text


def test_after_a_fit_callbacks_show_what_came_of_it(tmp_path):
    test, search, decay = LRRangeTest(40), LRSearch(steps_per_trial=8, final_steps=16), LRDecay(Linear())
    judge, log = PlateauDetector(detector=Patience(patience=9)), LRLogger()
    fit(Learner(), test, search, decay, judge, log, root=tmp_path, max_epochs=2)
    found = search.suggestion
    assert repr(search) == (
        f"<LRSearch(steps_per_trial=8, final_steps=16): LR {found.lr:.3g} ({found.low:.2g} to"
        f" {found.high:.2g}) by LRSearch>"
    )
    assert repr(test).startswith("<LRRangeTest(num_steps=40): LR ")
    assert repr(decay) == "<LRDecay(): step 20 of 20>"
    assert re.fullmatch(
        r"<PlateauDetector\(detector=Patience\(patience=9\)\): \w+, best val_loss .* at validation \d .*>",
        repr(judge),
    )
    assert re.fullmatch(r"<LRLogger\(\): best validation loss .* after step \d+>", repr(log))


def test_an_abstention_is_shown_too():
    test = LRRangeTest(min_lr=1e-7, max_lr=2e-7)
    fit(Learner(), test)
    assert repr(test).endswith(": no LR by Basin>")


def png_of(html):
    [data] = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    return base64.b64decode(data)


@pytest.mark.parametrize(
    "value",
    [CURVE, TRIALS, preview(Cosine(), max_steps=100, interval="step"), Results("val_loss", "min", [])],
    ids=lambda value: type(value).__name__,
)
def test_in_a_notebook_there_is_a_figure(value):
    assert png_of(value._repr_html_()).startswith(b"\x89PNG\r\n")


@pytest.mark.parametrize("value", [CURVE, TRIALS, preview(Cosine(), max_epochs=5), FOUND], ids=repr)
def test_without_matplotlib_there_is_a_text(value, monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("matplotlib"):
            raise ModuleNotFoundError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    html = value._repr_html_()
    assert "base64" not in html
    assert html.startswith(("<pre>", "<table>"))


def test_texts_in_a_notebook_are_escaped():
    html = Suggestion(0.1, 0.1, 0.1, "<b>", "a < b & c")._repr_html_()
    assert "&lt;b&gt;" in html
    assert "a &lt; b &amp; c" in html


@pytest.mark.parametrize(
    "value", [LossCurve((), ()), Trials(2.3, "validation loss"), Results("a", "min", [])]
)
def test_nothing_to_see_is_no_error(value):
    assert value._repr_html_()


def test_callbacks_show_their_figure_once_there_is_one(tmp_path):
    made = [LRRangeTest(40), LRDecay(Linear()), PlateauDetector(detector=Verdicts("iip")), LRLogger()]
    for each in made:
        assert each._repr_html_() == f"<pre>{escape(repr(each))}</pre>"
    fit(Learner(), *made, root=tmp_path, max_epochs=3)
    for each in made:
        assert png_of(each._repr_html_()).startswith(b"\x89PNG\r\n"), each


class Stopped(Toy):
    def on_train_epoch_end(self):
        self.trainer.should_stop = True


def test_the_plan_of_a_fit_can_be_drawn():
    decay = LRDecay(Linear(), interval="step", warmup=4)
    with pytest.raises(RuntimeError, match=r"nothing to plot before `Trainer.fit` has made its first step"):
        decay.plot()
    fit(Toy(), decay, max_epochs=2)
    axes = decay.plot().axes[0]
    assert axes.get_xlabel() == "optimizer step"
    assert max(axes.lines[0].get_ydata()) == pytest.approx(0.1)
    endless = LRDecay(Constant())
    fit(Stopped(), endless, max_epochs=-1)
    with pytest.raises(RuntimeError, match="no end"):
        endless.plot()


def test_a_callback_is_previewed_like_its_policy():
    decay = LRDecay(Cosine(), interval="step", warmup=0.1, min_lr=1e-3)
    shown = preview(decay, max_steps=50, base_lr=0.1)
    assert (
        shown.every_step()
        == preview(Cosine(), max_steps=50, interval="step", warmup=0.1, min_lr=1e-3, base_lr=0.1).every_step()
    )
    with pytest.raises(TypeError, match="`preview` takes `interval` from the LRDecay that it is given"):
        preview(decay, max_steps=50, interval="step")


def test_a_fit_is_previewed_in_one_line():
    assert len(preview_of_fit(trainer(LRDecay(Linear())), Toy(sgd_of)).every_step()) == 20


def sgd_of(parameters):
    return sgd(parameters, 0.1)


def test_a_figure_is_a_picture_for_a_notebook():
    assert new_figure()._repr_png_().startswith(b"\x89PNG")
