"""What every action does to a fit, one at a time; verdicts are scripted."""

import math

import pytest
import torch
from helpers.judged import exact
from helpers.scripted import ManualStalling, Stalling, Verdicts
from helpers.toy import LRTrace, fit, lrs_of, scalars
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch.optim import SGD, AdamW
from torch.optim import lr_scheduler as schedulers

from lightning_lr import LRDecay, LRLogger, LRRangeTest, LRSearch, PlateauDetector
from lightning_lr.plateau import (
    Action,
    Effect,
    Escape,
    Patience,
    ReduceLR,
    ReportOnly,
    RestoreBest,
    Retune,
    StartCooldown,
    StopTraining,
)
from lightning_lr.policies import Cosine, WarmupStableDecay

STEPS_PER_EPOCH = 4


def sgd(parameters):
    return SGD(parameters, lr=0.1, momentum=0.9)


def run(actions, letters, *callbacks, module=None, **options):
    """Fit with the same actions for every verdict; return detector, LR of every epoch and Trainer."""
    judge = PlateauDetector(
        detector=Verdicts(letters), on_plateau=actions, on_overfitting=actions, on_divergence=actions
    )
    trace = LRTrace()
    settings = {"max_epochs": len(letters) + 1} | options
    fitted = fit(module or Stalling(sgd, batches=STEPS_PER_EPOCH), *callbacks, judge, trace, **settings)
    lrs = [lr for step, [lr, *_] in sorted(trace.lrs.items()) if step % STEPS_PER_EPOCH == 0]
    return judge, lrs, fitted


def changes(judge):
    return judge._judgments._state["changes"]


def effects(judge):
    return {record.validation: record.effects for record in judge.records if record.effects}


def test_reduce_lr_multiplies_at_every_verdict_and_history_starts_afresh():
    judge, lrs, _ = run(ReduceLR(0.5, final_decay=0), "iipiodu")
    assert lrs == [0.1, 0.1, 0.1, 0.05, 0.05, 0.025, 0.0125, 0.0125]
    assert changes(judge) == [3, 5, 6]
    assert effects(judge)[3] == ("LR 0.1 -> 0.05",)


def test_in_the_last_fifth_of_the_run_the_lr_falls_to_the_end():
    judge, lrs, _ = run(ReduceLR(0.5), "iipiiiiiiiiippp", max_epochs=15)
    assert lrs[:13] == [0.1] * 3 + [0.05] * 10
    # Thirteen of fifteen validations are over: two are left.
    assert lrs[13:] == pytest.approx([0.05 * 2 / 3, 0.05 / 3])
    assert effects(judge) == {
        3: ("LR 0.1 -> 0.05",),
        13: ("LR 0.05 -> 0.03333, and on to 0 with the 2 validations that are left",),
    }


def test_reduce_lr_rests():
    judge, lrs, _ = run(ReduceLR(0.5, cooldown=2, final_decay=0), "pppppp")
    assert lrs == [0.1, 0.05, 0.05, 0.05, 0.025, 0.025, 0.025]
    assert changes(judge) == [1, 4]


def test_reduce_lr_stops_at_its_minimum():
    judge, lrs, _ = run(ReduceLR(0.5, min_lr=0.03), "pppp")
    assert lrs == [0.1, 0.05, 0.03, 0.03, 0.03]
    assert changes(judge) == [1, 2]


def test_a_minimum_above_the_lr_never_raises_it():
    _, lrs, _ = run(ReduceLR(0.5, min_lr=1.0), "pp")
    assert lrs == [0.1, 0.1, 0.1]


def test_reduce_lr_keeps_ratios_under_manual_optimization():
    _, _, fitted = run(ReduceLR(0.5), "p", module=ManualStalling(batches=STEPS_PER_EPOCH))
    assert lrs_of(fitted) == pytest.approx([0.05, 0.005], rel=1e-12)


def test_frozen_groups_stay_frozen_and_a_frozen_model_is_left_alone():
    def frozen(parameters):
        return SGD(parameters, lr=0.0)

    judge, lrs, _ = run([ReduceLR(0.5), Escape()], "pp", module=Stalling(frozen, batches=STEPS_PER_EPOCH))
    assert lrs == [0.0] * 3
    assert not effects(judge)


def test_several_actions_follow_in_their_order():
    class Note(Action):
        def act(self, situation):
            return Effect(f"LR {lrs_of(situation.trainer)[0]:.3g}")

    judge, _, _ = run([Note(), ReduceLR(0.5), Note()], "ip")
    assert effects(judge) == {2: ("LR 0.1", "LR 0.1 -> 0.05", "LR 0.05")}


def test_what_an_action_makes_can_be_used_in_training():
    made = []

    class Make(Action):
        def act(self, situation):
            made.append(torch.ones(1))
            made.append(situation.pl_module.linear.weight * 2)

    run(Make(), "ip")
    ones, doubled = made
    assert not ones.is_inference()
    assert not doubled.requires_grad


@pytest.mark.parametrize("actions", [[], ReportOnly()])
def test_to_report_changes_nothing(actions):
    judge, lrs, _ = run(actions, "ppodp")
    assert lrs == [0.1] * 6
    assert changes(judge) == []
    assert not effects(judge)


@pytest.mark.parametrize(("bounds", "epochs"), [({}, 2), ({"min_epochs": 4}, 4), ({"min_steps": 9}, 3)])
def test_stop_training_ends_the_fit(bounds, epochs):
    judge, lrs, _ = run(StopTraining(), "ippppp", **bounds)
    assert len(lrs) == epochs
    assert effects(judge) == {2: ("training stops",)}


class Scores(Stalling):
    """Its value of every validation is given, and the weights of every validation are noted."""

    def __init__(self, scores, make=sgd, **kwargs):
        super().__init__(make, batches=STEPS_PER_EPOCH, **kwargs)
        self.scores = scores
        self.seen = []

    def script(self, step):
        return self.scores[step // STEPS_PER_EPOCH - 1]

    def on_validation_start(self):
        self.seen.append([each.detach().clone() for each in self.parameters()])


class AtStart(Callback):
    """Notes weights and optimizer state at the start of every epoch and at the end of every validation."""

    def __init__(self):
        self.weights, self.states, self.after = [], [], []

    def on_train_epoch_start(self, trainer, pl_module):
        self.weights.append([each.detach().clone() for each in pl_module.parameters()])
        self.states.append(state_of(trainer))

    def on_validation_start(self, trainer, pl_module):
        self.after.append(state_of(trainer))


def state_of(trainer):
    return [
        {name: value.clone() for name, value in optimizer.state[parameter].items() if value is not None}
        for optimizer in trainer.optimizers
        for group in optimizer.param_groups
        for parameter in group["params"]
    ]


def same(left, right):
    return len(left) == len(right) and all(map(torch.equal, left, right))


def same_states(left, right):
    return all(
        one.keys() == two.keys() and same(list(one.values()), list(two.values()))
        for one, two in zip(left, right, strict=True)
    )


@pytest.mark.parametrize("make", [sgd, lambda parameters: AdamW(parameters, lr=0.1)])
@pytest.mark.parametrize("source", ["memory", "checkpoint"])
def test_restore_best_goes_back_to_weights_and_optimizer_of_the_best_validation(make, source, tmp_path):
    note, module = AtStart(), Scores([3.0, 1.0, 2.0, 2.5, 0.5], make)
    kept = ModelCheckpoint(tmp_path / "kept", monitor="val_loss", save_on_train_epoch_end=False)
    callbacks, options = ([kept], {"enable_checkpointing": True}) if source == "checkpoint" else ([], {})
    judge, lrs, _ = run(
        RestoreBest(0.5, source=source), "iiuou", note, *callbacks, module=module, max_epochs=5, **options
    )
    assert same(note.weights[4], module.seen[1])
    assert not same(note.weights[4], module.seen[3])
    assert same_states(note.states[4], note.after[1])
    assert lrs == [0.1, 0.1, 0.1, 0.1, 0.05]
    assert changes(judge) == [4]
    [text] = effects(judge)[4]
    assert text == "weights back to those of validation 2, the best with 1, LR 0.1 -> 0.05"


def test_restore_best_knows_which_way_is_better():
    module = Scores([1.0, 3.0, 2.0, 2.5])
    judge = PlateauDetector(mode="max", detector=Verdicts("iiuo"), on_overfitting=RestoreBest(1.0))
    fit(module, judge, max_epochs=4)
    assert same(list(module.parameters()), module.seen[1])
    assert effects(judge) == {4: ("weights back to those of validation 2, the best with 3",)}


def test_restore_best_does_not_go_back_where_it_is_the_best_or_nothing_was_finite():
    judge, _, _ = run(RestoreBest(0.5), "ip", module=Scores([3.0, 1.0]), max_epochs=2)
    assert effects(judge) == {2: ("LR 0.1 -> 0.05",)}
    judge, _, _ = run(RestoreBest(0.5), "ud", module=Scores([math.nan, math.nan]), max_epochs=2)
    assert effects(judge) == {2: ("LR 0.1 -> 0.05",)}
    assert judge._reactions.best is None


def test_diverged_weights_come_back_finite():
    class Explodes(Scores):
        def on_train_batch_end(self, outputs, batch, batch_idx):
            if self.trainer.current_epoch == 2:
                for parameter in self.parameters():
                    torch.nn.init.constant_(parameter, math.nan)

    module = Explodes([3.0, 1.0, math.nan, 1.0], lambda parameters: AdamW(parameters, lr=0.1))
    run(RestoreBest(), "iid", module=module, max_epochs=4)
    assert all(parameter.isfinite().all() for parameter in module.parameters())


def test_best_weights_in_files_are_not_kept_in_memory(tmp_path):
    kept = ModelCheckpoint(tmp_path / "kept", monitor="val_loss", save_on_train_epoch_end=False)
    judge, _, _ = run(RestoreBest(source="checkpoint"), "ii", kept, enable_checkpointing=True)
    assert judge._reactions.best.weights is None
    judge, _, _ = run([ReduceLR()], "ii")
    assert judge._reactions.best.weights is None


@pytest.mark.parametrize("monitor", [None, "loss"])
def test_best_weights_in_files_need_a_checkpoint_of_the_same_monitor(monitor, tmp_path):
    kept = ModelCheckpoint(tmp_path / "kept", monitor=monitor)
    message = r"add `ModelCheckpoint\(monitor='val_loss', mode='min'\)`"
    with pytest.raises(MisconfigurationException, match=message):
        run(RestoreBest(source="checkpoint"), "i", kept, enable_checkpointing=True)


@pytest.mark.parametrize("action", [RestoreBest(), Escape()])
def test_weights_that_are_sharded_are_refused(action, monkeypatch):
    monkeypatch.setattr("lightning_lr.plateau.actions.restore.FSDPStrategy", SingleDeviceStrategy)
    with pytest.raises(MisconfigurationException, match=f"`{type(action).__name__}` keeps whole weights"):
        run(action, "i")


def test_by_default_weights_are_kept_where_they_are_whole(monkeypatch):
    judge, _, _ = run(None, "iod", module=Scores([3.0, 4.0, 5.0, 5.0]))
    assert [len(texts[0].split(", ")) for texts in effects(judge).values()] == [3, 3]
    monkeypatch.setattr("lightning_lr.plateau.actions.restore.FSDPStrategy", SingleDeviceStrategy)
    judge, _, _ = run(None, "iod", module=Scores([3.0, 4.0, 5.0, 5.0]))
    assert list(effects(judge).values()) == [("LR 0.1 -> 0.03",), ("LR 0.03 -> 0.009",)]


def test_an_escape_that_pays_is_kept():
    module = Scores([3.0, 2.0, 2.1, 1.9, 1.8, 1.7])
    judge, lrs, _ = run(Escape(2.0, duration=3, patience=5), "iupuuu", module=module, max_epochs=6)
    assert lrs == [0.1, 0.1, 0.1, 0.2, 0.1, 0.1]
    assert effects(judge) == {
        3: ("LR 0.1 -> 0.2 for 3 validations",),
        4: ("the escape has paid: better than 2, LR 0.2 -> 0.1",),
    }
    assert changes(judge) == [3, 4]
    assert "weights" not in judge._reactions.state_dict()["memories"]["plateau.0"]


def test_an_escape_that_does_not_pay_is_rolled_back():
    note, module = AtStart(), Scores([3.0, 2.0, 2.1, 2.2, 2.3, 2.0, 2.4])
    judge, lrs, _ = run(Escape(2.0, duration=2, patience=3), "iupuuupp", note, module=module, max_epochs=7)
    assert lrs == [0.1, 0.1, 0.1, 0.2, 0.2, 0.1, 0.1]
    assert effects(judge)[5] == ("LR 0.2 -> 0.1",)
    assert effects(judge)[6] == ("no better than 2: back to the weights before the escape",)
    assert same(note.weights[6], module.seen[2])
    assert same_states(note.states[6], note.after[2])
    # One attempt is all there is.
    assert set(effects(judge)) == {3, 5, 6}


def test_an_escape_by_momentum_and_back():
    momenta = []

    class Note(Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            momenta.append(trainer.optimizers[0].param_groups[0]["betas"])

    module = Scores([3.0, 2.0, 2.1, 2.2, 2.3], lambda parameters: AdamW(parameters, lr=0.1))
    action = Escape(2.0, quantity="momentum", duration=1, patience=2)
    judge, lrs, _ = run(action, "iupuu", Note(), module=module, max_epochs=5)
    assert lrs == [0.1] * 5
    assert [beta for beta, _ in momenta] == [0.9, 0.9, 0.9, 0.95, 0.9]
    assert {second for _, second in momenta} == {0.999}
    assert effects(judge)[3] == ("momentum 0.9 -> 0.95 for 1 validations",)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda parameters: SGD(parameters, lr=0.1), "no optimizer with momentum"),
        (
            lambda parameters: (
                [optimizer := sgd(parameters)],
                [schedulers.OneCycleLR(optimizer, 0.2, total_steps=40)],
            ),
            "both write the momentum",
        ),
    ],
)
def test_an_escape_by_momentum_needs_one_of_its_own(make, message):
    with pytest.raises(MisconfigurationException, match=message):
        run(Escape(quantity="momentum"), "i", module=Stalling(make, batches=STEPS_PER_EPOCH))


def test_a_cooldown_begins_now_and_the_run_ends_with_it():
    decay = LRDecay(WarmupStableDecay(3, shape="linear"))
    judge, lrs, fitted = run(StartCooldown(keeps_length=True), "iippp", decay, max_epochs=20)
    assert lrs == pytest.approx([0.1, 0.1, 0.1, 0.1, 0.1 * 2 / 3, 0.1 / 3])
    assert fitted.current_epoch == 6
    assert effects(judge) == {3: ("LR cools down over 3 epochs, and the run ends with that",)}
    assert len(judge.verdicts) == 6


@pytest.mark.parametrize("state", ["p", "o", "d"])
def test_by_default_a_cooldown_takes_the_rest_of_the_run(state):
    decay = LRDecay(WarmupStableDecay(2, shape="linear"))
    judge, lrs, fitted = run(StartCooldown(), f"ii{state}ppppp", decay, max_epochs=8)
    assert lrs == pytest.approx([0.1, 0.1, 0.1, 0.1, 0.08, 0.06, 0.04, 0.02])
    assert fitted.current_epoch == 8
    assert effects(judge)[3][-1] == "LR cools down over 5 epochs, and the run ends with that"


@pytest.mark.parametrize("every", [1, 2])
def test_a_cooldown_in_steps_ends_within_an_epoch_after_a_last_validation(every):
    policy = WarmupStableDecay(0.125, shape="linear", end=0.2)
    decay, trace = LRDecay(policy, interval="step", warmup=2), LRTrace()
    judge = PlateauDetector(detector=Verdicts("iippp"), on_plateau=StartCooldown(keeps_length=True))
    options = {"max_epochs": 20, "accumulate_grad_batches": every}
    fitted = fit(Stalling(sgd, batches=4 * every), decay, judge, trace, **options)
    # An eighth of 78 steps after the warm-up are 9.75; it began after 12 steps.
    assert fitted.global_step == 12 + 10
    shares = [1 - index / 9.75 for index in range(10)]
    wanted = [0.1 * (0.2 + 0.8 * share) for share in shares]
    assert [trace.lrs[step][0] for step in range(12, 22)] == pytest.approx(wanted)
    assert judge.records[-1].step == 21


def test_a_cooldown_that_has_begun_or_a_warm_up_is_left_alone():
    planned = LRDecay(WarmupStableDecay(4, shape="linear"))
    judge, lrs, _ = run(StartCooldown(), "iiippp", planned, max_epochs=6)
    assert len(lrs) == 6
    assert not effects(judge)
    warming = LRDecay(WarmupStableDecay(2, warmup=3))
    judge, lrs, _ = run(StartCooldown(), "pu", warming, max_epochs=8)
    assert not effects(judge)
    assert len(lrs) == 8


@pytest.mark.parametrize(
    ("action", "callbacks", "message"),
    [
        (StartCooldown(), [], "no cooldown to start"),
        (StartCooldown(), [LRDecay(Cosine())], "no cooldown to start"),
        (Retune(), [], "no test to run again"),
    ],
)
def test_an_action_without_the_callback_it_needs_is_refused_at_fit_start(action, callbacks, message):
    with pytest.raises(MisconfigurationException, match=message):
        run(action, "i", *callbacks)


def test_lr_decay_starts_no_cooldown_that_it_does_not_have():
    with pytest.raises(RuntimeError, match="has no cooldown"):
        LRDecay(Cosine()).start_cooldown(None)


class Learns(Stalling):
    """Has much to learn, so that a range test has something to see."""

    def __init__(self, lr):
        super().__init__(lambda parameters: SGD(parameters, lr=lr), batches=STEPS_PER_EPOCH, batch_size=16)
        for parameter in self.parameters():
            torch.nn.init.constant_(parameter, 3.0)


TESTS = {
    "LRRangeTest": lambda: LRRangeTest(30, milestones=()),
    "LRSearch": lambda: LRSearch(steps_per_trial=6, final_steps=12, budget=80, score="train", milestones=()),
}


@pytest.mark.parametrize("name", TESTS)
@pytest.mark.parametrize("interval", [1.0, 0.5])
def test_retune_tests_again_from_the_weights_of_now_and_leaves_no_other_trace(name, interval):
    test, trace = TESTS[name](), LRTrace()
    judge = PlateauDetector(detector=Verdicts("ip"), on_plateau=Retune())
    module, note = Learns(1e-4), AtStart()
    options = {"max_epochs": 3, "val_check_interval": interval}
    fitted = fit(module, test, judge, trace, note, **options)
    at = int(2 * STEPS_PER_EPOCH * interval)
    found = test.suggestion.lr
    assert found > 1e-3
    assert {step: lr for step, [lr] in trace.lrs.items()} == {
        step: 1e-4 if step < at else found for step in range(12)
    }
    assert fitted.global_step == 12
    assert changes(judge) == [2]
    assert effects(judge) == {2: (f"{name} looks for another LR before the next batch",)}

    # The fit without a test whose LR is changed to that at the same step.
    class Set(Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            if trainer.global_step == at:
                trainer.optimizers[0].param_groups[0]["lr"] = found

    twin = Learns(1e-4)
    fit(twin, Set(), **options)
    assert same(list(module.parameters()), list(twin.parameters()))


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("name", TESTS)
def test_a_decay_and_a_logger_take_no_notice_of_the_steps_of_a_test(name, place, tmp_path):
    test, decay, trace = TESTS[name](), LRDecay(Cosine(end=0.1), interval="step"), LRTrace()
    others = [decay, LRLogger()]
    others.insert(place, PlateauDetector(detector=Verdicts("ip"), on_plateau=Retune()))
    fit(Learns(1e-4), test, *others, trace, root=tmp_path, max_epochs=3)
    found = test.suggestion.lr
    assert found > 1e-3
    # What is found is the highest LR of the rest, whatever the plan has made of it by then.
    begun = 2 * STEPS_PER_EPOCH
    bases = [1e-4 if step < begun else found / decay.plan.factor(step=begun, epoch=0) for step in range(12)]
    planned = [base * decay.plan.factor(step=step, epoch=0) for step, base in enumerate(bases)]
    assert trace.first_group() == pytest.approx(planned, rel=1e-6)
    assert decay.state_dict()["step"] == 12
    assert scalars(tmp_path)["lr/SGD"] == [(step, pytest.approx(lr)) for step, lr in enumerate(planned)]


@pytest.mark.usefixtures("quick_figures")
@pytest.mark.parametrize(
    "actions", [ReduceLR(0.5), [RestoreBest(), ReduceLR(0.5)], Retune(), Escape(), StartCooldown()], ids=str
)
def test_neither_lrs_nor_their_curve_depend_on_the_order_of_the_callbacks(actions, tmp_path):
    found = []
    for order in [(0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1), (1, 3, 0, 2)]:
        policy = WarmupStableDecay(2, shape="linear") if actions == StartCooldown() else Cosine(end=0.1)
        judge = PlateauDetector(detector=Verdicts("ipipip"), on_plateau=actions)
        test, decay = LRRangeTest(30, milestones=(0, 2)), LRDecay(policy, interval="step")
        callbacks, trace = [test, decay, judge, LRLogger()], LRTrace()
        torch.manual_seed(0)
        root = tmp_path / "-".join(map(str, order))
        fit(Learns(1e-4), *(callbacks[each] for each in order), trace, root=root, max_epochs=5)
        found += [trace.first_group(), [lr for _, lr in scalars(root)["lr/SGD"]]]
    first, *others = found
    assert len(set(first)) > 2
    for other in others:
        assert other == pytest.approx(first, rel=1e-6)


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
def test_a_test_that_was_to_come_comes_after_a_resume(tmp_path):
    def parts():
        judge = PlateauDetector(detector=Verdicts("ip"), on_plateau=Retune())
        return judge, LRRangeTest(30, milestones=()), LRTrace()

    saved = ModelCheckpoint(tmp_path, filename="{step}", save_top_k=-1, save_on_train_epoch_end=False)
    judge, test, trace = parts()
    fit(Learns(1e-4), judge, test, trace, saved, max_epochs=3, enable_checkpointing=True)
    again, test_again, trace_again = parts()
    fit(Learns(1e-4), again, test_again, trace_again, max_epochs=3, ckpt_path=tmp_path / "step=8.ckpt")
    assert test_again.suggestion == test.suggestion
    assert trace_again.lrs == {step: lr for step, lr in trace.lrs.items() if step >= 8}
    assert exact(again.records) == exact(judge.records)


@pytest.mark.parametrize(
    ("action", "arguments", "error", "message"),
    [
        (ReduceLR, {"factor": 0.0}, ValueError, r"`ReduceLR\(factor=...\)` must be in \(0, 1\), got 0.0"),
        (ReduceLR, {"factor": 1.0}, ValueError, "got 1.0"),
        (ReduceLR, {"factor": math.nan}, ValueError, "got nan"),
        (ReduceLR, {"factor": "half"}, TypeError, "got 'half'"),
        (ReduceLR, {"min_lr": -1.0}, ValueError, "min_lr"),
        (ReduceLR, {"cooldown": -1}, ValueError, "cooldown"),
        (RestoreBest, {"factor": 1.5}, ValueError, "factor"),
        (RestoreBest, {"source": "disk"}, ValueError, "'memory' or 'checkpoint', got 'disk'"),
        (Escape, {"factor": 1.0}, ValueError, "factor"),
        (Escape, {"quantity": "noise"}, ValueError, "quantity"),
        (Escape, {"duration": 0}, ValueError, "duration"),
        (Escape, {"duration": 3, "patience": 2}, ValueError, "patience"),
        (Escape, {"attempts": 0}, ValueError, "attempts"),
    ],
)
def test_bad_arguments_are_errors_that_name_them(action, arguments, error, message):
    with pytest.raises(error, match=message):
        action(**arguments)


def test_a_patience_of_zero_acts_at_the_first_validation_that_is_no_better():
    module = Scores([3.0, 2.0, 2.5, 1.0, 1.5])
    judge = PlateauDetector(detector=Patience(patience=0), on_plateau=ReduceLR(0.5))
    fit(module, judge, max_epochs=5)
    assert list(effects(judge)) == [3, 5]
