"""The benchmark runs; its bounds are judged by hand, on a machine that does nothing else."""

import json
import math

from benchmarks.cost import range_test as range_test_cost
from benchmarks.cost.overhead import BARE, VARIANTS, added, measure, measure_writes, report
from benchmarks.finders.truth import TRUTH
from benchmarks.tune import samplers


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
    truth = json.loads(TRUTH.read_text())["digits, CNN, momentum"]
    ours = samplers.SAMPLERS["CoarseToFine"]

    alone, in_parallel = (samplers.run(ours, truth, seed=0, workers=workers) for workers in (1, 4))

    assert 1 <= alone <= in_parallel <= samplers.MOST
    assert "ours  " in samplers.report({"ours": [alone, in_parallel]})
