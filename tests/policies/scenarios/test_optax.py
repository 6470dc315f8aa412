"""The schedules of optax as its documentation describes them.

https://optax.readthedocs.io/en/latest/api/optimizer_schedules.html
The first value, or the peak, is 1; t is optax' `count`.
The tables were made with optax 0.2.8.
"""

import math

import pytest
from helpers.scenarios import assert_follows

from lightning_lr.policies import (
    Constant,
    Cosine,
    Exponential,
    Linear,
    MultiStep,
    OneCycle,
    Piecewise,
    Polynomial,
    Repeat,
    Sequence,
)

# What optax calls it: our policy, the length of the run, and the factors from t = 0 on.
SCENARIOS = {
    "constant_schedule": (
        Constant(0.3),
        math.inf,
        ".3 .3 .3 .3",
    ),
    "cosine_decay_schedule": (
        Cosine(),
        8,
        "1 .9619397663 .8535533906 .6913417162 .5 .3086582838 .1464466094 .03806023374 0 0 0",
    ),
    "cosine_decay_schedule(alpha)": (
        Cosine(0.2),
        8,
        "1 .969551813 .8828427125 .7530733729 .6 .4469266271 .3171572875 .230448187 .2 .2 .2",
    ),
    "cosine_decay_schedule(exponent=2)": (
        Cosine(exponent=2),
        8,
        "1 .9253281139 .7285533906 .4779533685 .25 .09526993617 .02144660941 .001448581393 0 0 0",
    ),
    "cosine_decay_schedule(alpha, exponent=0.5)": (
        Cosine(0.1, exponent=0.5),
        8,
        "1 .9827067524 .9314915793 .8483226511 .7363961031 .6000132097 .4444150891 .2755812898 .1 .1 .1",
    ),
    "cosine_onecycle_schedule": (
        OneCycle(0.3),
        10,
        (".04 .28 .76 1 .950484632 .8117456539 .6112620219 .3887419781 .1882583461 .04951936799 4e-06 4e-06"),
    ),
    "cosine_onecycle_schedule(div_factor, final_div_factor)": (
        OneCycle(0.5, div_factor=4, final_div_factor=10),
        10,
        (
            ".25 .3216186271 .5091186271 .7408813729 .9283813729 1 .9068957848 .6631457848 .3618542152 "
            ".1181042152 .025 .025"
        ),
    ),
    "linear_onecycle_schedule: three straight lines": (
        Piecewise([0, 0.3, 0.85, 1.0], [0.04, 1.0, 0.04, 4e-06]),
        20,
        (
            ".04 .2 .36 .52 .68 .84 1 .9127272727 .8254545455 .7381818182 .6509090909 .5636363636 "
            ".4763636364 .3890909091 .3018181818 .2145454545 .1272727273 .04 .026668 .013336 4e-06 4e-06"
        ),
    ),
    "exponential_decay: decay_rate in every transition_steps": (
        Exponential(0.5, every=4),
        math.inf,
        (
            "1 .8408964153 .7071067812 .5946035575 .5 .4204482076 .3535533906 .2973017788 .25 .2102241038 "
            ".1767766953 .1486508894"
        ),
    ),
    "exponential_decay(transition_begin)": (
        Sequence([Constant(), Exponential(0.5, every=4)], durations=[3]),
        20,
        "1 1 1 1 .8408964153 .7071067812 .5946035575 .5 .4204482076 .3535533906 .2973017788 .25",
    ),
    "exponential_decay(staircase=True)": (
        Exponential(0.5, every=4, staircase=True),
        math.inf,
        "1 1 1 1 .5 .5 .5 .5 .25 .25 .25 .25",
    ),
    "exponential_decay(end_value): no lower than that": (
        Exponential(0.5, every=2, end=0.2),
        math.inf,
        "1 .7071067812 .5 .3535533906 .25 .2 .2 .2 .2 .2 .2 .2",
    ),
    "exponential_decay(staircase=True, end_value)": (
        Exponential(0.5, every=2, staircase=True, end=0.2),
        math.inf,
        "1 1 .5 .5 .25 .25 .2 .2 .2 .2 .2 .2",
    ),
    "exponential_decay: a decay_rate above 1 grows": (
        Exponential(1.5, every=4),
        math.inf,
        (
            "1 1.10668192 1.224744871 1.355403005 1.5 1.66002288 1.837117307 2.033104508 2.25 2.490034319 "
            "2.755675961 3.049656762"
        ),
    ),
    "exponential_decay(end_value) of a growing one: no higher than that": (
        Exponential(2, every=2, end=5),
        math.inf,
        "1 1.414213562 2 2.828427125 4 5 5 5 5 5 5 5",
    ),
    "exponential_decay(transition_begin, staircase, end_value)": (
        Sequence([Constant(), Exponential(0.5, every=2, staircase=True, end=0.2)], durations=[3]),
        20,
        "1 1 1 1 1 .5 .5 .25 .25 .2 .2 .2 .2 .2",
    ),
    "join_schedules: each on its own clock": (
        Sequence([Linear(), Exponential(0.5)], durations=[4]),
        20,
        "1 .75 .5 .25 1 .5 .25 .125 .0625",
    ),
    "join_schedules of three": (
        Sequence([Linear(1.0, start=0.0), Constant(), Cosine()], durations=[2, 3, 5]),
        10,
        "0 .5 1 1 1 1 .9045084972 .6545084972 .3454915028 .09549150281 0 0",
    ),
    "linear_schedule down": (
        Linear(0.2),
        5,
        "1 .84 .68 .52 .36 .2 .2 .2",
    ),
    "linear_schedule up": (
        Linear(1.0, start=0.2),
        5,
        ".2 .36 .52 .68 .84 1 1 1",
    ),
    "linear_schedule(transition_begin)": (
        Sequence([Constant(), Linear(0.2)], durations=[3, 5]),
        10,
        "1 1 1 1 .84 .68 .52 .36 .2 .2 .2",
    ),
    "linear_schedule above the first value": (
        Piecewise([0, 5], [1, 3]),
        math.inf,
        "1 1.4 1.8 2.2 2.6 3 3 3",
    ),
    "piecewise_constant_schedule: a scale for each boundary": (
        Piecewise([0, 3, 6], [1.0, 0.5, 0.05], shape="constant"),
        math.inf,
        "1 1 1 .5 .5 .5 .05 .05 .05",
    ),
    "piecewise_constant_schedule: one scale": (
        MultiStep([3, 6], 0.5),
        math.inf,
        "1 1 1 .5 .5 .5 .25 .25 .25",
    ),
    "piecewise_constant_schedule: a scale above 1": (
        MultiStep([3, 6], 2),
        math.inf,
        "1 1 1 2 2 2 4 4 4",
    ),
    "piecewise_interpolate_schedule('linear')": (
        Piecewise([0, 3, 7], [1.0, 0.5, 0.05]),
        math.inf,
        "1 .8333333333 .6666666667 .5 .3875 .275 .1625 .05 .05",
    ),
    "piecewise_interpolate_schedule('cosine')": (
        Piecewise([0, 3, 7], [1.0, 0.5, 0.05], shape="cosine"),
        math.inf,
        "1 .875 .625 .5 .4340990258 .275 .1159009742 .05 .05",
    ),
    "piecewise_interpolate_schedule('cosine') up and down": (
        Piecewise([0, 3, 7], [1.0, 2.0, 0.2], shape="cosine"),
        math.inf,
        "1 1.25 1.75 2 1.736396103 1.1 .4636038969 .2 .2",
    ),
    "polynomial_schedule(power=2)": (
        Polynomial(2, end=0.1),
        6,
        "1 .725 .5 .325 .2 .125 .1 .1 .1",
    ),
    "polynomial_schedule(transition_begin)": (
        Sequence([Constant(), Polynomial(3, end=0.1)], durations=[2, 6]),
        10,
        "1 1 1 .6208333333 .3666666667 .2125 .1333333333 .1041666667 .1 .1 .1",
    ),
    "polynomial_schedule up": (
        Polynomial(2, start=0.1, end=1),
        6,
        ".1 .375 .6 .775 .9 .975 1 1 1",
    ),
    "sgdr_schedule: a warm-up in every cycle": (
        Repeat(Sequence([Linear(1.0, start=0.0), Cosine(0.1)], durations=[2]), 8),
        math.inf,
        (
            "0 .5 1 .9397114317 .775 .55 .325 .1602885683 0 .5 1 .9397114317 .775 .55 .325 .1602885683 0 .5 "
            "1 .9397114317 .775 .55 .325"
        ),
    ),
    "sgdr_schedule: cycles of different heights and lengths": (
        Sequence(
            [Linear(1.0, start=0.0), Cosine(), Linear(0.5, start=0.0), Cosine(start=0.5)],
            durations=[2, 4, 2, 6],
        ),
        14,
        "0 .5 1 .8535533906 .5 .1464466094 0 .25 .5 .4665063509 .375 .25 .125 .03349364905 0",
    ),
    "warmup_constant_schedule": (
        Sequence([Linear(1.0, start=0.1), Constant()], durations=[4]),
        10,
        ".1 .325 .55 .775 1 1 1 1",
    ),
    "warmup_cosine_decay_schedule": (
        Sequence([Linear(1.0, start=0.1), Cosine(0.01)], durations=[4, 8]),
        12,
        (
            ".1 .325 .55 .775 1 .9623203686 .8550178567 .694428299 .505 .315571701 .1549821433 .04767963141 "
            ".01 .01"
        ),
    ),
    "warmup_cosine_decay_schedule(exponent)": (
        Sequence([Linear(1.0, start=0.0), Cosine(exponent=2)], durations=[4, 8]),
        12,
        (
            "0 .25 .5 .75 1 .9253281139 .7285533906 .4779533685 .25 .09526993617 .02144660941 .001448581393 "
            "0 0"
        ),
    ),
    "warmup_exponential_decay_schedule": (
        Sequence([Linear(1.0, start=0.0), Exponential(0.5, every=3)], durations=[4]),
        20,
        ("0 .25 .5 .75 1 .793700526 .6299605249 .5 .396850263 .3149802625 .25 .1984251315 .1574901312 .125"),
    ),
    "warmup_exponential_decay_schedule(transition_begin, staircase, end_value)": (
        Sequence(
            [Linear(1.0, start=0.0), Constant(), Exponential(0.5, every=3, staircase=True, end=0.2)],
            durations=[4, 2],
        ),
        30,
        "0 .25 .5 .75 1 1 1 1 1 .5 .5 .5 .25 .25 .25 .2 .2 .2",
    ),
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario(name):
    assert_follows(*SCENARIOS[name])
