"""The file that knows both Lightnings; for programs that import both: `tests/together/lightnings`."""

import importlib
import sys

import lightning.pytorch as used
import pytest
from helpers.toy import Toy, trainer

from lightning_lr import LRDecay
from lightning_lr.fit import lightnings
from lightning_lr.fit.lightnings import each_lightning, is_overridden, lightning_of, misconfigurations

STAND_INS = [name for name in lightnings.__all__ if type(vars(lightnings)[name]).__name__ == "_StandIn"]


@pytest.mark.parametrize("name", STAND_INS)
def test_a_stand_in_is_the_class_of_that_name(name):
    """One with a wrong place would be nobody's class, and nothing would say so."""
    stand_in = vars(lightnings)[name]
    [found] = {each for each in stand_in._classes() if each.__module__.startswith(used.__name__)}
    assert (found.__name__, issubclass(found, stand_in), issubclass(Toy, stand_in)) == (
        name,
        True,
        name == "LightningModule",
    )


def test_stand_ins_are_asked_like_classes():
    module = Toy()
    assert isinstance(module, lightnings.LightningModule)
    assert not isinstance(module, lightnings.Trainer)
    assert not isinstance(module, lightnings.Trainer | lightnings.Logger)
    assert isinstance(LRDecay(), lightnings.Callback)


def test_nothing_derives_from_a_stand_in():
    with pytest.raises(TypeError, match="Callback only stands for classes: derive Ours from BaseCallback"):
        type("Ours", (lightnings.Callback,), {})


def test_our_callbacks_and_exceptions_are_those_of_lightning():
    assert issubclass(LRDecay, used.Callback)
    assert set(misconfigurations()) > {lightnings.MisconfigurationException}
    assert used.utilities.exceptions.MisconfigurationException in misconfigurations()
    with pytest.raises(used.utilities.exceptions.MisconfigurationException, match="told"):
        raise lightnings.MisconfigurationException("told")


def test_everything_of_a_fit_leads_to_its_lightning():
    assert {lightning_of(each) for each in (Toy, Toy(), trainer(), LRDecay())} == {used}
    assert is_overridden("training_step", Toy())
    assert not is_overridden("lr_scheduler_step", Toy())


def test_an_import_that_fails_is_none_and_the_next_one_is(tmp_path, monkeypatch):
    package = tmp_path / "flaky_lightning"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('not yet')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(lightnings, "ROOTS", (package.name,))
    monkeypatch.setattr(lightnings, "_tasks", [])
    came = []
    with each_lightning(came.append):
        with pytest.raises(RuntimeError, match="not yet"):
            importlib.import_module(package.name)
        assert came == []
        (package / "__init__.py").write_text("class Trainer: 'of another length, so that it is read again'")
        importlib.invalidate_caches()
        module = importlib.import_module(package.name)
    assert came == [module]
    assert vars(module.__spec__.loader).keys() == {"name", "path"}
    with each_lightning(came.append):
        assert came == [module, module]
    del sys.modules[package.name]
