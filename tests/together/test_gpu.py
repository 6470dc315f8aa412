"""What only a CUDA device shows: its scaler, its random numbers, its memory, and who waits for it."""

import math
import shutil
from contextlib import contextmanager

import pytest
import torch
from helpers.finders import TESTS_OF_LRS, EasyNet, Learner, adamw, twins
from helpers.toy import LRTrace, Toy, scalars, trainer
from helpers.twin import run
from lightning.pytorch import Callback
from lightning.pytorch.plugins import MixedPrecision
from torch.optim import Adam, AdamW

from lightning_lr import LRDecay, LRLogger, LRRangeTest, PlateauDetector
from lightning_lr.dry_run.dry_run import DryRun
from lightning_lr.dry_run.snapshot import roots
from lightning_lr.finders import Basin
from lightning_lr.finders.search import lr_search
from lightning_lr.finders.suggestion import Suggestion
from lightning_lr.fit.step_hook import StepHook
from lightning_lr.rates import adopt_groups, set_factor

CUDA = {"accelerator": "cuda", "devices": 1}

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
    # What drivers and compilers warn of differs from device to device.
    pytest.mark.filterwarnings("default"),
]


@pytest.fixture(autouse=True)
def _deterministic(monkeypatch):
    # cuBLAS adds in a fixed order with a workspace of its own only.
    # https://docs.pytorch.org/docs/stable/generated/torch.use_deterministic_algorithms.html
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def scaler(init_scale):
    return [MixedPrecision("16-mixed", "cuda", torch.amp.GradScaler("cuda", init_scale=init_scale))]


def lr_on_device(parameters, lr, **kwargs):
    return AdamW(parameters, lr=torch.tensor(lr, device="cuda"), **kwargs)


class Compiled(EasyNet):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.net.compile()


NEEDS_COMPILER = pytest.mark.skipif(shutil.which("cc") is None, reason="Triton needs a C compiler")
FITS = {
    "float32": (EasyNet, adamw, dict),
    "bf16": (EasyNet, adamw, lambda: {"precision": "bf16-mixed"}),
    # Too high for half precision, so the first steps are skipped, those of the test as well.
    "fp16": (EasyNet, adamw, lambda: {"plugins": scaler(2.0**20)}),
    "fp16, fused": (
        EasyNet,
        lambda parameters, lr: AdamW(parameters, lr, fused=True),
        lambda: {"plugins": scaler(2.0**20)},
    ),
    "LR on the device": (
        EasyNet,
        lambda parameters, lr: lr_on_device(parameters, lr, capturable=True),
        dict,
    ),
    "compiled": (Compiled, adamw, dict),
}


@pytest.mark.parametrize("kind_of_test", TESTS_OF_LRS)
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=NEEDS_COMPILER) if name == "compiled" else name for name in FITS]
)
def test_a_fit_is_the_one_that_had_started_with_the_lr_found(name, kind_of_test, tmp_path, monkeypatch):
    """The module has dropout, which shows whether the random numbers of the device are put back."""
    kind, make, settings = FITS[name]
    # Whatever the losses are on this device, an LR is found.
    found = Suggestion(0.0123, 0.01, 0.02, "the test's own", "It says so.")
    monkeypatch.setattr(Basin, "suggest", lambda rule, curve: found)
    monkeypatch.setattr(lr_search, "read_optimum", lambda trials, *, horizon: found)

    def fit_from(root, lr, *extra):
        def build():
            return kind(lambda parameters: make(parameters, lr))

        result = run(root, build, *extra, **CUDA, **settings())
        return result | {"random numbers": torch.cuda.get_rng_state().tolist()}

    twins(tmp_path, fit_from, TESTS_OF_LRS[kind_of_test]())


@pytest.mark.parametrize("fused", [False, True])
def test_a_step_that_the_scaler_skips_does_not_count(fused):
    class Overflowing(Toy):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            return loss * math.inf if batch_idx in (2, 3, 7) else loss

    trace, decay = LRTrace(), LRDecay(interval="step")
    module = Overflowing(lambda parameters: Adam(parameters, lr=0.1, fused=fused))
    trainer(decay, trace, plugins=scaler(2.0), max_epochs=1, **CUDA).fit(module)
    made = [0, 1, 2, 2, 2, 3, 4, 5, 5, 6]
    assert trace.first_group() == [0.1 * (1 - step / 10) for step in made]
    assert decay.state_dict()["step"] == 7


@pytest.mark.parametrize("kind", ["capturable", "fused"])
def test_an_lr_on_the_device_stays_there_and_the_tensor_it_is(kind, tmp_path):
    seen = []

    class Look(Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            [group] = trainer.optimizers[0].param_groups
            seen.append((group["lr"], group["lr"].item()))

    module = Toy(lambda parameters: lr_on_device(parameters, 0.1, **{kind: True}))
    trainer(LRDecay(interval="step"), LRLogger(), Look(), root=tmp_path, max_epochs=1, **CUDA).fit(module)
    assert {id(tensor) for tensor, _ in seen} == {id(seen[0][0])}
    assert seen[0][0].is_cuda
    wanted = [pytest.approx(0.1 * (1 - step / 10)) for step in range(10)]
    assert [lr for _, lr in seen] == wanted
    assert scalars(tmp_path)["lr/AdamW"] == list(enumerate(wanted))


def test_a_captured_step_is_made_with_the_lr_that_was_written_since():
    weight = torch.nn.Parameter(torch.ones(3, device="cuda"))
    optimizer = lr_on_device([weight], 0.1, capturable=True, weight_decay=0.0)
    adopt_groups([optimizer])
    weight.grad = torch.ones_like(weight)
    # The states of the optimizer have to be there before the capture, made on another stream than it.
    # https://docs.pytorch.org/docs/stable/notes/cuda.html#whole-network-capture
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        optimizer.step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        optimizer.step()
    moves = []
    for factor in (1.0, 0.0, 0.5):
        set_factor([optimizer], factor)
        before = weight.detach().clone()
        graph.replay()
        moves.append((before - weight.detach()).mean().item())
    # Adam moves by the LR where the gradient is always the same.
    assert moves == pytest.approx([0.1, 0.0, 0.05], abs=1e-5)


def test_lrs_on_several_devices_are_logged(tmp_path):
    def two_groups(parameters):
        weight, bias = parameters
        on_device = {"params": [bias], "lr": torch.tensor(0.02, device="cuda")}
        return AdamW([{"params": [weight]}, on_device], lr=torch.tensor(0.01), fused=True)

    module = Toy(two_groups)
    trainer(LRLogger(), root=tmp_path, max_epochs=1, **CUDA).fit(module)
    curves = scalars(tmp_path)
    assert curves["lr/AdamW/pg1"] == [(step, pytest.approx(0.01)) for step in range(10)]
    assert curves["lr/AdamW/pg2"] == [(step, pytest.approx(0.02)) for step in range(10)]


@contextmanager
def nobody_waits():
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


def without_waiting(method):
    def guarded(*args, **kwargs):
        with nobody_waits():
            return method(*args, **kwargs)

    return guarded


@pytest.mark.parametrize("lr", [0.1, "on the device"])
def test_no_step_waits_for_the_device(lr, tmp_path, monkeypatch):
    # Else it would prove nothing.
    with nobody_waits(), pytest.raises(RuntimeError, match="synchroniz"):
        torch.ones((), device="cuda").item()

    def make(parameters):
        return lr_on_device(parameters, 0.1, fused=True) if lr == "on the device" else AdamW(parameters, lr)

    callbacks = [
        LRDecay(interval="step"),
        LRLogger(log_momentum=True, log_weight_decay=True),
        PlateauDetector(on_plateau=[]),
    ]
    for callback in callbacks:
        for hook in ("on_train_batch_start", "on_train_batch_end"):
            monkeypatch.setattr(callback, hook, without_waiting(getattr(callback, hook)))
    monkeypatch.setattr(StepHook, "_after_step", without_waiting(StepHook._after_step))
    # Losses are read at the end only.
    trainer(*callbacks, root=tmp_path, max_epochs=2, log_every_n_steps=1000, **CUDA).fit(Toy(make))
    curves = scalars(tmp_path)
    assert len(curves["lr/AdamW"]) == len(curves["loss/train"]) == 20


class Large(Learner):
    def __init__(self):
        super().__init__()
        self.ballast = torch.nn.Parameter(torch.zeros(1 << 20))

    def loss(self, batch):
        return super().loss(batch) + self.ballast.mean()


@pytest.mark.parametrize(("short", "copies"), [(False, 1), (True, 0), (None, 1)])
def test_the_copy_of_the_weights_is_kept_where_it_should_be(short, copies, monkeypatch):
    found = []
    if short is not None:
        monkeypatch.setattr(roots, "_is_short_of_memory", lambda *_: short)

    class Rehearse(Callback):
        def on_train_start(self, trainer, pl_module):
            before = torch.cuda.memory_allocated()
            weights = [parameter.detach().clone() for parameter in pl_module.parameters()]
            cloned = torch.cuda.memory_allocated()
            with DryRun(trainer, pl_module) as dry:
                found.append((torch.cuda.memory_allocated() - cloned) / (cloned - before))
                places = [parameter.data_ptr() for parameter in pl_module.parameters()]
                list(dry.steps([0.01] * 3))
            assert places == [parameter.data_ptr() for parameter in pl_module.parameters()]
            for parameter, weight in zip(pl_module.parameters(), weights, strict=True):
                assert parameter.is_cuda
                assert torch.equal(parameter, weight)

    trainer(Rehearse(), max_epochs=1, **CUDA).fit(Large())
    assert found == [pytest.approx(copies, abs=0.1)]


def test_a_test_that_runs_out_of_memory_leaves_the_fit_as_it_was():
    class Greedy(Large):
        greedy = True

        def training_step(self, batch, batch_idx):
            if self.greedy and batch_idx == 5:
                torch.empty(1 << 50, dtype=torch.uint8, device="cuda")
            return super().training_step(batch, batch_idx)

    module = Greedy()
    before = [parameter.detach().clone() for parameter in module.parameters()]
    test = LRRangeTest(20, min_lr=1e-4, max_lr=1.0)
    fit = trainer(test, max_epochs=1, **CUDA)
    with pytest.raises(torch.OutOfMemoryError):
        fit.fit(module)
    assert test in fit.callbacks
    assert test.suggestion is None
    for parameter, weight in zip(module.parameters(), before, strict=True):
        assert torch.equal(parameter.cpu(), weight)
    module.greedy = False
    trainer(LRRangeTest(20, min_lr=1e-4, max_lr=1.0), max_epochs=1, **CUDA).fit(module)
