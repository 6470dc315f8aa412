"""The schedules of ignite as its documentation describes them.

https://pytorch.org/ignite/handlers.html
The larger of start and end value is 1; t is the number of events before.
The tables were made with ignite 0.5.5.
"""

import math

import pytest
from helpers.scenarios import assert_follows

from lightning_lr.policies import (
    Cosine,
    CosineRestarts,
    Cyclic,
    Exponential,
    Function,
    Linear,
    MultiStep,
    Piecewise,
    Repeat,
    Sequence,
    Step,
)

# What ignite calls it: our policy, the length of the run, and the factors from t = 0 on.
SCENARIOS = {
    "LinearCyclicalScheduler: down and up": (
        Repeat(Piecewise([0.0, 0.5, 1.0], [1.0, 0.1, 1.0]), 8),
        math.inf,
        "1 .775 .55 .325 .1 .325 .55 .775 1 .775 .55 .325 .1 .325 .55 .775 1 .775 .55 .325",
    ),
    "LinearCyclicalScheduler: up and down": (
        Cyclic(4, low=0.1),
        math.inf,
        ".1 .325 .55 .775 1 .775 .55 .325 .1 .325 .55 .775 1 .775 .55 .325 .1 .325 .55 .775",
    ),
    "LinearCyclicalScheduler(cycle_mult=2)": (
        Repeat(Piecewise([0.0, 0.5, 1.0], [1.0, 0.1, 1.0]), 4, 2),
        math.inf,
        "1 .55 .1 .55 1 .775 .55 .325 .1 .325 .55 .775 1 .8875 .775 .6625 .55 .4375 .325 .2125",
    ),
    "LinearCyclicalScheduler(start_value_mult, end_value_mult)": (
        Repeat(Piecewise([0.0, 0.5, 1.0], [1.0, 0.1, 1.0]), 8, height_mult=0.5),
        math.inf,
        ("1 .775 .55 .325 .1 .325 .55 .775 .5 .3875 .275 .1625 .05 .1625 .275 .3875 .25 .19375 .1375 .08125"),
    ),
    "LinearCyclicalScheduler(start_value_mult) down to 0": (
        Repeat(Piecewise([0.0, 0.5, 1.0], [1.0, 0.0, 1.0]), 8, height_mult=0.5),
        math.inf,
        "1 .75 .5 .25 0 .25 .5 .75 .5 .375 .25 .125 0 .125 .25 .375 .25 .1875 .125 .0625",
    ),
    "LinearCyclicalScheduler(end_value_mult) up from 0": (
        Repeat(Cyclic(4, low=0.0), 8, height_mult=0.5),
        math.inf,
        "0 .25 .5 .75 1 .75 .5 .25 0 .125 .25 .375 .5 .375 .25 .125 0 .0625 .125 .1875",
    ),
    "LinearCyclicalScheduler(end_value_mult=0.8) up from 0": (
        Repeat(Cyclic(4, low=0.0), 8, height_mult=0.8),
        math.inf,
        "0 .25 .5 .75 1 .75 .5 .25 0 .2 .4 .6 .8 .6 .4 .2 0 .16 .32 .48",
    ),
    "LinearCyclicalScheduler(monotonic=True): a sawtooth": (
        Repeat(Linear(0.1), 5),
        math.inf,
        "1 .82 .64 .46 .28 1 .82 .64 .46 .28 1 .82 .64 .46",
    ),
    "LinearCyclicalScheduler(monotonic=True, cycle_mult=2)": (
        Repeat(Linear(0.1), 3, 2),
        math.inf,
        "1 .7 .4 1 .85 .7 .55 .4 .25 1 .925 .85 .775 .7 .625 .55 .475 .4 .325 .25",
    ),
    "LinearCyclicalScheduler(monotonic=True, start_value_mult, end_value_mult)": (
        Repeat(Linear(0.1), 5, height_mult=0.5),
        math.inf,
        "1 .82 .64 .46 .28 .5 .41 .32 .23 .14 .25 .205 .16 .115",
    ),
    "LinearCyclicalScheduler(warmup_duration): a ramp to the start of each next cycle": (
        Repeat(Sequence([Linear(0.1), Linear(1.0, start=0.1)], durations=[5, 3]), 8),
        math.inf,
        "1 .82 .64 .46 .28 .1 .4 .7 1 .82 .64 .46 .28 .1 .4 .7 1 .82 .64 .46",
    ),
    "CosineAnnealingScheduler": (
        CosineRestarts(8, end=0.1),
        math.inf,
        (
            "1 .9657457896 .8681980515 .7222075446 .55 .3777924554 .2318019485 .1342542104 1 .9657457896 "
            ".8681980515 .7222075446 .55 .3777924554 .2318019485 .1342542104 1 .9657457896 .8681980515 "
            ".7222075446"
        ),
    ),
    "CosineAnnealingScheduler: up": (
        Repeat(Cosine(1.0, start=0.1), 8),
        math.inf,
        (
            ".1 .1342542104 .2318019485 .3777924554 .55 .7222075446 .8681980515 .9657457896 .1 .1342542104 "
            ".2318019485 .3777924554 .55 .7222075446 .8681980515 .9657457896 .1 .1342542104 .2318019485 "
            ".3777924554"
        ),
    ),
    "CosineAnnealingScheduler(cycle_mult=2)": (
        CosineRestarts(4, 2, end=0.1),
        math.inf,
        (
            "1 .8681980515 .55 .2318019485 1 .9657457896 .8681980515 .7222075446 .55 .3777924554 "
            ".2318019485 .1342542104 1 .9913533762 .9657457896 .9241613255 .8681980515 .8000066049 "
            ".7222075446 .6377906449"
        ),
    ),
    "CosineAnnealingScheduler(start_value_mult, end_value_mult)": (
        Repeat(Cosine(0.1), 8, height_mult=0.5),
        math.inf,
        (
            "1 .9657457896 .8681980515 .7222075446 .55 .3777924554 .2318019485 .1342542104 .5 .4828728948 "
            ".4340990258 .3611037723 .275 .1888962277 .1159009742 .06712710518 .25 .2414364474 .2170495129 "
            ".1805518861"
        ),
    ),
    "CosineAnnealingScheduler(start_value_mult) down to 0": (
        CosineRestarts(8, height_mult=0.9),
        math.inf,
        (
            "1 .9619397663 .8535533906 .6913417162 .5 .3086582838 .1464466094 .03806023374 .9 .8657457896 "
            ".7681980515 .6222075446 .45 .2777924554 .1318019485 .03425421037 .81 .7791712107 .6913782464 "
            ".5599867901"
        ),
    ),
    "ConcatScheduler: a line, then cosines": (
        Sequence([Linear(0.5), Repeat(Cosine(0.1, start=0.5), 6)], durations=[6]),
        40,
        (
            "1 .9166666667 .8333333333 .75 .6666666667 .5833333333 .5 .4732050808 .4 .3 .2 .1267949192 .5 "
            ".4732050808 .4 .3 .2 .1267949192 .5 .4732050808"
        ),
    ),
    "ConcatScheduler: two lines": (
        Sequence([Linear(0.5), Linear(0.1, start=0.5)], durations=[4, 8]),
        12,
        "1 .875 .75 .625 .5 .45 .4 .35 .3 .25 .2 .15",
    ),
    "PiecewiseLinear: milestones and values": (
        Piecewise([2, 4, 6, 9], [0.5, 0.45, 0.3, 0.1]),
        math.inf,
        ".5 .5 .5 .475 .45 .375 .3 .2333333333 .1666666667 .1 .1 .1",
    ),
    "PiecewiseLinear: up and down": (
        Piecewise([0, 3, 9], [0.0, 1.0, 0.0]),
        math.inf,
        "0 .3333333333 .6666666667 1 .8333333333 .6666666667 .5 .3333333333 .1666666667 0 0 0",
    ),
    "LRScheduler: wraps StepLR": (
        Step(3, 0.5),
        math.inf,
        "1 1 1 .5 .5 .5 .25 .25 .25 .125",
    ),
    "create_lr_scheduler_with_warmup: a ramp before ExponentialLR": (
        Sequence([Linear(1.0, start=0.1), Exponential(0.9)], durations=[4]),
        20,
        ".1 .325 .55 .775 1 .9 .81 .729 .6561 .59049 .531441 .4782969",
    ),
    "ExpStateScheduler: initial_value, then after each event": (
        Exponential(0.9),
        math.inf,
        "1 .9 .81 .729 .6561 .59049 .531441",
    ),
    "StepStateScheduler: initial_value, then after each event": (
        Step(3, 0.5),
        math.inf,
        "1 1 1 .5 .5 .5 .25 .25 .25 .125 .125",
    ),
    "MultiStepStateScheduler: initial_value, then after each event": (
        MultiStep([2, 5], 0.5),
        math.inf,
        "1 1 .5 .5 .5 .25 .25 .25 .25",
    ),
    "LambdaStateScheduler: initial_value, then after each event": (
        Function(lambda step: 1 / (1 + step)),
        math.inf,
        "1 .5 .3333333333 .25 .2 .1666666667 .1428571429",
    ),
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario(name):
    assert_follows(*SCENARIOS[name])
