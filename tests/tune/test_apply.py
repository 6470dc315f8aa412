"""An LR in a copy of a config."""

import pytest
from lightning.fabric.utilities.exceptions import MisconfigurationException

from lightning_lr.tune.apply import apply_to

CONFIG = """\
# mine
trainer:
  callbacks:
    - class_path: other.Callback
      init_args: {lr: 3.0}   # not an optimizer's
model:
  lr: 0.01
  optimizer:
    class_path: torch.optim.AdamW
    init_args:
      lr: 1e-3  # the optimizer's
      weight_decay: 0.01
optimizer:
  - class_path: torch.optim.SGD
    init_args: {lr: 2.e-2, momentum: 0.9}
"""


def test_all_lrs_of_optimizers_keep_their_ratios(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(CONFIG)
    copy, keys = apply_to(path, old=0.01, new=0.03)

    assert copy == tmp_path / "run.tuned.yaml"
    assert keys == ["model.lr", "model.optimizer.init_args.lr", "optimizer.0.init_args.lr"]
    assert copy.read_text() == (
        CONFIG.replace("lr: 0.01", "lr: 0.03").replace("1e-3 ", "0.003 ").replace("2.e-2", "0.06")
    )
    assert path.read_text() == CONFIG


@pytest.mark.parametrize(
    ("text", "message"),
    [("model: {width: 3}\n", "configures no LR"), ("", "configures no LR"), ("a: [", "is no YAML")],
)
def test_a_config_without_a_place_for_it(tmp_path, text, message):
    path = tmp_path / "run.yaml"
    path.write_text(text)

    with pytest.raises(MisconfigurationException, match=message):
        apply_to(path, old=1, new=2)
