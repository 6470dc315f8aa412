import math
import random

import pytest

from lightning_lr.finders.trials.runner import difference_error


def test_the_error_of_a_difference_is_that_of_its_batches():
    generator = random.Random(0)
    before = [generator.uniform(1, 10) for _ in range(400)]
    after = [loss + generator.gauss(0.5, 0.2) for loss in before]
    differences = [-loss for loss in after], [-loss for loss in before]
    assert difference_error(*differences, is_paired=True) == pytest.approx(0.2 / 20, rel=0.15)
    assert difference_error(*differences, is_paired=False) == pytest.approx(2.6 * math.sqrt(2) / 20, rel=0.15)
    assert difference_error([1.0], [2.0], is_paired=True) == 0.0
    assert difference_error([math.nan, 1.0], [2.0, 1.0], is_paired=True) == 0.0
    # Whatever the scale of each batch, a fall to a tenth is one.
    tenth = [loss / 10 for loss in before]
    assert difference_error(tenth, before, is_paired=True) == pytest.approx(0.0, abs=1e-9)
