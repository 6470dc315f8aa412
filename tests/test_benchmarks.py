"""The benchmark runs; its bounds are judged by hand, on a machine that does nothing else."""

import math

from benchmarks.overhead import BARE, VARIANTS, added, measure, measure_writes, report


def test_the_overhead_benchmark_measures_every_variant():
    times = measure(steps=100, repeats=1)
    writes = measure_writes(steps=100)

    assert list(times) == list(VARIANTS)
    for name in times:
        assert all(map(math.isfinite, times[name]))
        assert len(added(times, name)) == 1
    assert min(times[BARE] + list(writes.values())) > 0
    table = report(times, writes)
    assert all(name in table for name in [*VARIANTS, *writes] if name != BARE)
