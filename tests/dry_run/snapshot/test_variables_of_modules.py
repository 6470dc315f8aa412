"""What functions keep in variables of modules is put back, whatever they put there and wherever."""

import sys
from types import ModuleType

import pytest
from helpers.finders import TESTS_OF_LRS
from helpers.toy import Toy, fit

from lightning_lr.dry_run.snapshot.snapshot import Snapshot

LIBRARY = """
STORE = {"scale": 1}
COUNT = 0
PAIR = (1, 2)

def store(): return STORE

def param(name):
    STORE[name] = STORE.get(name, 0) + 1
    return STORE[name]
"""
RUNNING = [0]


@pytest.fixture
def library(monkeypatch):
    """A library with a store that all of a process share, as pyro has one."""
    package, inner = ModuleType("sharing"), ModuleType("sharing.inner")
    exec(LIBRARY, vars(inner))
    package.inner, package.param, package.store = inner, inner.param, inner.store
    monkeypatch.setitem(sys.modules, "sharing", package)
    monkeypatch.setitem(globals(), "sharing", package)
    return package


def disturb():
    global RUNNING  # noqa: PLW0603
    sharing.param("scale")  # noqa: F821
    sharing.param("new")  # noqa: F821
    sharing.inner.COUNT += 1  # noqa: F821
    sharing.inner.PAIR = (3, 4)  # noqa: F821
    RUNNING = [*RUNNING, 1]


def state(library):
    return dict(library.store()), library.inner.COUNT, library.inner.PAIR, RUNNING


def test_a_store_behind_functions_of_a_module_is_put_back(library):
    snapshot, before, running = Snapshot(), state(library), RUNNING
    snapshot.add(disturb, "disturb")
    for _ in range(2):
        disturb()
        snapshot.restore()
        assert state(library) == before
        assert RUNNING is running


def test_modules_that_are_imported_inside_a_function_or_around_it_are_found(library):
    def around():
        library.param("scale")

    def inside():
        import sharing  # noqa: PLC0415

        sharing.param("scale")

    for function in (around, inside):
        snapshot, before = Snapshot(), state(library)
        snapshot.add(function, "function")
        function()
        assert state(library) != before
        snapshot.restore()
        assert state(library) == before


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("make", TESTS_OF_LRS.values(), ids=TESTS_OF_LRS)
def test_a_test_leaves_no_trace_in_it(make, tmp_path):
    seen = []

    class Sharing(Toy):
        def training_step(self, batch, batch_idx):
            seen.append(sharing.param("steps"))  # noqa: F821
            return super().training_step(batch, batch_idx)

    fit(Sharing(), make(), root=tmp_path, max_epochs=1)
    assert seen[-10:] == list(range(1, 11))
