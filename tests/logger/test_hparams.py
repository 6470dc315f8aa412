"""The HParams row of LRLogger beside the hyperparameters that Lightning or the user logs."""

import pytest
from helpers.scripted import Verdicts
from helpers.toy import Toy, trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata

from lightning_lr import LRDecay, LRLogger, PlateauDetector
from lightning_lr.policies import Cosine


class Noted(Toy):
    def __init__(self):
        super().__init__()
        self.save_hyperparameters({"lr": 0.1, "net": {"width": 4, "norm": None}})


class Logs(Noted):
    """Logs its hyperparameters with metrics of its own, as Lightning's documentation has it."""

    def on_train_start(self):
        self.logger.log_hyperparams(self.hparams, {"hp/mine": 0.0})


def content(folder):
    """Return what HParams finds in a folder by the last part of its tag."""
    events = EventAccumulator(str(folder)).Reload()
    parse = {
        metadata.EXPERIMENT_TAG: metadata.parse_experiment_plugin_data,
        metadata.SESSION_START_INFO_TAG: metadata.parse_session_start_info_plugin_data,
        metadata.SESSION_END_INFO_TAG: metadata.parse_session_end_info_plugin_data,
    }
    try:
        found = events.PluginTagToContent("hparams")
    except KeyError:
        return {}
    return {tag.rsplit("/")[-1]: parse[tag](found[tag]) for tag in found}


def values(start):
    return {name: getattr(value, value.WhichOneof("kind")) for name, value in start.hparams.items()}


def fit(module, root, **kwargs):
    logger = TensorBoardLogger(root, name="", version="run", **kwargs)
    trainer(LRDecay(Cosine()), LRLogger(), logger=logger).fit(module)
    return content(root / "run"), content(root / "run" / "hparams")


def test_a_module_without_hyperparameters_has_a_row_and_columns_come_from_it(tmp_path):
    own, row = fit(Toy(), tmp_path)
    assert own == {}
    assert row.keys() == {"session_start_info", "session_end_info"}
    assert values(row["session_start_info"]) == {
        "lr_base": pytest.approx(0.1),
        "lr_found": 0.0,
        "lr_found_by": "-",
        "lr_range_test": "-",
        "lr_search": "-",
        "lr_schedule": "LRDecay(policy=Cosine(end=0.0))",
        "plateau_detector": "-",
    }


def test_lightnings_own_row_stays_and_gets_the_columns_of_ours(tmp_path):
    own, row = fit(Noted(), tmp_path)
    assert values(own["session_start_info"]).keys() == {"lr", "net/width", "net/norm"}
    columns = {info.name for info in own["experiment"].hparam_infos}
    assert columns == values(row["session_start_info"]).keys()
    assert {"lr", "net/width", "lr_base"} <= columns
    metrics = {info.name.tag for info in own["experiment"].metric_infos}
    assert metrics == {"hp_metric", "result/loss/train_epoch", "result/loss/val"}


def test_without_lightnings_metric_there_is_one_row_and_no_list_that_hides_columns(tmp_path):
    own, row = fit(Noted(), tmp_path, default_hp_metric=False)
    assert own == {}
    assert row.keys() == {"session_start_info", "session_end_info"}
    assert {"lr": 0.1, "net/width": 4}.items() <= values(row["session_start_info"]).items()
    assert "lr_base" in values(row["session_start_info"])


def test_a_list_of_columns_that_the_user_makes_is_left_alone(tmp_path):
    own, row = fit(Logs(), tmp_path, default_hp_metric=False)
    assert [info.name.tag for info in own["experiment"].metric_infos] == ["hp/mine"]
    assert "experiment" not in row


def test_a_fit_that_breaks_off_has_a_row_of_what_it_reached(tmp_path):
    class Breaks(Toy):
        def training_step(self, batch, batch_idx):
            if self.current_epoch == 1:
                raise RuntimeError("broken")
            return super().training_step(batch, batch_idx)

    with pytest.raises(RuntimeError, match="broken"):
        fit(Breaks(), tmp_path)
    events = EventAccumulator(str(tmp_path / "run" / "hparams")).Reload()
    assert [point.step for point in events.Scalars("result/loss/val")] == [10]


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
def test_the_base_lr_is_the_one_that_the_run_began_with(tmp_path):
    def run(root, max_epochs, ckpt_path=None):
        logger = TensorBoardLogger(root, name="", version="run")
        detector = PlateauDetector(detector=Verdicts("pp"))
        saver = [] if ckpt_path else [ModelCheckpoint(tmp_path / "kept", save_last=True)]
        callbacks = [LRLogger(), detector, *saver]
        fitting = trainer(
            *callbacks, logger=logger, max_epochs=max_epochs, enable_checkpointing=not ckpt_path
        )
        fitting.fit(Toy(), ckpt_path=ckpt_path, weights_only=True if ckpt_path else None)
        began = values(content(root / "run" / "hparams")["session_start_info"])["lr_base"]
        return began, fitting.optimizers[0].param_groups[0]["lr"]

    began, last = run(tmp_path / "first", 2)
    assert (began, last) == (pytest.approx(0.1), pytest.approx(0.009))
    again, _ = run(tmp_path / "second", 3, str(tmp_path / "kept/last.ckpt"))
    assert again == pytest.approx(0.1)
