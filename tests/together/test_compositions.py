"""Whatever meets in a fit: LRs are the planned ones, and logged; a resumed run is the uninterrupted one."""

from random import Random

import pytest
import torch
from helpers.compositions import Used, composed, fit, own, step_of
from helpers.logged_run import curves
from tensorboard.summary.writer import event_file_writer


@pytest.fixture(scope="module", autouse=True)
def _files_in_the_order_of_their_names():
    # Files of one process and one second are told apart by a count, and read in the order of its text.
    event_file_writer._global_uid = event_file_writer.AtomicCounter(10**6)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(40))
def test_lrs_are_those_of_the_plan_and_of_the_curves_and_survive_an_interruption(seed, tmp_path, request):
    if seed % 4:
        request.getfixturevalue("quick_figures")
    composition, whole, parts = composed(seed), tmp_path / "whole", tmp_path / "parts"
    module = fit(composition, whole, used := Used())
    shown = curves(whole / "run")
    for group, tag in enumerate(sorted(tag for tag in shown if tag.startswith("lr/"))):
        lrs = [(step, pytest.approx(lrs[group], rel=1e-5)) for step, lrs in sorted(used.lrs.items())]
        assert shown[tag] == lrs

    end = 2 + int(Random(seed).uniform(0.3, 0.9) * len(used.lrs))
    with pytest.raises(InterruptedError):
        fit(composition, parts, before := Used(end))
    last = max((parts / "saved").glob("*.ckpt"), key=step_of)
    again = fit(composition, parts, after := Used(), ckpt_path=last)
    kept = {step: lrs for step, lrs in before.lrs.items() if step < step_of(last)}
    assert kept | after.lrs == used.lrs
    assert all(map(torch.equal, module.parameters(), again.parameters()))
    assert own(curves(parts / "run")) == own(shown)
