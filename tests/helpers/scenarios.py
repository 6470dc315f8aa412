"""Schedules of other libraries as tables: a policy, the length of the run, and the factor at each step."""

import pytest


def assert_follows(policy, total, table):
    wanted = list(map(float, table.split()))
    assert [policy.factor(t, total) for t in range(len(wanted))] == pytest.approx(wanted, rel=1e-9, abs=1e-12)
