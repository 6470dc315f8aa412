"""The benchmark runs; its bounds are judged by hand, on a machine that does nothing else."""

import json
import math
from dataclasses import replace

import optuna
import pytest
from benchmarks.cost import range_test as range_test_cost
from benchmarks.cost.overhead import BARE, VARIANTS, added, measure, measure_writes, report
from benchmarks.finders import cold_start, shapes
from benchmarks.finders.held_out import TASKS
from benchmarks.finders.suggestions import judge
from benchmarks.finders.truth import final_loss, learning_curve
from benchmarks.long import again
from benchmarks.tune import samplers
from benchmarks.tune.curves import CURVES
from optuna.samplers import RandomSampler

from lightning_lr.tune.sampler import FirstThen


def test_the_overhead_benchmark_measures_every_variant():
    times = measure(steps=100, repeats=1)
    writes = measure_writes(steps=100)

    assert list(times) == list(VARIANTS)
    for name in times:
        assert all(math.isfinite(cost.step_us) and cost.end_ms > 0 for cost in times[name])
        assert len(added(times, name)) == 1
    assert min(times[BARE][0].step_us, *writes.values()) > 0
    table = report(times, writes)
    assert all(name in table for name in [*VARIANTS, *writes] if name != BARE)


def test_the_range_test_benchmark_measures_time_and_memory():
    small = next(iter(range_test_cost.MODELS))

    times = range_test_cost.measure(steps=12, rounds=1, models=[small])
    memory = range_test_cost.measure_memory(range_test_cost.MODELS[small])
    seconds = range_test_cost.measure_report(steps=12)

    assert list(times) == [small]
    assert all(value > 0 for each in times[small] for value in each)
    assert list(memory) == [0, 1]
    assert all(0 < peak.added < peak.with_test for peak in memory.values())
    assert memory[0].bound < memory[1].bound
    assert math.isfinite(seconds)
    table = range_test_cost.report(times, seconds, memory, steps=12)
    assert all(name in table for name in (small, "epoch 0", "epoch 1"))


def test_the_sampler_benchmark_counts_the_trials_that_are_needed():
    losses = json.loads(CURVES.read_text())["digits, CNN, momentum"]
    ours = samplers.SAMPLERS["CoarseToFine"]

    alone, in_parallel = (
        samplers.run(ours, losses, seed=0, workers=workers, prunes=True) for workers in (1, 4)
    )

    assert 1 <= alone.trials <= in_parallel.trials <= samplers.MOST
    assert alone.time == alone.runs <= in_parallel.runs <= 4 * in_parallel.time
    assert "ours  " in samplers.report({"ours": [alone, in_parallel]})


def test_a_curve_between_the_lrs_of_the_grid():
    curve = samplers.curve_of({"0.25": [4.0] * 9 + [1.0], "1.0": [4.0] * 9 + [2.0], "4.0": [math.inf]})

    assert curve(0.5) == pytest.approx([4.0] * 9 + [math.sqrt(2)])
    assert curve(4.0) == [math.inf]
    assert 2 < curve(2.0)[-1] < math.inf


def test_the_cost_of_a_study_is_counted_in_whole_runs():
    """The first trial diverges at its third validation, the second ends well; a third would be pruned."""
    study = optuna.create_study(sampler=FirstThen("lr", [0.5, 0.25], RandomSampler()))
    curve = {0.5: [9.0, 9.0, math.inf], 0.25: [1.0] * 10}.__getitem__

    assert samplers.needed(study, curve, 0.1, 1.0, workers=1) == samplers.Cost(trials=2, runs=1.3, time=1.3)


def test_the_end_of_a_learning_curve_is_the_final_loss():
    task = TASKS[0]

    curve = learning_curve(task, 0.1, 0, count=10)

    assert len(curve) == 10
    assert curve[-1] == final_loss(task, 0.1, 0)
    assert learning_curve(task, 1e30, 0, count=10)[-1] == math.inf


def test_the_benchmark_of_cold_starts_trains_at_the_lr_of_a_range_test(capsys):
    cold_start.main([TASKS[0].name], seeds=1)

    assert capsys.readouterr().out.count("1 runs: geometric mean") == 2


def test_the_benchmark_of_shapes_measures_the_truth_of_a_run():
    task = replace(TASKS[0], total_steps=12)
    kept, cosine = (shapes.SHAPES[name](8) for name in ("constant", "cosine"))

    truth = shapes.measure(task, shapes.SHAPES["WSD"], 1, 0.1)

    assert kept == [1.0] * 8
    assert cosine[0] < cosine[1] > cosine[-1]
    assert len(truth) >= 6
    judged = judge(truth, min(map(float, truth), key=lambda lr: truth[repr(lr)]))
    assert (judged.octaves, judged.excess) == (0, 0)
    assert "WSD" in "".join(shapes.table({("WSD", "own"): [judged, None]}))


@pytest.mark.filterwarnings("ignore:The 'train_dataloader' does not have many workers")
@pytest.mark.filterwarnings("ignore:The 'val_dataloader' does not have many workers")
def test_the_benchmark_of_a_second_search_trains_with_what_that_finds():
    policy = again.POLICIES["linear decay"]

    losses = [
        again.measure(TASKS[0], policy, milestones, budget=170, seed=0, share=2.0)
        for milestones in [(0,), (0, 0.3)]
    ]

    assert all(math.isfinite(loss) and lr > 0 for loss, lr in losses)
    assert losses[0] != losses[1]
    measured = {("linear decay", name): [1.0, 2.0] for name in again.VARIANTS}
    assert "1.000" in "".join(again.table(measured))
