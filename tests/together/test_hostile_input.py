"""What nobody should pass, as arguments, YAML or checkpoints: each works or is refused in our words."""

import copy
import inspect
import math
import sys
from fractions import Fraction
from functools import reduce
from typing import get_origin

import numpy as np
import pytest
import torch
from helpers.finders import Learner
from helpers.scripted import Verdicts
from helpers.toy import LRTrace, trainer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningCLI
from lightning.pytorch.loggers.logger import DummyLogger

import lightning_lr as package
from lightning_lr import LRDecay, LRLogger, LRRangeTest, LRSearch, PlateauDetector, policies

# --- Constructors

VALUES = [
    *(None, True, False, 0, 1, -1, 2, 7, 10**400, -(10**400), 2**53),
    *(0.0, -0.0, 0.5, 1.0, 1.5, -0.5, 1e-320, 1e308, math.nan, math.inf, -math.inf),
    *("", "no", "0.5", "max", "abs", "math.nowhere", "math.exp", b"bytes", 1j, object(), int, len),
    *([], [0], [1, 2], [None], ["a"], [math.nan], (0, 3), {}, {"a": 1}, {1, 2}, range(3), [[]]),
    *(Fraction(1, 3), np.float64(0.5), np.float32(np.nan), np.int64(3), np.bool_(True)),
    *(policies.Linear(), [policies.Linear()], policies.Linear, package.plateau.ReduceLR()),
    *(package.plateau.Patience(), package.finders.Basin(), [package.plateau.ReportOnly(), None]),
    (number for number in (0, 3)),
]


def of(module, base):
    # Before Python 3.11, `dict[str, int]` counts as a type.
    found = [each for name in module.__all__ if get_origin(each := getattr(module, name)) is None]
    return [each for each in found if isinstance(each, type) and issubclass(each, base) and each is not base]


# Arguments without a default.
REQUIRED = {
    "DelayedExponential": {"start": 3},
    "Step": {"size": 3},
    "MultiStep": {"milestones": [3]},
    "CosineRestarts": {"period": 3},
    "Cyclic": {"step_size_up": 3},
    "Sequence": {"policies": [policies.Linear(), policies.Linear()], "durations": [0.5]},
    "Product": {"policies": [policies.Linear()]},
    "Function": {"function": "math.exp"},
    "InverseTime": {"rate": 0.1},
    "Exponential": {"gamma": 0.9},
    "Repeat": {"policy": policies.Linear(), "period": 3},
    "Piecewise": {"times": [0, 1.0], "values": [1, 0]},
}
CLASSES = [
    *of(policies, policies.Policy),
    *of(package.finders, package.finders.Rule),
    *of(package.plateau, package.plateau.Action),
    *of(package.plateau, package.plateau.Detector),
    *(LRDecay, LRLogger, LRRangeTest, LRSearch, PlateauDetector),
]
ARGUMENTS = [
    (each, name)
    for each in CLASSES
    for name in inspect.signature(each).parameters
    if not name.startswith("_")
]


def test_the_table_covers_what_is_public():
    assert {each for each, _ in ARGUMENTS} >= {
        policies.Cosine,
        package.finders.Basin,
        LRSearch,
        package.plateau.SlopeTest,
    }
    assert len(ARGUMENTS) > 70


# The old name of an argument is refused or works as the new one does.
@pytest.mark.filterwarnings("ignore:.*the old name goes:FutureWarning")
@pytest.mark.parametrize(("kind", "name"), ARGUMENTS, ids=lambda each: getattr(each, "__name__", each))
def test_an_argument_works_or_is_refused_by_its_name(kind, name):
    faults = []
    for value in VALUES:
        try:
            made = kind(**{**REQUIRED.get(kind.__name__, {}), name: value})
        except (TypeError, ValueError) as error:  # noqa: PERF203 (of each value)
            # A default may be what no longer fits: `Cyclic(high=...)` must be in [2, inf) for low=2.
            # What a user's own function raises is the user's.
            its_own = name == "function" and callable(value)
            if not (its_own or name in str(error) or f"`{kind.__name__}(" in str(error)):
                faults.append((value, error))
        else:
            repr(made)
            if isinstance(made, policies.Policy) and kind is not policies.Function:
                assert_a_factor_or_a_refusal(made)
    assert not faults


def assert_a_factor_or_a_refusal(policy):
    for t, total in [(0, 10), (3, 10), (10, 10), (5, math.inf), (2**53, math.inf)]:
        try:
            factor = policy.factor(t, total)
        except ValueError as error:  # noqa: PERF203 (of each value)
            assert type(policy).__name__ in str(error)  # noqa: PT017
        else:
            assert 0 <= factor < math.inf


@pytest.mark.filterwarnings("ignore:.*the old name goes:FutureWarning")
@settings(max_examples=300, deadline=None)
@given(st.data())
def test_arguments_together_work_or_are_refused(data):
    kind = data.draw(st.sampled_from([each for each in CLASSES if inspect.signature(each).parameters]))
    names = [name for each, name in ARGUMENTS if each is kind]
    if not names:
        return
    arguments = data.draw(st.dictionaries(st.sampled_from(names), st.sampled_from(VALUES), max_size=4))
    try:
        made = kind(**{**REQUIRED.get(kind.__name__, {}), **arguments})
    except (TypeError, ValueError) as error:
        its_own = callable(arguments.get("function"))
        assert its_own or f"`{kind.__name__}" in str(error), (arguments, error)  # noqa: PT017
    else:
        if isinstance(made, policies.Policy) and kind is not policies.Function:
            assert_a_factor_or_a_refusal(made)


@pytest.mark.parametrize("name", inspect.signature(package.preview).parameters)
def test_an_argument_of_preview_works_or_is_refused_by_its_name(name):
    faults = []
    for value in VALUES:
        arguments = {"policy": policies.Linear(), "max_epochs": 4, "steps_per_epoch": 3, "interval": "step"}
        try:
            assert str(package.preview(**{**arguments, name: value}))
        except (TypeError, ValueError) as error:
            # A length that a float cannot count is one for the policy too.
            if not (name in str(error) or "`preview(" in str(error) or "`Linear.factor(t=" in str(error)):
                faults.append((value, error))
    assert not faults


# --- Checkpoints


class Cooled(Callback):
    """Starts the cooldown after the first epoch."""

    def on_train_epoch_end(self, trainer, pl_module):
        decay = next(each for each in trainer.callbacks if isinstance(each, LRDecay))
        if trainer.current_epoch == 0:
            decay.start_cooldown(trainer)


def acting(letters, *actions, **more):
    return PlateauDetector("loss/val", detector=Verdicts(letters), on_plateau=list(actions), **more)


EPOCHS = 4
CASES = {
    "LRDecay": lambda: [LRDecay(policies.Linear(), interval="step", warmup=3)],
    "LRDecay, cooled down": lambda: [
        LRDecay(policies.WarmupStableDecay(cooldown=4), interval="step"),
        Cooled(),
    ],
    "LRRangeTest": lambda: [LRRangeTest(40, min_lr=1e-4, max_lr=1.0)],
    "LRSearch": lambda: [
        LRSearch(1e-3, 1e-1, steps_per_trial=2, final_steps=2, budget=30, validation_batches=1)
    ],
    "PlateauDetector, SlopeTest": lambda: [PlateauDetector("loss/val")],
    "PlateauDetector, Patience": lambda: [
        PlateauDetector("loss/val", detector=package.plateau.Patience(patience=0))
    ],
    "PlateauDetector, ReduceLR": lambda: [acting("ip", package.plateau.ReduceLR(0.5, cooldown=5))],
    "PlateauDetector, Escape": lambda: [acting("ip", package.plateau.Escape(2.0, duration=2, patience=2))],
    "PlateauDetector, RestoreBest": lambda: [acting("iip", package.plateau.RestoreBest(0.5))],
    "PlateauDetector, Retune": lambda: [
        acting("ip", package.plateau.Retune()),
        LRRangeTest(40, min_lr=1e-4, max_lr=1.0, milestones=[]),
    ],
    "LRLogger": lambda: [LRLogger(), LRDecay(policies.Linear(), interval="step", warmup=3)],
}


class StopAfter(Callback):
    def __init__(self, epochs):
        self.epochs = epochs

    def on_train_epoch_end(self, trainer, pl_module):
        trainer.should_stop = trainer.current_epoch + 1 == self.epochs


def run(root, callbacks, *, ckpt_path=None, stop_after=None, **kwargs):
    trace = LRTrace()
    callbacks = [*callbacks, StopAfter(stop_after)]
    keeper = ModelCheckpoint(root, filename="{epoch}", save_top_k=-1, save_on_train_epoch_end=False)
    settings = {"max_epochs": EPOCHS, "enable_checkpointing": True} | kwargs
    if any(isinstance(each, LRLogger) for each in callbacks):
        settings |= {"logger": DummyLogger(), "log_every_n_steps": 1}
    fit = trainer(*callbacks, trace, keeper, **settings)
    torch.manual_seed(0)
    fit.fit(Learner(batches=4), ckpt_path=ckpt_path, weights_only=True if ckpt_path else None)
    return trace.lrs


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Return, for each case, the LRs of a whole run and the checkpoint after its second epoch."""
    made = {}

    def run_of(case):
        if case not in made:
            root = tmp_path_factory.mktemp("whole")
            lrs = run(root, CASES[case]())
            made[case] = lrs, torch.load(root / "epoch=1.ckpt", weights_only=True)
        return made[case]

    return run_of


def our_key(checkpoint, case):
    return next(key for key in checkpoint["callbacks"] if key.startswith(case.split(",")[0]))


def paths(state, prefix=()):
    """Return the path to every entry, of a long list only to the first one."""
    found = []
    items = state.items() if isinstance(state, dict) else list(enumerate(state))[:1]
    for key, value in items:
        found.append((*prefix, key))
        # Weights are the module's own affair.
        if isinstance(value, dict | list) and key not in ("weights", "module", "optimizers"):
            found += paths(value, (*prefix, key))
    return found


FIT = trainer()
GONE = "gone"
ODD = [None, "x", [], {}, -1, math.nan, 1.5, True, [None], {"a": 1}, 10**400, torch.zeros(2), torch.nan]


def mutated(state, path, value):
    changed = copy.deepcopy(state)
    place = reduce(lambda inner, key: inner[key], path[:-1], changed)
    if isinstance(value, str) and value == GONE:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return changed


@pytest.mark.parametrize("case", CASES)
def test_a_mutated_state_is_refused_in_words_or_understood(case, runs):
    _, checkpoint = runs(case)
    state = checkpoint["callbacks"][our_key(checkpoint, case)]
    name, refused = case.split(",")[0], 0
    for path in paths(state):
        for value in [GONE, *ODD]:
            [callback, *_] = CASES[case]()
            callback.setup(FIT, None, "fit")
            try:
                callback.load_state_dict(mutated(state, path, value))
            except MisconfigurationException as error:
                refused += 1
                assert str(error).startswith(f"{name} cannot go on from this checkpoint")  # noqa: PT017
                assert len(str(error)) < 800  # noqa: PT017
            else:
                assert_plain(callback.state_dict())
    assert refused > 5 * len(paths(state))


def assert_plain(value):
    if isinstance(value, dict):
        assert all(isinstance(key, str | int) for key in value)
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            assert_plain(each)
    else:
        assert value is None or type(value) in (bool, int, float, str, torch.Tensor), value


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
ANYTHING = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=3) | st.integers(0, 3), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
@pytest.mark.parametrize("case", CASES)
def test_a_state_of_anything_is_refused_in_words_or_understood(case, runs, data):
    _, checkpoint = runs(case)
    state = checkpoint["callbacks"][our_key(checkpoint, case)]
    for _ in range(data.draw(st.integers(1, 3))):
        places = paths(state)
        if places:
            state = mutated(state, data.draw(st.sampled_from(places)), data.draw(ANYTHING))
    [callback, *_] = CASES[case]()
    callback.setup(FIT, None, "fit")
    try:
        callback.load_state_dict(state)
    except MisconfigurationException as error:
        assert str(error).startswith(f"{case.split(',')[0]} cannot go on from this checkpoint")  # noqa: PT017
        assert len(str(error)) < 800  # noqa: PT017
    else:
        assert_plain(callback.state_dict())


@pytest.mark.parametrize("state", [None, [], "state", 3, {"step": 1}, {"newer": 1}])
@pytest.mark.parametrize("case", CASES)
def test_what_is_no_state_at_all_is_refused(case, state):
    [callback, *_] = CASES[case]()
    with pytest.raises(MisconfigurationException, match="cannot go on from this checkpoint"):
        callback.load_state_dict(state)


@pytest.mark.parametrize("case", CASES)
def test_an_empty_state_is_refused_or_that_of_before_the_first_step(case):
    [callback, *_] = CASES[case]()
    if isinstance(callback, LRDecay):
        assert callback.state_dict() == {}
        callback.load_state_dict({})
        assert callback.state_dict() == {}
        return
    with pytest.raises(MisconfigurationException, match=r"` is missing\. Is it of another configuration"):
        callback.load_state_dict({})


@pytest.mark.parametrize("case", [case for case in CASES if case.startswith("LRDecay")])
def test_what_was_loaded_is_saved_again_before_training_begins(case, runs):
    """A fit that fails as it starts may save a checkpoint, which is to be worth as much as the one before."""
    _, checkpoint = runs(case)
    [decay, *_] = CASES[case]()
    decay.setup(FIT, None, "fit")
    state = checkpoint["callbacks"][our_key(checkpoint, case)]
    decay.load_state_dict(state)
    assert decay.state_dict() == state


@pytest.mark.parametrize("value", [-1, -0.5, math.nan, math.inf])
def test_a_weight_that_is_none_is_refused(value):
    state = {"epoch_loss": 1.0, "epoch_weight": value, "decisions": []}
    with pytest.raises(
        MisconfigurationException, match=r"`epoch_weight` is .* it must be a number in \[0, inf"
    ):
        LRLogger().load_state_dict(state)


@pytest.mark.parametrize("case", CASES)
def test_an_entry_of_a_newer_version_is_refused(case, runs):
    _, checkpoint = runs(case)
    [callback, *_] = CASES[case]()
    state = checkpoint["callbacks"][our_key(checkpoint, case)]
    with pytest.raises(
        MisconfigurationException, match="`newer` is an entry that this version does not know"
    ):
        callback.load_state_dict({**state, "newer": 1})


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended")
@pytest.mark.filterwarnings("ignore:The resumed run is to be")
@pytest.mark.filterwarnings("ignore:The dirpath has changed")
@pytest.mark.filterwarnings("ignore:LRDecay was x when the checkpoint was saved")
@pytest.mark.parametrize("case", CASES)
def test_a_run_resumed_from_a_mutated_checkpoint_has_the_same_lrs_or_is_refused(case, runs, tmp_path):
    lrs, checkpoint = runs(case)
    key = our_key(checkpoint, case)
    state = checkpoint["callbacks"][key]
    # The detector of these cases is one of the tests', and one number is as good as another.
    own = [
        path
        for path in paths(state)
        if not (path[0] == "detector" and "," in case and "Patience" not in case)
    ]
    odd = [GONE, None, "x", [], True, [None], {"a": 1}]
    # An action without a memory is one that has nothing to remember.
    memory = ("reactions", "memories")
    choices = [(path, value) for path in own for value in odd if (path[:2], value) != (memory, GONE)]
    accepted = 0
    for path, value in choices:
        [callback, *_] = CASES[case]()
        callback.setup(FIT, None, "fit")
        changed = mutated(state, path, value)
        try:
            callback.load_state_dict(changed)
        except MisconfigurationException:
            continue
        accepted += 1
        if accepted > 6:
            break
        file = tmp_path / f"{accepted}.ckpt"
        torch.save({**checkpoint, "callbacks": {**checkpoint["callbacks"], key: changed}}, file)
        try:
            rest = run(tmp_path / str(accepted), CASES[case](), ckpt_path=file)
        except MisconfigurationException as error:
            assert "cannot go on from this checkpoint" in str(error)  # noqa: PT017
        else:
            wanted = {step: each for step, each in lrs.items() if step in rest}
            assert rest == wanted or value is None, (path, value)


RESUMING = [
    pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`"),
    pytest.mark.filterwarnings("ignore:The dirpath has changed"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory"),
]


def resuming(test):
    for mark in RESUMING:
        test = mark(test)
    return test


@resuming
@pytest.mark.parametrize("case", CASES)
def test_a_checkpoint_without_our_state_resumes(case, tmp_path):
    """Nothing is searched for anew, and a decay is where the step of the run says that it is."""
    run(tmp_path, [])
    rest = run(tmp_path, CASES[case](), ckpt_path=tmp_path / "epoch=1.ckpt")
    assert sorted(rest) == list(range(8, 16))
    base = 0.002
    if case in ("LRDecay", "LRLogger"):
        assert [lrs[0] for lrs in rest.values()] == pytest.approx(
            [base * (16 - s) / 13 for s in range(8, 16)]
        )
    elif case == "LRDecay, cooled down":
        assert [lrs[0] for lrs in rest.values()][:5] == [base] * 5
    else:
        assert [lrs[0] for lrs in rest.values()][:4] == [base] * 4


@resuming
def test_a_checkpoint_is_not_taken_up_by_other_actions(runs, tmp_path):
    _, checkpoint = runs("PlateauDetector, Escape")
    torch.save(checkpoint, tmp_path / "escaping.ckpt")
    with pytest.raises(
        MisconfigurationException, match=r"it was Escape and is ReduceLR now\. Use the actions"
    ):
        run(tmp_path, [acting("ip", package.plateau.ReduceLR())], ckpt_path=tmp_path / "escaping.ckpt")
    with pytest.raises(MisconfigurationException, match=r"there is no such action now\. Use the actions"):
        run(tmp_path, [acting("ip")], ckpt_path=tmp_path / "escaping.ckpt")


@resuming
def test_a_decay_takes_over_from_one_without_an_end(tmp_path):
    run(tmp_path, [LRDecay(policies.Constant(), interval="step")], max_epochs=-1, stop_after=2)
    with (
        pytest.warns(UserWarning, match=r"its factor of the base LR is 0\.5\."),
        pytest.warns(UserWarning, match=r"LRDecay was LRDecay\(Constant"),
    ):
        run(tmp_path, [LRDecay(policies.Linear(), interval="step")], ckpt_path=tmp_path / "epoch=1.ckpt")


def test_nothing_was_made_yet():
    """A state of before the first step says so, and is taken as it is."""
    decay = LRDecay()
    decay.load_state_dict(decay.state_dict())
    assert decay.state_dict() == {}
    for callback in (LRRangeTest(), LRSearch(), PlateauDetector()):
        state = callback.state_dict()
        callback.load_state_dict(copy.deepcopy(state))
        assert callback.state_dict() == state


@pytest.mark.parametrize("case", CASES)
def test_what_we_save_is_loaded_with_weights_only(case, runs, tmp_path):
    _, checkpoint = runs(case)
    assert_plain(checkpoint["callbacks"][our_key(checkpoint, case)])
    torch.save(checkpoint["callbacks"], tmp_path / "state.pt")
    torch.load(tmp_path / "state.pt", weights_only=True)


# --- YAML

MISTAKES = {
    "LRDecay": ["warmups: 1", "interval: 3", "policy: 3", "policy: {class_path: Nowhere}", "warmup: [1]"],
    "LRRangeTest": [
        "steps: 1",
        "num_steps: many",
        "num_steps: 1.5",
        "num_steps: .nan",
        "apply: 3",
        "min_lr: -1",
    ],
    "LRSearch": ["budgets: 1", "budget: all", "budget: -5", "score: best", "milestones: 3", "warmup: .inf"],
    "PlateauDetector": [
        "mode: least",
        "detector: Nowhere",
        "on_plateau: reduce",
        "on_plateau: [3]",
        "monitors: x",
    ],
    "LRLogger": ["log_momentum: maybe", "log_lr: true"],
}


# What stands under `callbacks:`, with D for LRDecay and P for PlateauDetector, and what has to be told of it.
MISNESTED = {
    "[{class_path: lightning_lr.LRDecays}]": "LRDecays",
    "[{class_path: lightning_lr.nowhere.LRDecay}]": "lightning_lr.nowhere",
    "[{class_path: lightning_lr.policies.Cosine}]": "lightning_lr.policies.Cosine",
    "[{class_path: lightning_lr.preview}]": "lightning_lr.preview",
    "[{class_path: 3}]": "callbacks",
    "[{class_path: [lightning_lr.LRDecay]}]": "callbacks",
    "[{class_paths: lightning_lr.LRDecay}]": "callbacks",
    "[{init_args: {warmup: 3}}]": "callbacks",
    "[[{class_path: lightning_lr.LRDecay}]]": "callbacks",
    "[{class_path: D, init_args: 3}]": "init_args",
    "[{class_path: D, init_args: [warmup]}]": "init_args",
    "[{class_path: D, warmup: 3}]": "warmup",
    "[{class_path: D, init_args: {init_args: {warmup: 3}}}]": "init_args",
    "[{class_path: D, init_args: {policy: {init_args: {exponent: 2}}}}]": "policy",
    "[{class_path: D, init_args: {policy: [{class_path: Linear}]}}]": "policy",
    "[{class_path: D, init_args: {policy: {class_path: lightning_lr.LRLogger}}}]": "policy",
    "[{class_path: D, init_args: {policy: {class_path: builtins.dict}}}]": "policy",
    "[{class_path: P, init_args: {on_plateau: {class_path: os.system}}}]": "os.system",
    "[{class_path: P, init_args: {detector: {patience: 3, x: 1}}}]": "detector",
    "[3]": "callbacks",
    "3": "callbacks",
}


@pytest.mark.parametrize(("callbacks", "message"), MISNESTED.items())
def test_a_wrong_nesting_in_yaml_is_told(callbacks, message, configure):
    for letter, kind in (("D", LRDecay), ("P", PlateauDetector)):
        callbacks = callbacks.replace(f"class_path: {letter},", f"class_path: lightning_lr.{kind.__name__},")
    made, told = configure(f"callbacks: {callbacks}")
    assert made is None
    assert message in told


NUMBERS = ["0", "1", "-1", "3", "0.5", "-0.5", "1e3", ".nan", ".inf", "-.inf", "0x1F", "1_000", "'0.5'"]
SCALARS = st.sampled_from([*NUMBERS, "null", "true", "false", "''", "no", "x", "2026-01-01", "max", "step"])
YAMLS = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=2).map(lambda parts: f"[{', '.join(parts)}]")
        | st.dictionaries(st.sampled_from(["class_path", "init_args", "end", "x"]), inner, max_size=2).map(
            lambda parts: f"{{{', '.join(f'{key}: {value}' for key, value in parts.items())}}}"
        )
    ),
    max_leaves=4,
)
CALLBACKS = (LRDecay, LRLogger, LRRangeTest, LRSearch, PlateauDetector)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    of_callback=st.sampled_from([(kind, name) for kind, name in ARGUMENTS if kind in CALLBACKS]), value=YAMLS
)
def test_any_yaml_works_or_is_told(of_callback, value, configure):
    kind, name = of_callback
    made, told = configure(
        f"callbacks: [{{class_path: lightning_lr.{kind.__name__}, init_args: {{{name}: {value}}}}}]"
    )
    if made is None:
        assert name in told
    else:
        assert any(isinstance(each, kind) for each in made.callbacks)


@pytest.fixture
def configure(tmp_path, monkeypatch, capsys):
    """Return the Trainer that a YAML makes, or None, and what is told."""
    # Lightning calls what jsonargparse 4.49 deprecates.
    monkeypatch.setenv("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
    config = tmp_path / "run.yaml"
    monkeypatch.setattr(sys, "argv", ["run.py", "--config", str(config)])

    def trainer_of(lines):
        config.write_text(f"seed_everything: 0\ntrainer:\n  accelerator: cpu\n  logger: false\n  {lines}\n")
        try:
            made = LightningCLI(Learner, run=False, save_config_callback=None).trainer
        except (SystemExit, TypeError, ValueError) as error:
            told = str(error) + capsys.readouterr().err
            assert "Traceback" not in told
            return None, told
        return made, ""

    return trainer_of


@pytest.mark.parametrize(
    ("kind", "line"), [(kind, line) for kind, lines in MISTAKES.items() for line in lines]
)
def test_a_mistake_in_yaml_is_told(kind, line, configure):
    made, told = configure(
        f"callbacks:\n    - class_path: lightning_lr.{kind}\n      init_args:\n        {line}"
    )
    assert made is None
    assert line.split(":")[0] in told
