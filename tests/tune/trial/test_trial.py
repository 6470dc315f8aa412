"""One trial, as a process of its own runs it: the LR put in, what is told, and when it ends."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from helpers import apart

from lightning_lr.tune.trial.line import Desk
from lightning_lr.tune.trial.spec import Spec

AS_TRIAL = Path(apart.__file__).with_name("as_trial.py")
PLAIN = """
import json, sys
import torch
from {lightning} import LightningModule, Trainer
from {lightning}.callbacks import ModelCheckpoint
from {lightning}.loggers import CSVLogger
from {lightning}.tuner import Tuner
from lightning_lr import LRDecay, LRLogger, LRRangeTest

class Module(LightningModule):
    def __init__(self, lr):
        super().__init__()
        self.save_hyperparameters()
        self.layer = torch.nn.Linear(4, 1)
        self.other = torch.nn.Linear(4, 1)

    def training_step(self, batch, batch_idx):
        return ((self.layer(batch) + self.other(batch) - batch.sum(1, keepdim=True)) ** 2).mean()

    def validation_step(self, batch, batch_idx):
        self.log("score", torch.tensor(0.5))
        return self.training_step(batch, batch_idx)

    def configure_optimizers(self):
        {optimizers}

def data():
    generator = torch.Generator().manual_seed(0)
    return torch.utils.data.DataLoader(torch.randn(32, 4, generator=generator), batch_size=8)

lr = float(sys.argv[1]) if len(sys.argv) > 1 else 0.25
module = Module(lr)
trainer = Trainer(max_epochs=2, accelerator="cpu", enable_progress_bar=False, enable_model_summary=False,
                  logger={logger}, log_every_n_steps=1, callbacks=[{callbacks}], {trainer})
try:
    trainer.fit({fit})
finally:
    groups = [group["lr"] for each in trainer.optimizers for group in each.param_groups]
    weights = [each.tolist() for each in module.parameters()]
    with open("after.json", "w") as file:
        json.dump({"lrs": groups, "weights": weights, "hparams": dict(module.hparams),
                   "folder": trainer.log_dir, "step": trainer.global_step}, file)
print("went on")
"""
CONFIG = """
trainer:
  max_epochs: 2
  accelerator: cpu
  logger: false
  enable_checkpointing: false
model: {class_path: helpers.toy.Toy}
"""
ONE = "return torch.optim.SGD(self.parameters(), lr=self.hparams.lr)"
TWO_GROUPS = (
    "return torch.optim.SGD([{'params': self.layer.parameters(), 'lr': self.hparams.lr},"
    " {'params': self.other.parameters(), 'lr': self.hparams.lr / 10}], lr=1.0)"
)
SCHEDULED = (
    "optimizer = torch.optim.SGD(self.parameters(), lr=self.hparams.lr);"
    " return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)]"
)
TWO_OPTIMIZERS = (
    "self.automatic_optimization = False;"
    " return [torch.optim.SGD(self.layer.parameters(), lr=self.hparams.lr),"
    " torch.optim.Adam(self.other.parameters(), lr=self.hparams.lr / 100)]"
)


@dataclass
class Told:
    """What a trial has told."""

    done: apart.Done
    messages: list
    after: dict = field(default_factory=dict)

    def of(self, kind):
        return [each for each in self.messages if each["kind"] == kind]

    @property
    def values(self):
        return [each["value"] for each in self.of("report")]


@pytest.fixture
def trial(tmp_path):
    """Run a script as a trial, with an answer to its reports."""

    def run(
        *arguments,
        optimizers=ONE,
        callbacks="",
        trainer="",
        fit="module, data(), data()",
        logger="CSVLogger('logs')",
        lightning="lightning.pytorch",
        script=None,
        answers=lambda value: True,
        **spec,
    ):
        messages = []

        def answer(message):
            messages.append(message)
            return answers(message["value"]) if message["kind"] == "report" else True

        desk = Desk("token", answer)
        path = tmp_path / "train.py"
        text = PLAIN
        values = {
            "lightning": lightning, "optimizers": optimizers, "callbacks": callbacks, "trainer": trainer,
            "fit": fit, "logger": logger,
        }  # fmt: skip
        for name, value in values.items():
            text = text.replace(f"{{{name}}}", value)
        path.write_text(text)
        spec = {"task": "trial", "lr": 0.125, "seed": 0, "folder": "study/trial_0003", **spec}
        env = Spec(**{"port": desk.port, "token": "token"} | spec).to_env()
        try:
            done = apart.run(AS_TRIAL, script or path, *arguments, cwd=tmp_path, env=env)
        finally:
            desk.close()
        after = tmp_path / "after.json"
        return Told(done, messages, json.loads(after.read_text()) if after.exists() else {})

    return run


def test_the_fit_is_the_one_that_starts_with_the_lr(trial):
    told = trial(callbacks="LRRangeTest(), LRDecay(interval='step', warmup=2), LRLogger()")
    same = trial("0.125", task="train", lr=0.125, callbacks="LRDecay(interval='step', warmup=2), LRLogger()")

    assert told.done.returncode == 0, told.done.stderr
    assert told.after["weights"] == same.after["weights"]
    assert told.after["hparams"] == {"lr": 0.125}
    # The script ends with its fit; a training with the LR goes on.
    assert "went on" not in told.done.stdout
    assert "went on" in same.done.stdout
    # LRRangeTest would have told what it found.
    assert "LRRangeTest: LR" not in told.done.stderr
    assert told.after["folder"] == "logs/lightning_logs/study/trial_0003"


def test_what_is_told(trial):
    told = trial()

    assert [each["kind"] for each in told.messages] == ["began", "report", "report", "finished"]
    assert told.of("began")[0]["rank"] == 0
    assert told.values[1] < told.values[0]
    assert [each["share"] for each in told.of("report")] == [0.5, 1.0]


@pytest.mark.parametrize(
    ("optimizers", "lrs"),
    [
        (TWO_GROUPS, [0.125, 0.0125]),
        (SCHEDULED, [0.03125]),
        (TWO_OPTIMIZERS, [0.125, 0.00125]),
    ],
)
def test_groups_schedules_and_several_optimizers_keep_their_ratios(trial, optimizers, lrs):
    told = trial(optimizers=optimizers)

    assert told.done.returncode == 0, told.done.stderr
    assert told.after["lrs"] == pytest.approx(lrs)


def test_a_script_of_pytorch_lightning(trial):
    told = trial(lightning="pytorch_lightning", callbacks="")

    assert told.done.returncode == 0, told.done.stderr
    assert [each["kind"] for each in told.messages] == ["began", "report", "report", "finished"]
    assert told.after["lrs"] == [0.125]


def test_another_length(trial):
    told = trial(epochs=3)

    assert len(told.values) == 3
    assert told.after["step"] == 12


def test_a_fit_that_is_not_to_go_on_ends_at_once(trial):
    told = trial(answers=lambda value: False, trainer="val_check_interval=2, min_epochs=2")

    assert len(told.values) == 1
    assert told.after["step"] == 2
    assert told.done.returncode == 0
    assert told.of("finished")


def test_a_logged_value_can_be_monitored(trial):
    assert trial(monitor="score").values == [0.5, 0.5]


def test_the_training_loss_is_judged_by_its_mean_over_each_tenth_of_the_run(trial):
    told = trial(
        monitor="loss/train", epochs=5, trainer="limit_val_batches=0, accumulate_grad_batches=2",
        optimizers=f"self.seen = []; {ONE}\n\n    def on_train_batch_end(self, outputs, *_):\n"
        "        self.seen.append(2 * float(outputs['loss']))\n\n    def on_train_end(self):\n"
        "        self.save_hyperparameters({'seen': self.seen})",
    )  # fmt: skip

    assert told.done.returncode == 0, told.done.stderr
    # 5 epochs of 4 batches are 10 steps of 2 batches; Lightning halves what it accumulates.
    seen = told.after["hparams"]["seen"]
    assert told.values == pytest.approx([(a + b) / 2 for a, b in zip(seen[::2], seen[1::2], strict=True)])
    assert [round(each["share"], 6) for each in told.of("report")] == [part / 10 for part in range(1, 11)]


def test_the_training_loss_of_a_stream_is_judged_at_each_end_of_an_epoch(trial):
    stream = (
        f"{ONE}\n\n    def train_dataloader(self):\n"
        "        members = {'__iter__': lambda _: iter(torch.ones(8, 4))}\n"
        "        kind = type('Stream', (torch.utils.data.IterableDataset,), members)\n"
        "        return torch.utils.data.DataLoader(kind(), batch_size=4)"
    )
    told = trial(monitor="loss/train", optimizers=stream, fit="module", trainer="limit_val_batches=0")

    assert told.done.returncode == 0, told.done.stderr
    assert [each["share"] for each in told.of("report")] == [0.5, 1.0]


def test_a_training_loss_that_is_not_to_go_on_ends_the_fit_at_once(trial):
    told = trial(monitor="loss/train", answers=lambda value: False, trainer="min_epochs=2")

    assert told.after["step"] == 1


def test_the_share_of_a_run_with_two_optimizers(trial):
    """Both of them step on every batch, and the Trainer counts the steps of both."""
    told = trial(
        optimizers=f"{TWO_OPTIMIZERS}\n\n    def training_step(self, batch):\n"
        "        [each.step() for each in self.optimizers()]\n\n"
        "    def validation_step(self, batch):\n        return torch.tensor(0.5)"
    )

    assert told.after["step"] == 16
    assert [each["share"] for each in told.of("report")] == [0.5, 1.0]


def test_each_trial_has_checkpoints_of_its_own(trial, tmp_path):
    """Two at once would delete each other's, and the second would go on from the last one of the first."""
    two = (
        "ModelCheckpoint('kept', save_last=True), ModelCheckpoint(every_n_train_steps=1, filename='default')"
    )
    keeps = {"callbacks": two, "logger": "False"}
    resumes = {"trainer": "default_root_dir='root'", "fit": "module, data(), data(), ckpt_path='last'"}
    for number in (3, 4):
        told = trial(**keeps, **resumes, folder=f"study/trial_{number}")
        assert len(told.values) == 2, told.done.stderr
        assert (tmp_path / f"kept/study/trial_{number}/last.ckpt").exists()
        assert (tmp_path / f"root/checkpoints/study/trial_{number}/default.ckpt").exists()

    # A training with the LR writes where the user wants it.
    trial(**keeps, **resumes, task="train", folder="")
    assert (tmp_path / "kept/last.ckpt").exists()


def test_a_script_that_catches_everything_does_not_train_on(trial, tmp_path):
    again = "module, data(), data())\nexcept BaseException:\n    trainer.fit(module, data(), data()"
    told = trial(fit=again)

    assert told.done.returncode == 0, told.done.stderr
    assert len(told.of("report")) == 2
    assert "went on" not in told.done.stdout
    assert not (tmp_path / "after.json").exists()


def test_the_fits_of_a_tuner_are_no_trials(trial):
    find = "module, data(), data()) if Tuner(trainer).lr_find(module, data(), num_training=4) else (0"
    told = trial(fit=find)

    assert [each["kind"] for each in told.messages] == ["began", "report", "report", "finished"]
    assert told.after["lrs"] == [0.125]


def test_a_value_that_is_not_there(trial):
    told = trial(monitor="val_loss_typo")

    [failed] = told.of("failed")
    assert "`--monitor val_loss_typo` is nothing that a validation of this fit gives." in failed["error"]
    assert "It gives 'loss/val', 'score'." in failed["error"]
    assert not failed["diverged"]
    assert told.done.returncode == 1


@pytest.mark.parametrize(
    ("step", "is_divergence"),
    [
        ("raise ValueError('boom')", False),
        ("raise ValueError('Expected parameter loc to be finite, but found nan')", True),
        ("[each.data.fill_(float('nan')) for each in self.parameters()]; raise ValueError('boom')", True),
    ],
)
def test_a_step_that_raises(trial, step, is_divergence):
    told = trial(
        trainer="num_sanity_val_steps=0",
        optimizers=f"{ONE}\n\n    def on_train_epoch_end(self):\n        {step}",
    )

    [failed] = told.of("failed")
    assert failed["error"].startswith("ValueError: ")
    assert "on_train_epoch_end" in failed["traceback"]
    assert failed["diverged"] is is_divergence


def test_an_optimizer_with_an_lr_of_its_own_is_refused(trial):
    stubborn = (
        "optimizer = torch.optim.SGD(self.parameters(), lr=self.hparams.lr);"
        " schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0);"
        " schedule.step = lambda *_: optimizer.param_groups[0].update(lr=0.3);"
        " return [optimizer], [schedule]"
    )
    told = trial(optimizers=stubborn)

    assert told.of("failed")
    assert "lightning_lr.tune(" not in told.of("failed")[0]["error"]


def test_a_trial_without_its_worker_ends(trial):
    told = trial(port=1)

    assert told.messages == []
    assert "The worker of lightning_lr.tune that started this trial cannot be reached" in told.done.stderr


def test_looking_at_a_fit(trial, tmp_path):
    told = trial(task="look", lr=None, callbacks="LRRangeTest(), LRDecay(), LRLogger()")

    [seen] = told.of("seen")
    assert told.done.returncode == 0, told.done.stderr
    assert seen["own"] == 0.25
    assert 1e-3 < seen["found"] < 10
    assert seen["folder"] == "logs"
    assert seen["monitor"] == "loss/val"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["after.json", "train.py"]


@pytest.mark.parametrize("loaders", ["data(), data()", "data()"])
def test_looking_at_a_fit_that_validates_nothing(trial, loaders):
    limit = "limit_val_batches=0" if loaders == "data(), data()" else ""
    told = trial(task="look", lr=None, monitor="", trainer=limit, fit=f"module, {loaders}")

    assert [seen["monitor"] for seen in told.of("seen")] == ["loss/train"], told.of("failed")


def test_looking_at_a_fit_of_pytorch_lightning(trial):
    [seen] = trial(task="look", lr=None, lightning="pytorch_lightning").of("seen")

    assert seen["own"] == 0.25


def test_a_config_with_class_paths_needs_no_script(trial, tmp_path):
    (tmp_path / "run.yaml").write_text(CONFIG)
    told = trial("fit", "--config", "run.yaml", "--trainer.max_epochs=3", script="lightning_lr.command")

    assert told.done.returncode == 0, told.done.stderr
    assert len(told.values) == 3


LOOKS = {
    "monitor": (
        {"monitor": "val_los"},
        "`--monitor val_los` is nothing that a validation of this fit gives.",
    ),
    "no validation": (
        {"trainer": "limit_val_batches=0", "monitor": "score"},
        "This fit validates nothing, so there is no `score` to judge an LR by",
    ),
    "too short": ({"trainer": "check_val_every_n_epoch=3"}, "This fit would end before its first validation"),
    "no loss": (
        {
            "trainer": "limit_val_batches=0",
            "optimizers": f"{TWO_OPTIMIZERS}\n\n    def training_step(self, batch): pass",
            "monitor": "",
        },
        "This fit validates nothing, and `training_step` returns no loss",
    ),
    "no LR": ({"optimizers": ONE.replace("self.hparams.lr", "0.0")}, "the highest LR of the run is 0"),
}


@pytest.mark.parametrize("name", LOOKS)
def test_what_is_wrong_is_seen_before_the_first_trial(trial, name):
    changes, message = LOOKS[name]
    told = trial(task="look", lr=None, **changes)

    assert message in told.of("failed")[0]["error"]
    assert not told.of("seen")
