import json
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from helpers.timelines import noisy_run, timeline, verdicts
from torch.optim.lr_scheduler import ReduceLROnPlateau

from lightning_lr.plateau import Detector, Observation, Patience, Progress, SlopeTest, Verdict

NAN, INF = math.nan, math.inf
# Patience is torch's rule


def random_sequence(generator):
    """Values as awkward as they come: falling, flat, equal, negative, huge, not finite."""
    count = int(generator.integers(1, 40))
    values = generator.choice([0.0, -2.0, 3.0]) + np.cumsum(generator.normal(-0.02, 0.1, count))
    if generator.random() < 0.3:
        values = np.round(values, 1)
    values *= 10.0 ** generator.choice([-8, 0, 0, 300])
    odd = generator.random(count) < generator.choice([0.0, 0.1, 0.5])
    values[odd] = generator.choice([NAN, INF, -INF, 0.0], odd.sum(), p=[0.4, 0.3, 0.1, 0.2])
    return values.tolist()


def random_patience(generator):
    return Patience(
        patience=int(generator.integers(0, 6)),
        threshold=float(generator.choice([0.0, 1e-4, 0.01, 0.5])),
        threshold_mode=str(generator.choice(["rel", "abs"])),
        cooldown=int(generator.choice([0, 0, 1, 4])),
    )


def torch_reductions(detector, values, mode):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = ReduceLROnPlateau(
        optimizer,
        mode=mode,
        factor=0.5,
        patience=detector.patience,
        threshold=detector.threshold,
        threshold_mode=detector.threshold_mode,
        cooldown=detector.cooldown,
        eps=0,
    )
    lrs = [1.0]
    for value in values:
        scheduler.step(value)
        lrs.append(optimizer.param_groups[0]["lr"])
    return [step for step, (before, after) in enumerate(pairwise(lrs)) if after < before]


def test_patience_reduces_where_torch_does_on_ten_thousand_sequences():
    generator = np.random.default_rng(0)
    reductions = 0
    for _ in range(10_000):
        detector, values = random_patience(generator), random_sequence(generator)
        mode = str(generator.choice(["min", "max"]))

        found = [
            step
            for step, verdict in enumerate(verdicts(detector, values, mode=mode, act=True))
            if verdict.state == "plateau"
        ]

        assert found == torch_reductions(detector, values, mode), (detector, mode, values)
        reductions += len(found)
    assert reductions > 10_000


@pytest.mark.parametrize(
    ("detector", "values", "expected"),
    [
        (Patience(2), "8765555555", "iiii..PPPP"),
        (Patience(0), "8776", "iiPi"),
        (Patience(1), "9999", "i.PP"),
        (Patience(1, threshold=1, threshold_mode="abs"), "9876543", "i.i.i.i"),
        (Patience(1, threshold=0.2), "98765", "i.i.i"),
    ],
)
def test_patience_timelines(detector, values, expected):
    assert timeline(detector, [float(value) for value in values]) == expected


def test_patience_waits_out_its_cooldown_after_a_change():
    assert timeline(Patience(1, cooldown=3), [5.0] * 14, act=True) == "i.P....P....P."


def test_patience_says_what_it_waits_for():
    found = verdicts(Patience(1, cooldown=2), [2.0, 3.0, 3.0, 3.0], act=True)

    assert [verdict.reason for verdict in found] == [
        "A new best, below inf.",
        "1 of 2 validations without a value below 1.9998.",
        "2 validations without a value below 1.9998, patience is 1.",
        "Not below 1.9998, but not counted within 2 of a change.",
    ]
    assert found[2].window == 2
    assert all(math.isnan(number) for number in (found[2].slope, found[2].noise, found[2].threshold))


# All detectors


DETECTORS = [Patience(2, cooldown=1), Progress(), Progress(patience=3), SlopeTest(), SlopeTest(patience=3)]


@pytest.mark.parametrize("detector", DETECTORS, ids=str)
def test_the_state_stays_as_it_is_and_goes_through_json_at_every_step(detector):
    values = [*noisy_run(), NAN, INF, -1.0, *noisy_run(1)]
    state = again = detector.begin()
    for step, value in enumerate(values):
        before = json.dumps(state)
        if step % 29 == 28:
            after, again = detector.after_change(state), detector.after_change(again)
            assert json.dumps(state) == before
            state = after
        before = json.dumps(state)
        after, verdict = detector.judge(state, Observation(value, -value), mode="min")
        assert json.dumps(state) == before
        state = after
        again = json.loads(json.dumps(again))
        detector.check_state(again)
        again, verdict_again = detector.judge(again, Observation(value, -value), mode="min")
        # NaN differs from itself.
        assert repr(verdict.to_dict()) == repr(verdict_again.to_dict())
        assert verdict.to_dict().keys() == vars(verdict).keys()


@pytest.mark.parametrize("detector", DETECTORS, ids=str)
def test_the_state_holds_plain_values_and_stays_small(detector, tmp_path):
    state = detector.begin()
    for value in [*noisy_run(count=1000), *([2.0] * 100)]:
        state, _ = detector.judge(state, Observation(np.float32(value), torch.tensor(1.0)), mode="max")

    assert len(json.dumps(state)) < 10_000
    numbers = [entry for value in state.values() for entry in (value if isinstance(value, list) else [value])]
    assert {type(number) for number in numbers} <= {int, float, bool, type(None)}
    torch.save(state, tmp_path / "state.pt")
    assert torch.load(tmp_path / "state.pt", weights_only=True) == state


@pytest.mark.parametrize("detector", DETECTORS, ids=str)
@pytest.mark.parametrize(
    "damage",
    [
        lambda state: None,
        lambda state: {},
        lambda state: [1, 2],
        lambda state: {**state, "extra": 1},
        lambda state: dict.fromkeys(state, "text"),
        lambda state: dict.fromkeys(state, -1),
        lambda state: {name: [NAN] for name in state},
        lambda state: dict.fromkeys(state, True),
    ],
)
def test_a_damaged_state_is_refused(detector, damage):
    state, _ = detector.judge(detector.begin(), Observation(1.0), mode="min")
    detector.check_state(state)

    with pytest.raises(ValueError, match=r"^(In its|Its) state"):
        detector.check_state(damage(state))


def test_the_state_of_another_detector_is_refused():
    with pytest.raises(ValueError, match="`best` is an entry that this version does not know"):
        SlopeTest().check_state(Patience().begin())
    with pytest.raises(ValueError, match="`best` is missing"):
        Progress().check_state(SlopeTest().begin())


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Patience(-1), ValueError, r"`Patience\(patience=...\)` must be at least 0, got -1"),
        (lambda: Patience(2.5), TypeError, r"`Patience\(patience=...\)` must be a whole number"),
        (lambda: Patience(threshold=1.0), ValueError, r"`Patience\(threshold=...\)` must be in \[0, 1\)"),
        (lambda: Patience(threshold=NAN), ValueError, r"`Patience\(threshold=...\)`"),
        (lambda: Patience(threshold=INF, threshold_mode="abs"), ValueError, r"must be in \[0, inf\)"),
        (lambda: Patience(threshold_mode="relative"), ValueError, "must be 'rel' or 'abs'"),
        (lambda: Patience(cooldown=-1), ValueError, r"`Patience\(cooldown=...\)`"),
        (lambda: Progress(2), ValueError, r"`Progress\(patience=...\)` must be at least 3, got 2"),
        (lambda: Progress(min_improvement=1), ValueError, r"`Progress\(min_improvement=...\)` must be in"),
        (lambda: SlopeTest(patience=0), ValueError, r"`SlopeTest\(patience=...\)` must be at least 1, got 0"),
        (lambda: SlopeTest(min_improvement=0), ValueError, r"`SlopeTest\(min_improvement=...\)` must be in"),
        (lambda: SlopeTest(min_improvement=NAN), ValueError, "got nan"),
        (lambda: SlopeTest(min_improvement="2%"), TypeError, "must be a number"),
        (lambda: SlopeTest(z=0), ValueError, r"`SlopeTest\(z=...\)` must be in \(0, 100\]"),
    ],
)
def test_bad_arguments(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_detector_is_abstract():
    with pytest.raises(TypeError, match="abstract"):
        Detector()


def test_a_verdict_becomes_a_dictionary():
    verdict = Verdict("improving", 0.1, 0.2, 0.05, 0.15, 12, "Why.")

    assert Verdict(**verdict.to_dict()) == verdict
