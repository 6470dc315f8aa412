"""A curve in a bounded number of points."""

import pytest

from lightning_lr.logger.figures import thinned
from lightning_lr.logger.figures.thinned import ThinnedCurve


@pytest.mark.parametrize("length", [0, 1, 9, 10, 11, 20, 21, 1000, 12345])
def test_it_keeps_evenly_spaced_points_from_the_first_on_and_at_least_half_of_what_it_may(
    length, monkeypatch
):
    monkeypatch.setattr(thinned, "_MOST_POINTS", 10)
    curve = ThinnedCurve()
    for x in range(0, length, 7):
        steps = range(x, min(x + 7, length))
        curve.extend(steps, [float(step) ** 2 for step in steps])
    assert len(curve.x) <= 10
    assert len(curve.x) >= min(length, 5)
    assert curve.y == [float(x) ** 2 for x in curve.x]
    stride = curve.x[1] - curve.x[0] if length > 1 else 1
    assert curve.x == list(range(0, length, stride))


@pytest.mark.parametrize("at", [0, 3, 1000, 1001, 2500])
def test_it_goes_on_as_if_it_had_not_been_saved(at):
    whole, saved = ThinnedCurve(), ThinnedCurve()
    for x in range(3000):
        if x == at:
            saved = ThinnedCurve.from_dict(saved.to_dict())
        saved.extend([x], [1.0 / (1 + x)])
    whole.extend(range(3000), [1.0 / (1 + x) for x in range(3000)])
    assert saved.to_dict() == whole.to_dict()


def test_a_damaged_one_is_refused():
    with pytest.raises(ValueError, match="2 x and 1 y"):
        ThinnedCurve.from_dict({"count": 2, "stride": 1, "x": [0, 1], "y": [0.1]})
