"""A fit with a test is, bit for bit, the one without it that had started with the LR that the test found."""

import pytest
import torch
from helpers.dry_run import LOADERS, NEEDS_FSDP2_ON_CPU, SCHEDULERS, settings
from helpers.finders import TESTS_OF_LRS, EasyManualNet, EasyNet, adamw, sgd, twins
from helpers.ranks import run_ranks
from helpers.twin import run
from lightning.pytorch.callbacks import (
    EarlyStopping,
    EMAWeightAveraging,
    LearningRateMonitor,
    ModelCheckpoint,
    StochasticWeightAveraging,
)
from torch.optim import SGD, AdamW
from torch.optim import lr_scheduler as schedulers

from lightning_lr import LRDecay, LRLogger, LRRangeTest
from lightning_lr.policies import Cosine


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
    "LR in a tensor": (lambda parameters, lr: AdamW(parameters, lr=torch.tensor(lr)), {}),
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


@pytest.mark.usefixtures("quick_figures")
@pytest.mark.parametrize("kind_of_test", TESTS_OF_LRS)
@pytest.mark.parametrize("name", FITS)
@pytest.mark.filterwarnings("ignore:You requested to overfit")
@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")  # torchdata 0.11 calls it on torch 2.13
def test_a_fit_is_the_one_that_had_started_with_the_lr_found(name, kind_of_test, tmp_path):
    make, options = FITS[name]
    kind = EasyManualNet if name == "two optimizers" else EasyNet
    loader = options.get("loader")
    kwargs = {key: value for key, value in options.items() if key != "loader"}

    def fit_from(root, lr, *extra):
        def build():
            return kind(lambda parameters: make(parameters, lr), loader)

        return run(root, build, *extra, **settings(kwargs))

    twins(tmp_path, fit_from, TESTS_OF_LRS[kind_of_test]())


@pytest.mark.usefixtures("quick_figures")
@pytest.mark.parametrize(
    "name", ["SGD", "fp16", "two optimizers", "sanity check", "validation within epochs"]
)
def test_a_test_that_validates_along_its_ramp_and_trains_after_it_leaves_no_more_of_a_trace(name, tmp_path):
    make, kwargs = FITS[name]
    kind = EasyManualNet if name == "two optimizers" else EasyNet

    def fit_from(root, lr, *extra):
        def build():
            return kind(lambda parameters: make(parameters, lr))

        return run(root, build, *extra, **settings(kwargs))

    test = twins(tmp_path, fit_from, LRRangeTest(24, validate_every=5, steps_per_trial=6))
    assert "hort training" in test.suggestion.reason
    assert len(test.validation_curve.lrs) >= 4


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


@pytest.mark.usefixtures("quick_figures")
@pytest.mark.parametrize("kind_of_test", TESTS_OF_LRS)
@pytest.mark.parametrize(
    ("name", "order"), [*((name, 1) for name in BESIDE), ("LRDecay", -1), ("LRLogger", -1)]
)
def test_callbacks_beside_it_notice_nothing_wherever_they_stand(name, order, kind_of_test, tmp_path):
    states = []

    def fit_from(root, lr, *extra):
        callback = BESIDE[name](root)
        result = run(
            root,
            lambda: EasyNet(lambda parameters: adamw(parameters, lr)),
            *[*extra, callback][::order],
            enable_checkpointing=True,
        )
        # LRLogger remembers what the test decided, as it should.
        # The test itself is told, and has charts of its own.
        differs = {"decisions", "charts"}
        kept = {name: value for name, value in callback.state_dict().items() if name not in differs}
        states.append(repr(kept).replace("tested", "plain"))
        return result

    twins(tmp_path, fit_from, TESTS_OF_LRS[kind_of_test]())
    assert states[0] == states[1]


class Noted(EasyNet):
    """Keeps its LR in the places where modules keep it."""

    def __init__(self, lr, learning_rate, *, width=8):
        super().__init__(lambda parameters: adamw(parameters, self.hparams.lr))
        self.save_hyperparameters()
        self.learning_rate = learning_rate


@pytest.mark.usefixtures("quick_figures")
@pytest.mark.parametrize("kind_of_test", TESTS_OF_LRS)
def test_the_lr_found_is_noted_where_the_first_one_was(kind_of_test, tmp_path):
    noted = []

    def fit_from(root, lr, *extra):
        def build():
            noted.append(Noted(lr, lr))
            return noted[-1]

        return run(root, build, *extra, enable_checkpointing=True)

    test = twins(tmp_path, fit_from, TESTS_OF_LRS[kind_of_test]())
    lr = test.suggestion.lr
    assert noted[0].hparams == noted[1].hparams == {"lr": lr, "learning_rate": lr, "width": 8}
    assert noted[0].learning_rate == lr
    assert not hasattr(noted[0], "lr")
    [saved] = (tmp_path / "tested").rglob("*.ckpt")
    assert torch.load(saved, weights_only=True)["hyper_parameters"]["lr"] == lr


DISTRIBUTED = """
import sys
from pathlib import Path
from helpers.finders import EasyNet, adamw
from helpers.finders import TESTS_OF_LRS, twins
from helpers.twin import run
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy
from torch.distributed.fsdp import fully_shard

class Sharded(EasyNet):
    def configure_model(self):
        if not hasattr(self.net[0], "unshard"):
            for part in (self.net[0], self.net[4], self.net):
                fully_shard(part, mesh=self.device_mesh["data_parallel"])

module, ranks, strategy = {
    # Sums over more than two ranks depend on their order.
    "ddp": (EasyNet, 4, lambda: DDPStrategy(process_group_backend="gloo")),
    # By default, the ranks of one node share one batch and no shard.
    "fsdp2": (Sharded, 2, lambda: ModelParallelStrategy(2, 1, process_group_backend="gloo")),
}[sys.argv[2]]

def fit_from(root, lr, *extra):
    def build():
        return module(lambda parameters: adamw(parameters, lr))

    result = run(root, build, *extra, devices=ranks, strategy=strategy())
    return result | {"weights": str(result["weights"])}

for kind, make in TESTS_OF_LRS.items():
    test = twins(Path(sys.argv[1]) / kind, fit_from, make())
    print(f"{kind} found {test.suggestion.lr}\\n", end="")
"""


@pytest.mark.parametrize(("kind", "ranks"), [("ddp", 4), pytest.param("fsdp2", 2, marks=NEEDS_FSDP2_ON_CPU)])
def test_every_rank_goes_on_as_if_it_had_started_with_the_same_lr(kind, ranks, tmp_path):
    script = tmp_path / "distributed.py"
    script.write_text(DISTRIBUTED)
    found = run_ranks(script, tmp_path, kind, ranks=ranks)
    assert len(found) == ranks * len(TESTS_OF_LRS)
    assert len(set(found)) == len(TESTS_OF_LRS)
