"""Functions of compiled libraries that say that they are Python's own are left alone."""

from types import BuiltinFunctionType, FunctionType

import pytest

from lightning_lr.dry_run.snapshot.snapshot import Root, Snapshot


def posing_as(kind):
    """Return an object whose `__class__` is another one than its own, as those of Boost.Python have."""

    class Posing:
        __class__ = property(lambda self: kind)

    return Posing()


@pytest.mark.parametrize("kind", [BuiltinFunctionType, FunctionType, type])
def test_an_object_that_says_it_is_a_function_is_no_hindrance(kind):
    class Held:
        pass

    held = Held()
    held.numbers, held.parts = [1], [posing_as(kind)]
    snapshot = Snapshot()
    snapshot.add(Root(held, "held"))
    held.numbers.append(2)
    snapshot.restore()
    assert held.numbers == [1]
