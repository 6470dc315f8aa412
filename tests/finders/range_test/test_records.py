"""What LRRangeTest records beside one LR: the whole range, validation losses, groups and attributes."""

import copy
import dataclasses
from types import SimpleNamespace

import pytest
import torch
from helpers.toy import Toy, fit, lrs_of, scalars
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch.optim import SGD

from lightning_lr import LRLogger, LRRangeTest, LRSearch

BOUNDS = {"min_lr": 1e-3, "max_lr": 100.0}


def test_without_an_early_stop_the_whole_range_is_recorded():
    stopped, whole = LRRangeTest(**BOUNDS), LRRangeTest(**BOUNDS, early_stop=False)
    module = Toy(batch_size=64)
    fit(copy.deepcopy(module), stopped, max_epochs=1)
    run = fit(module, whole, max_epochs=1)
    assert len(stopped.curve.lrs) < 100
    assert len(whole.curve.lrs) == 100
    assert whole.curve.lrs[-1] == pytest.approx(100)
    assert whole.curve.losses[: len(stopped.curve.losses)] == stopped.curve.losses
    # What comes after the loss has blown up moves the answer by little.
    assert whole.suggestion.lr == pytest.approx(stopped.suggestion.lr, rel=0.5)
    assert lrs_of(run) == [pytest.approx(whole.suggestion.lr)]


def test_the_validation_loss_is_that_of_the_weights_after_the_step():
    module = Toy(batches=40, batch_size=64)
    by_hand = copy.deepcopy(module)
    test = LRRangeTest(num_steps=30, min_lr=1e-3, max_lr=0.5, validate_every=10, apply=False)
    fit(module, test, max_epochs=1)

    losses = []
    optimizer = SGD(by_hand.parameters(), lr=0.1)
    for step, (batch, lr) in enumerate(
        zip(by_hand.train_dataloader(), test.curve.lrs, strict=False), start=1
    ):
        optimizer.param_groups[0]["lr"] = lr
        optimizer.zero_grad()
        by_hand.loss(batch).backward()
        optimizer.step()
        if step % 10 == 0:
            losses.append(sum(by_hand.loss(each).item() for each in by_hand.val_dataloader()) / 3)
    assert test.validation_curve.lrs == test.curve.lrs[9::10]
    assert test.validation_curve.losses == pytest.approx(losses)


def test_a_validated_test_leaves_no_trace_and_finds_the_same():
    ends = []
    for every in (None, 3):
        torch.manual_seed(0)
        module, test = Toy(), LRRangeTest(validate_every=every)
        fit(module, test, max_epochs=2)
        ends.append((test.suggestion, [each.detach().clone() for each in module.parameters()]))
    assert ends[0][0] == ends[1][0]
    assert all(map(torch.equal, ends[0][1], ends[1][1]))


def test_tensorboard_shows_the_validation_losses(tmp_path):
    test = LRRangeTest(validate_every=10)
    fit(Toy(), test, LRLogger(), root=tmp_path, max_epochs=1)
    shown = scalars(tmp_path)
    assert [loss for _, loss in shown["range_test/val_loss"]] == pytest.approx(test.validation_curve.losses)
    of_lr = dict(shown["range_test/lr"])
    assert [of_lr[step] for step, _ in shown["range_test/val_loss"]] == pytest.approx(
        test.validation_curve.lrs
    )
    labels = [text.get_text() for text in test.plot().axes[0].get_legend().get_texts()]
    assert "validation" in labels
    [chart] = [tags for title, tags in test.charts()["Range test"].items() if title.startswith("Loss")]
    assert chart == ["range_test/loss$", "range_test/val_loss$"]


def test_it_says_the_lr_of_every_group():
    def groups(parameters):
        weight, bias = parameters
        return SGD([{"params": [weight], "name": "body"}, {"params": [bias], "lr": 0.01}], lr=0.1)

    test = LRRangeTest()
    run = fit(Toy(groups), test, max_epochs=1)
    assert list(test.lrs) == ["SGD/body", "SGD/pg2"]
    assert list(test.lrs.values()) == pytest.approx(lrs_of(run))
    assert test.lrs["SGD/body"] == pytest.approx(test.suggestion.lr)


class Configured(Toy):
    """Holds an LR in all the places where modules hold numbers."""

    of_class = 0.1

    def __init__(self, base_rate=0.1, optimizer_settings=None):
        super().__init__()
        self.save_hyperparameters()
        self.current = 0.1
        self.inner = torch.nn.Linear(1, 1)
        self.inner.rate = 0.1
        self.settings = {"optimizer": SimpleNamespace(lr=0.1)}

    @property
    def fixed(self):
        return 0.1

    def held(self):
        hparams = self.hparams
        return {
            "current": self.current,
            "of_class": self.of_class,
            "inner.rate": self.inner.rate,
            "settings.optimizer.lr": self.settings["optimizer"].lr,
            "base_rate": hparams.base_rate,
            "hparams.optimizer_settings.lr": hparams.optimizer_settings["lr"],
        }


def configured():
    return Configured(optimizer_settings={"lr": 0.1, "kind": "SGD"})


FINDERS = {
    "LRRangeTest": lambda attr, **kwargs: LRRangeTest(attr=attr, **kwargs),
    "LRSearch": lambda attr, **kwargs: LRSearch(
        attr=attr, steps_per_trial=6, budget=60, score="train", **kwargs
    ),
}


@pytest.mark.parametrize(
    ("finder", "attr"),
    [
        *(("LRRangeTest", attr) for attr in [*configured().held(), "hparams.base_rate"]),
        ("LRSearch", "current"),
    ],
)
def test_an_attribute_is_kept_in_step(finder, attr, tmp_path):
    module, test = configured(), FINDERS[finder](attr)
    fit(module, test, root=tmp_path, max_epochs=1)
    now = module.held()
    assert now.pop({"hparams.base_rate": "base_rate"}.get(attr, attr)) == test.suggestion.lr
    assert list(now.values()) == [0.1] * 5
    [written] = tmp_path.rglob("hparams.yaml")
    found = f"{test.suggestion.lr!r}" in written.read_text()
    assert found == (attr == "base_rate" or attr.startswith("hparams."))


@pytest.mark.parametrize("attr", ["current", "hparams.base_rate", "hparams.optimizer_settings.lr"])
def test_a_resumed_fit_has_the_attribute_of_the_one_it_goes_on_from(attr, tmp_path):
    test = LRRangeTest(attr=attr)
    fit(configured(), test, max_epochs=1).save_checkpoint(tmp_path / "last.ckpt")
    module, resumed = configured(), LRRangeTest(attr=attr)
    fit(module, resumed, max_epochs=2, ckpt_path=tmp_path / "last.ckpt")
    assert module.held()[{"hparams.base_rate": "base_rate"}.get(attr, attr)] == test.suggestion.lr
    assert resumed.lrs == test.lrs


def test_a_test_that_is_only_looked_at_changes_no_attribute():
    module, test = configured(), LRRangeTest(attr="current", apply=False)
    run = fit(module, test, max_epochs=1)
    assert set(module.held().values()) == {0.1}
    assert lrs_of(run) == [0.1]
    assert test.lrs == {"SGD": pytest.approx(test.suggestion.lr)}


def test_the_attribute_of_a_wrapped_module_is_its_own():
    module, test = configured(), LRRangeTest(attr="wrapped.0.rate")
    module.wrapped = torch.nn.Sequential(torch.nn.Linear(1, 1))
    module.wrapped[0].rate = 0.1
    fit(module, test, max_epochs=1)
    assert module.wrapped[0].rate == test.suggestion.lr


def test_an_attribute_that_is_not_there_is_an_error_before_the_test():
    module = Toy()
    with pytest.raises(MisconfigurationException, match=r"LRRangeTest\(attr='rate'\)`: Toy has no number"):
        fit(module, LRRangeTest(attr="rate"), max_epochs=1)
    assert module.trainer.global_step == 0


@pytest.mark.parametrize("attr", ["settings", "inner", "inner.weight", "fixed", "a.b.c", "hparams.lr", ""])
def test_an_attribute_that_is_no_number_of_its_own_is_refused(attr):
    with pytest.raises(MisconfigurationException, match="Configured has no number of that name"):
        fit(configured(), LRRangeTest(attr=attr), max_epochs=1)


def test_an_attribute_that_cannot_be_set_is_refused():
    @dataclasses.dataclass(frozen=True)
    class Frozen:
        lr: float = 0.1

    module = configured()
    module.frozen = Frozen()
    with pytest.raises(MisconfigurationException, match="Frozen lets nobody set `lr`"):
        fit(module, LRRangeTest(attr="frozen.lr"), max_epochs=1)


def test_validations_that_cannot_be_made_are_refused_with_the_way_out():
    class Silent(Toy):
        def validation_step(self, batch, batch_idx):
            return None

    for module, options in ((Toy(), {"limit_val_batches": 0}), (Silent(), {})):
        with pytest.raises(
            MisconfigurationException, match=r"validate_every=5\)` has nothing to measure.*leave"
        ):
            fit(module, LRRangeTest(validate_every=5), max_epochs=1, **options)
        assert module.trainer.global_step == 0


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"attr": 3}, TypeError, r"attr=...\)` must be a name"),
        ({"validate_every": 0}, ValueError, r"validate_every=...\)` must be at least 1"),
        ({"early_stop": False}, ValueError, "needs a `max_lr`"),
        (
            {"live": True, "validate_every": 2, **BOUNDS},
            ValueError,
            "`validate_every` and `steps_per_trial` as they are",
        ),
    ],
)
def test_wrong_arguments_are_refused(wrong, error, message):
    with pytest.raises(error, match=message):
        LRRangeTest(**wrong)
