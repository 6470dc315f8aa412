"""LRRangeTest in real fits: each is compared, bit for bit, with one that had started with the LR found."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import (
    EarlyStopping,
    EMAWeightAveraging,
    LearningRateMonitor,
    ModelCheckpoint,
    StochasticWeightAveraging,
)
from test_dry_run import LOADERS, SCHEDULERS, settings
from torch.optim import SGD, AdamW
from torch.optim import lr_scheduler as schedulers
from toy import scalars
from twin import ManualNet, Net, assert_same, run

from lightning_lr import LRDecay, LRLogger, LRRangeTest
from lightning_lr.policies import Cosine
from lightning_lr.suggest import Suggestion

TESTS = Path(__file__).parents[1]


# Of a ratio that is a power of two, products of LRs are exact.
def sgd(parameters, lr):
    return SGD(parameters, lr=lr, momentum=0.9)


def adamw(parameters, lr):
    return AdamW(parameters, lr=lr)


def two_groups(parameters, lr):
    first, *others = parameters
    return AdamW([{"params": [first]}, {"params": others, "lr": lr / 8}], lr=lr)


def two_optimizers(parameters, lr):
    first, *others = parameters
    optimizers = [SGD([first], lr=lr), AdamW(others, lr=lr / 8)]
    return optimizers, [schedulers.StepLR(optimizers[0], 3), schedulers.CosineAnnealingLR(optimizers[1], 12)]


def scheduled(make, interval="step"):
    def make_optimizers(parameters, lr):
        optimizer = sgd(parameters, lr)
        return [optimizer], [{"scheduler": make(optimizer, lr), "interval": interval, "monitor": "val_loss"}]

    return make_optimizers


PEAKED = {
    "OneCycleLR": lambda o, lr: schedulers.OneCycleLR(o, lr, 20),
    "CyclicLR": lambda o, lr: schedulers.CyclicLR(o, lr / 8, lr, 4),
}
SCHEDULED = {name: lambda o, lr, make=make: make(o) for name, make in SCHEDULERS.items()} | PEAKED
FITS = {
    "SGD": (sgd, {}),
    "AdamW": (adamw, {}),
    "two groups": (two_groups, {}),
    "two optimizers": (two_optimizers, {}),
    "accumulation and clipping": (sgd, {"accumulate_grad_batches": 3, "gradient_clip_val": 0.5}),
    "bf16": (adamw, {"precision": "bf16-mixed"}),
    "fp16": (adamw, {"plugins": ["fp16"]}),
    "limited batches": (sgd, {"limit_train_batches": 4}),
    "overfit batches": (sgd, {"overfit_batches": 2}),
    "sanity check": (sgd, {"num_sanity_val_steps": 2}),
    "validation within epochs": (sgd, {"val_check_interval": 0.25}),
}
FITS |= {
    name: (scheduled(make, "epoch" if "Plateau" in name else "step"), {}) for name, make in SCHEDULED.items()
}
FITS |= {f"loader: {name}": (sgd, {"loader": make}) for name, make in LOADERS.items()}
START = 0.002


class Easy:
    """Mixed into a Net: a loss whose fall is clear after few steps."""

    def criterion(self, logits, targets):
        return super().criterion(logits, targets) + (logits.mean(0) - 3).square().sum()


class EasyNet(Easy, Net):
    pass


class EasyManualNet(Easy, ManualNet):
    pass


def twins(root, fit_from, *, start=START):
    """Compare a fit with a test to one without it that starts with what the test found."""
    test, results = LRRangeTest(24), []
    for name, extra in (("tested", [test]), ("plain", [])):
        lr = test.suggestion.lr if isinstance(test.suggestion, Suggestion) else start
        results.append(fit_from(root / name, lr, *extra))
        results[-1]["scalars"] = {
            tag: points for tag, points in scalars(root / name).items() if not tag.startswith("range_test/")
        }
        results[-1]["yaml"] = {path.name: path.read_text() for path in (root / name).rglob("*.yaml")}
    assert isinstance(test.suggestion, Suggestion)
    assert test.suggestion.lr != start
    assert_same(*results)
    return test


@pytest.mark.parametrize("name", FITS)
@pytest.mark.filterwarnings("ignore:You requested to overfit")
@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")  # torchdata 0.11 calls it on torch 2.13
def test_a_fit_is_the_one_that_had_started_with_the_lr_found(name, tmp_path):
    make, options = FITS[name]
    kind = EasyManualNet if name == "two optimizers" else EasyNet
    loader = options.get("loader")
    kwargs = {key: value for key, value in options.items() if key != "loader"}

    def fit_from(root, lr, *extra):
        def build():
            return kind(lambda parameters: make(parameters, lr), loader)

        return run(root, build, *extra, **settings(kwargs))

    twins(tmp_path, fit_from)


BESIDE = {
    "EMA": lambda root: EMAWeightAveraging(decay=0.9),
    "SWA": lambda root: StochasticWeightAveraging(swa_lrs=0.005, swa_epoch_start=1),
    "EarlyStopping": lambda root: EarlyStopping("val_loss", patience=1),
    "ModelCheckpoint": lambda root: ModelCheckpoint(
        root / "saved", filename="{step}", save_top_k=-1, every_n_train_steps=2
    ),
    "LRLogger": lambda root: LRLogger(),
    "LearningRateMonitor": lambda root: LearningRateMonitor(),
    "LRDecay": lambda root: LRDecay(Cosine(), interval="step", warmup=3),
    "LRDecay in epochs": lambda root: LRDecay(Cosine()),
}


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("name", BESIDE)
def test_callbacks_beside_it_notice_nothing_wherever_they_stand(name, order, tmp_path):
    states = []

    def fit_from(root, lr, *extra):
        callback = BESIDE[name](root)
        result = run(
            root,
            lambda: EasyNet(lambda parameters: adamw(parameters, lr)),
            *[*extra, callback][::order],
            max_epochs=3,
            enable_checkpointing=True,
        )
        states.append(repr(callback.state_dict()).replace("tested", "plain"))
        return result

    twins(tmp_path, fit_from)
    assert states[0] == states[1]


class Noted(EasyNet):
    """Keeps its LR in the places where modules keep it."""

    def __init__(self, lr, learning_rate, *, width=8):
        super().__init__(lambda parameters: adamw(parameters, self.hparams.lr))
        self.save_hyperparameters()
        self.learning_rate = learning_rate


def test_the_lr_found_is_noted_where_the_first_one_was(tmp_path):
    noted = []

    def fit_from(root, lr, *extra):
        def build():
            noted.append(Noted(lr, lr))
            return noted[-1]

        return run(root, build, *extra, enable_checkpointing=True)

    test = twins(tmp_path, fit_from)
    lr = test.suggestion.lr
    assert noted[0].hparams == noted[1].hparams == {"lr": lr, "learning_rate": lr, "width": 8}
    assert noted[0].learning_rate == lr
    assert not hasattr(noted[0], "lr")
    [saved] = (tmp_path / "tested").rglob("*.ckpt")
    assert torch.load(saved, weights_only=True)["hyper_parameters"]["lr"] == lr


DISTRIBUTED = """
import sys
from pathlib import Path
from test_range_test import EasyNet, adamw, run, twins
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy
from torch.distributed.fsdp import fully_shard

class Sharded(EasyNet):
    def configure_model(self):
        if not hasattr(self.net[0], "unshard"):
            for part in (self.net[0], self.net[4], self.net):
                fully_shard(part, mesh=self.device_mesh["data_parallel"])

module, strategy = {
    "ddp": (EasyNet, lambda: DDPStrategy(process_group_backend="gloo")),
    "fsdp2": (Sharded, lambda: ModelParallelStrategy(process_group_backend="gloo")),
}[sys.argv[2]]

def fit_from(root, lr, *extra):
    def build():
        return module(lambda parameters: adamw(parameters, lr))

    result = run(root, build, *extra, devices=2, strategy=strategy())
    return result | {"weights": str(result["weights"])}

test = twins(Path(sys.argv[1]), fit_from)
print("found", test.suggestion.lr)
"""


def run_script(script, *arguments):
    done = subprocess.run(
        [sys.executable, script, *map(str, arguments)],
        capture_output=True,
        check=False,
        text=True,
        env=os.environ | {"PYTHONPATH": f"{TESTS}:{TESTS / 'callbacks'}"},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines()


@pytest.mark.parametrize("kind", ["ddp", "fsdp2"])
def test_every_rank_goes_on_as_if_it_had_started_with_the_same_lr(kind, tmp_path):
    script = tmp_path / "distributed.py"
    script.write_text(DISTRIBUTED)
    first, second = run_script(script, tmp_path, kind)
    assert first == second
