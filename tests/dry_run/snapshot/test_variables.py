"""What functions keep in variables of modules is put back, whatever they put there and wherever."""

import sys
from types import ModuleType

import pytest
import torch
from helpers.finders import TESTS_OF_LRS
from helpers.toy import Toy, fit

from lightning_lr.dry_run.snapshot.snapshot import Root, Snapshot

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
MEAN = torch.zeros(2)
OPENED = None


@pytest.fixture
def library(monkeypatch):
    """A library with a store that all of a process share, as pyro has one."""
    package, inner = ModuleType("sharing"), ModuleType("sharing.inner")
    exec(LIBRARY, vars(inner))
    package.inner, package.param, package.store = inner, inner.param, inner.store
    monkeypatch.setitem(sys.modules, "sharing", package)
    monkeypatch.setitem(globals(), "sharing", package)
    return package


def use_library():
    sharing.param("scale")  # noqa: F821
    sharing.param("new")  # noqa: F821
    sharing.inner.COUNT += 1  # noqa: F821
    sharing.inner.PAIR = (3, 4)  # noqa: F821
    sharing.inner.LATEST = 7  # noqa: F821


def state(library):
    return dict(library.store()), library.inner.COUNT, library.inner.PAIR, hasattr(library.inner, "LATEST")


def bind_globals():
    global RUNNING, MEAN, OPENED, ADDED, yaml  # noqa: PLW0603
    RUNNING = [*RUNNING, 1]
    MEAN = 0.9 * MEAN + 0.1
    OPENED = object()
    ADDED = len(RUNNING)
    import yaml  # noqa: PLC0415


def test_global_variables_are_bound_to_what_they_were():
    snapshot, before = Snapshot(), (RUNNING, MEAN, OPENED)
    snapshot.add(Root(bind_globals))
    for _ in range(2):
        bind_globals()
        assert ADDED == 2
        snapshot.restore()
        assert all(map(lambda now, then: now is then, (RUNNING, MEAN, OPENED), before))
        assert "ADDED" not in globals()
    # An import stays: Python would not bind it again where it was a part of another module.
    assert yaml.safe_load("3") == 3


def test_a_store_behind_functions_of_a_module_is_put_back(library):
    snapshot, before = Snapshot(), state(library)
    snapshot.add(Root(use_library))
    for _ in range(2):
        use_library()
        assert state(library) != before
        snapshot.restore()
        assert state(library) == before


def test_a_module_that_is_imported_around_a_function_is_found(library):
    def around():
        library.param("scale")

    snapshot, before = Snapshot(), state(library)
    snapshot.add(Root(around))
    around()
    assert state(library) != before
    snapshot.restore()
    assert state(library) == before


IMPORTS = [
    "import sharing; sharing.param('scale')",
    "from sharing import param; param('scale')",
    "from sharing.inner import STORE; STORE['scale'] += 1",
    "import sharing.inner as other; other.COUNT += 1",
    "from . import inner; inner.COUNT += 1",
    "from .inner import param; param('scale')",
]


@pytest.mark.parametrize("line", IMPORTS)
def test_a_module_that_a_function_imports_itself_is_found(line, library, monkeypatch):
    monkeypatch.setitem(sys.modules, "sharing.inner", library.inner)
    library.__path__ = []
    names = {"__package__": "sharing", "__name__": "sharing.steps"}
    exec(f"def imports(): {line}", names)
    snapshot, before = Snapshot(), state(library)
    snapshot.add(Root(names["imports"]))
    names["imports"]()
    assert state(library) != before
    snapshot.restore()
    assert state(library) == before


def test_code_of_libraries_is_followed_into_its_own_variables_only(library):
    """Else much of what is installed would be found, matplotlib for one."""
    names = {"sharing": library}
    code = "def of_library(): sharing.param('scale')"
    exec(compile(code, "/usr/lib/python3/site-packages/other/steps.py", "exec"), names)
    snapshot, before = Snapshot(), state(library)
    snapshot.add(Root(names["of_library"]))
    names["of_library"]()
    snapshot.restore()
    assert state(library) != before


CROWD = [[[number] for number in range(9_000)] for _ in range(7)]


def look_at_crowd():
    return len(CROWD)


def test_what_functions_name_does_not_crowd_out_what_is_held():
    snapshot, inner = Snapshot(), {"lr": 0.1}
    # Further in than what fills the room of the variables.
    held = [[[[[[[inner]]]]]]]
    snapshot.add(Root([look_at_crowd, sys.modules[__name__]], "functions"), Root(held, "held"))
    inner["lr"] = 10.0
    snapshot.restore()
    assert inner == {"lr": 0.1}
    assert snapshot.limits
    assert all("CROWD" in limit for limit in snapshot.limits)


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("make", TESTS_OF_LRS.values(), ids=TESTS_OF_LRS)
def test_a_test_leaves_no_trace_in_them(make, tmp_path):
    seen = []

    class Sharing(Toy):
        def training_step(self, batch, batch_idx):
            global MEAN  # noqa: PLW0603
            MEAN = MEAN + 1
            seen.append((sharing.param("steps"), int(MEAN[0])))  # noqa: F821
            return super().training_step(batch, batch_idx)

    first = int(MEAN[0])
    fit(Sharing(), make(), root=tmp_path, max_epochs=1)
    assert seen[-10:] == [(number, first + number) for number in range(1, 11)]
