"""The keys of callbacks in checkpoints, and what two of one class hear."""

import copy
import pickle

import pytest
import torch
from helpers.toy import Toy, fit, trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException

from lightning_lr import LRDecay, LRLogger, LRRangeTest, LRSearch, PlateauDetector
from lightning_lr.plateau import ReduceLR

CALLBACKS = {
    "LRDecay": (LRDecay, r"LRDecay\(policies="),
    "LRLogger": (LRLogger, "leave the others out"),
    "LRRangeTest": (LRRangeTest, r"milestones=\[0, 10\], repeats=3"),
    "LRSearch": (LRSearch, r"milestones=\[0, 10\]"),
    "PlateauDetector": (PlateauDetector, r"on_plateau=\[ReduceLR\(\), ...\]"),
}


@pytest.mark.parametrize("name", CALLBACKS)
def test_two_callbacks_of_one_class_are_refused_with_the_way_out(name):
    kind, way_out = CALLBACKS[name]
    run = trainer(kind(), kind(), max_epochs=1)
    with pytest.raises(MisconfigurationException, match=f"two callbacks {name}.*{way_out}"):
        run.fit(Toy())
    assert run.global_step == 0


@pytest.mark.parametrize("name", CALLBACKS)
def test_the_key_in_a_checkpoint_is_the_one_of_version_0_1(name, tmp_path):
    callback = CALLBACKS[name][0]()
    run = fit(Toy(), callback, root=tmp_path, fast_dev_run=False, limit_train_batches=2, max_epochs=1)
    run.save_checkpoint(tmp_path / "saved.ckpt")
    of_detector = "PlateauDetector{'monitor': 'val_loss', 'mode': 'min'}"
    key = of_detector if name == "PlateauDetector" else name
    assert key in torch.load(tmp_path / "saved.ckpt", weights_only=True)["callbacks"]
    assert copy.deepcopy(callback).state_key == key


def test_one_callback_in_two_trainers_and_one_of_each_kind_are_fine():
    decay = LRDecay()
    first, second = (
        trainer(decay, max_epochs=1),
        trainer(decay, LRRangeTest(), LRSearch(budget=60), max_epochs=1),
    )
    assert {each.state_key for each in second.callbacks} >= {decay.state_key}
    for run in (first, second):
        run.fit(Toy())
    assert decay.state_key == "LRDecay"
    assert pickle.loads(pickle.dumps(LRDecay())).state_key.startswith("LRDecay ")


def test_two_detectors_of_two_values_are_fine():
    pair = [PlateauDetector(on_plateau=ReduceLR()), PlateauDetector("loss/train", every_n_steps=5)]
    fit(Toy(), *pair, max_epochs=1)
    assert len({each.state_key for each in pair}) == 2


def test_a_subclass_may_have_keys_of_its_own():
    class Named(LRRangeTest):
        def __init__(self, name):
            super().__init__()
            self.name = name

        @property
        def state_key(self):
            return f"Named {self.name}"

    pair = [Named("a"), Named("b")]
    fit(Toy(), *pair, max_epochs=1)
    assert [each.state_key for each in pair] == ["Named a", "Named b"]
    with pytest.raises(RuntimeError, match="more than one stateful callback"):
        trainer(Named("a"), Named("a"))
