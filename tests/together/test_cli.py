"""Everything public through the YAML of a LightningCLI."""

import sys

import pytest
from helpers.toy import Toy
from lightning.pytorch.cli import LightningCLI

from lightning_lr import LRDecay, LRLogger, LRRangeTest
from lightning_lr.policies import Constant, Cosine, Function, Linear, Piecewise, Sequence


@pytest.fixture
def configured(tmp_path, monkeypatch):
    def callback_of(callbacks):
        config = tmp_path / "run.yaml"
        config.write_text(
            f"seed_everything: 0\ntrainer:\n  accelerator: cpu\n  logger: false\n  callbacks:\n{callbacks}"
        )
        # Lightning calls what jsonargparse 4.49 deprecates.
        monkeypatch.setenv("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
        monkeypatch.setattr(sys, "argv", ["run.py", "--config", str(config)])
        cli = LightningCLI(Toy, run=False, save_config_callback=None)
        [callback] = [
            each for each in cli.trainer.callbacks if isinstance(each, LRDecay | LRLogger | LRRangeTest)
        ]
        return callback

    return callback_of


@pytest.mark.parametrize(
    ("yaml", "value"),
    [("10", 10), ("0.1", 0.1), ("1", 1), ("1.0", 1.0), ("1e-1", 0.1)],
)
def test_a_warmup_is_a_count_or_a_share_as_it_is_written(yaml, value, configured):
    decay = configured(
        f"    - class_path: lightning_lr.LRDecay\n      init_args: {{warmup: {yaml}, interval: step}}\n",
    )
    assert (decay.warmup, type(decay.warmup)) == (value, type(value))
    assert (decay.policy, decay.interval) == (Linear(), "step")


POLICIES = {
    "{class_path: lightning_lr.policies.Cosine, init_args: {end: 0}}": Cosine(0),
    "{class_path: Cosine, init_args: {end: 0.5}}": Cosine(0.5),
    "{end: 0.25}": Linear(0.25),
    "{class_path: lightning_lr.policies.Function, init_args: {function: math.exp}}": Function("math.exp"),
    "{class_path: lightning_lr.policies.Sequence, init_args: {policies: [{class_path: Linear}, {class_path:"
    " Cosine}], durations: [0.5]}}": Sequence([Linear(), Cosine()], durations=[0.5]),
}


@pytest.mark.parametrize("yaml", POLICIES)
def test_a_policy_is_given_by_class_path(yaml, configured):
    decay = configured(f"    - class_path: lightning_lr.LRDecay\n      init_args:\n        policy: {yaml}\n")
    wanted, length = POLICIES[yaml], 8
    assert [decay.policy(t, length) for t in range(9)] == [wanted(t, length) for t in range(9)]


def test_policies_of_groups_are_given_by_class_path(configured):
    decay = configured(
        "    - class_path: lightning_lr.LRDecay\n      init_args:\n        policies:\n"
        "          head: {class_path: Cosine, init_args: {end: 0.5}}\n"
        "          layer_*: {class_path: lightning_lr.policies.Constant, init_args: {value: 0.1}}\n"
        "        warmup: 3\n        warmup_start: 0.1\n        warmup_shape: cosine\n        min_lr: 1e-6\n"
        "        momentum: {class_path: Piecewise, init_args: {times: [0, 1.0], values: [0.9, 0.8]}}\n"
        "        weight_decay: {class_path: Linear}\n"
    )
    assert (decay.momentum, decay.weight_decay) == (Piecewise([0, 1.0], [0.9, 0.8]), Linear())
    assert decay.policies == {"head": Cosine(0.5), "layer_*": Constant(0.1)}
    assert (decay.warmup_start, decay.warmup_shape, decay.min_lr) == (0.1, "cosine", 1e-6)


def test_the_old_name_of_an_argument_works_with_a_warning(configured):
    policy = "{class_path: Cosine, init_args: {floor: 0.5}}"
    with pytest.warns(FutureWarning, match=r"`Cosine\(floor=...\)` is called `Cosine\(end=...\)` now"):
        decay = configured(f"    - class_path: lightning_lr.LRDecay\n      init_args: {{policy: {policy}}}\n")
    assert [decay.policy(t, 8) for t in range(9)] == [Cosine(0.5)(t, 8) for t in range(9)]


def test_what_a_range_test_records_beside_the_lr(configured):
    test = configured(
        "    - class_path: lightning_lr.LRRangeTest\n"
        "      init_args: {min_lr: 1e-5, max_lr: 1, early_stop: false,"
        " attr: hparams.base_lr, validate_every: 10}\n"
    )
    assert (test.early_stop, test.attr, test.validate_every) == (False, "hparams.base_lr", 10)


def test_options_of_the_logger(configured):
    logger = configured("    - class_path: lightning_lr.LRLogger\n      init_args: {log_momentum: true}\n")
    assert (logger.log_momentum, logger.log_weight_decay) == (True, False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("{warmups: 1}", "warmups"),
        ("{interval: batch}", "batch"),
        ("{policy: {class_path: Cosine, init_args: {end: 2}}}", r"must be in [0, 1], got 2"),
        ("{policy: {class_path: Cosine, init_args: {flor: 0}}}", "flor"),
        ("{policy: {class_path: Function, init_args: {function: nowhere.at_all}}}", "nowhere.at_all"),
        ("{warmup: .nan}", "must be a count"),
    ],
)
def test_a_mistake_is_an_error_that_names_it(arguments, message, configured, capsys):
    with pytest.raises((SystemExit, ValueError, TypeError)) as caught:
        configured(f"    - class_path: lightning_lr.LRDecay\n      init_args: {arguments}\n")
    assert message in str(caught.value) + capsys.readouterr().err
