"""Schedules of other libraries over random runs: what is told of them is what is used."""

import importlib.util
import sys
from types import ModuleType

import pytest
from helpers.finders import TESTS_OF_LRS, Learner
from helpers.schedules import (
    Stepping,
    SteppingByTime,
    assert_told_and_rescaled_as_used,
    planned_fit,
    sgd,
)
from helpers.toy import LRTrace, fit
from hypothesis import event, given
from hypothesis import strategies as st

from lightning_lr.finders import Suggestion

REASON = "needs other libraries: `pip install -e '.[libraries]'` and `pip install --no-deps timm`"
pytestmark = [
    pytest.mark.libraries,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]

optimization = pytest.importorskip("transformers.optimization", reason=REASON)
of_pytorch_optimizer = pytest.importorskip("pytorch_optimizer.lr_scheduler", reason=REASON)


def schedulers_of_timm():
    """Import them alone: only timm's models need torchvision."""
    found = importlib.util.find_spec("timm")
    if found is None:
        pytest.skip(REASON, allow_module_level=True)
    if importlib.util.find_spec("torchvision") is None:
        package = ModuleType("timm")
        package.__path__ = list(found.submodule_search_locations)
        sys.modules["timm"] = package
    return importlib.import_module("timm.scheduler")


timm = schedulers_of_timm()

warmups, lengths = st.integers(0, 8), st.integers(9, 40)
floors = st.sampled_from([0.0, 1e-5])


def transformers_schedules(draw):
    warmup, length = draw(warmups), draw(lengths)
    return draw(
        st.sampled_from(
            [
                lambda o, _: optimization.get_constant_schedule(o),
                lambda o, _: optimization.get_constant_schedule_with_warmup(o, warmup),
                lambda o, _: optimization.get_linear_schedule_with_warmup(o, warmup, length),
                lambda o, _: optimization.get_cosine_schedule_with_warmup(o, warmup, length),
                lambda o, _: optimization.get_cosine_with_hard_restarts_schedule_with_warmup(
                    o, warmup, length, 3
                ),
                lambda o, _: optimization.get_inverse_sqrt_schedule(o, max(1, warmup)),
                lambda o, _: optimization.get_wsd_schedule(o, warmup, 5, num_training_steps=length),
            ]
        )
    )


def pytorch_optimizer_schedules(draw):
    warmup, length, gamma = draw(warmups), draw(lengths), draw(st.floats(0.5, 1))
    own = {"warmup_steps": warmup}
    return draw(
        st.sampled_from(
            [
                # The floor of cosines and the start of warm-ups are scaled too.
                lambda o, lr: of_pytorch_optimizer.CosineAnnealingWarmupRestarts(
                    o, length, max_lr=lr, min_lr=lr / 50, gamma=gamma, **own
                ),
                lambda o, lr: of_pytorch_optimizer.LinearScheduler(o, 500, max_lr=lr, init_lr=lr / 9, **own),
                lambda o, lr: of_pytorch_optimizer.CosineScheduler(o, 500, max_lr=lr, **own),
                lambda o, lr: of_pytorch_optimizer.PolyScheduler(o, t_max=500, max_lr=lr, **own),
                lambda o, lr: of_pytorch_optimizer.REXScheduler(o, 500, max_lr=lr),
                lambda o, lr: of_pytorch_optimizer.get_wsd_schedule(o, warmup + 1, 5, length),
                lambda o, lr: of_pytorch_optimizer.get_chebyshev_schedule(o, length),
            ]
        )
    )


def timm_schedules(draw):
    warmup, length, floor = draw(warmups), draw(lengths), draw(floors)
    settings = {"warmup_t": warmup, "warmup_lr_init": draw(floors)}
    return draw(
        st.sampled_from(
            [
                lambda o, **by: timm.CosineLRScheduler(
                    o, length, lr_min=floor, cycle_limit=3, **settings, **by
                ),
                lambda o, **by: timm.CosineLRScheduler(o, length, warmup_prefix=True, **settings, **by),
                lambda o, **by: timm.StepLRScheduler(o, 3, 0.7, **settings, **by),
                lambda o, **by: timm.MultiStepLRScheduler(o, [2, 7], 0.3, **settings, **by),
                lambda o, **by: timm.PolyLRScheduler(o, length, lr_min=floor, **settings, **by),
                lambda o, **by: timm.TanhLRScheduler(o, length, **settings, **by),
                lambda o, **by: timm.StepLRScheduler(o, 5, noise_range_t=(1, 9), **settings, **by),
            ]
        )
    )


runs = st.fixed_dictionaries(
    {"epochs": st.integers(1, 5), "batches": st.integers(2, 12), "accumulate_grad_batches": st.integers(1, 2)}
)
intervals = st.sampled_from(["step", "epoch"])
peaks = st.floats(1e-2, 10)


@pytest.mark.parametrize("schedules", [transformers_schedules, pytorch_optimizer_schedules])
@given(data=st.data(), run=runs, interval=intervals, new=peaks)
def test_what_is_told_of_a_run_is_used(schedules, data, run, interval, new):
    make = schedules(data.draw)

    def fit_from(lr):
        optimizer = sgd(lr, 0.2 * lr)
        return planned_fit([optimizer], [make(optimizer, lr)], interval=interval, **run)

    event(assert_told_and_rescaled_as_used(fit_from, new=new))


@given(data=st.data(), run=runs, by=intervals, new=peaks, is_layered=st.booleans())
def test_what_is_told_of_a_run_by_timm_is_used(data, run, by, new, is_layered):
    make = timm_schedules(data.draw)

    def fit_from(lr):
        optimizer = sgd(lr, 0.2 * lr)
        if is_layered:
            # As timm's factory has it, for a decay over the layers.
            optimizer.param_groups[1]["lr_scale"] = 0.3
        scheduler = make(optimizer, t_in_epochs=by == "epoch")
        return planned_fit([optimizer], [scheduler], interval=by, module=SteppingByTime(by), **run)

    event(assert_told_and_rescaled_as_used(fit_from, new=new))


class Scheduled(Learner):
    """Steps a scheduler of timm's as their own examples for Lightning do."""

    def __init__(self, make, by):
        super().__init__()
        self.make, self.by = make, by

    def configure_optimizers(self):
        optimizer = super().configure_optimizers()
        return [optimizer], [{"scheduler": self.make(optimizer), "interval": self.by}]

    def lr_scheduler_step(self, scheduler, metric):
        step = SteppingByTime if hasattr(scheduler, "step_update") else Stepping
        step.lr_scheduler_step(self, scheduler, metric)


MADE = {
    "timm, by epoch": (lambda o: timm.CosineLRScheduler(o, 6, warmup_t=2, warmup_lr_init=1e-5), "epoch"),
    "timm, by step": (lambda o: timm.CosineLRScheduler(o, 60, warmup_t=5, t_in_epochs=False), "step"),
    "transformers": (lambda o: optimization.get_cosine_schedule_with_warmup(o, 5, 60), "step"),
    "pytorch_optimizer": (
        lambda o: of_pytorch_optimizer.CosineAnnealingWarmupRestarts(o, 20, max_lr=0.02, warmup_steps=4),
        "step",
    ),
}


@pytest.mark.parametrize("test", TESTS_OF_LRS)
@pytest.mark.parametrize("name", MADE)
def test_the_lr_that_is_found_is_the_highest_that_trains(name, test):
    """Told 0.0334, trained with 0.01 from the second step on: what timm's once did."""
    make, by = MADE[name]
    finder, trace = TESTS_OF_LRS[test](), LRTrace()
    fit(Scheduled(make, by), finder, trace, max_epochs=6)
    assert isinstance(finder.suggestion, Suggestion)
    assert max(trace.first_group()) == pytest.approx(finder.suggestion.lr)
