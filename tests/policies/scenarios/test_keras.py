"""The schedules of Keras as its documentation describes them.

https://keras.io/api/optimizers/learning_rate_schedules
The LR at t = 0 (of a warm-up: its target) is 1; t is Keras' `step`.
The tables were made with Keras 3.15.1.
"""

import math

import pytest
from helpers.scenarios import assert_follows

from lightning_lr.policies import (
    Cosine,
    CosineRestarts,
    DelayedExponential,
    Exponential,
    Function,
    InverseTime,
    Linear,
    Piecewise,
    Polynomial,
    Sequence,
)

# What Keras calls it: our policy, the length of the run, and the factors from t = 0 on.
SCENARIOS = {
    "CosineDecay: half a cosine, then constant": (
        Cosine(),
        8,
        "1 .9619397663 .8535533906 .6913417162 .5 .3086582838 .1464466094 .03806023374 0 0 0",
    ),
    "CosineDecay(alpha): a share of the LR that stays": (
        Cosine(0.1),
        8,
        "1 .9657457896 .8681980515 .7222075446 .55 .3777924554 .2318019485 .1342542104 .1 .1 .1",
    ),
    "CosineDecay(warmup_target, warmup_steps): from 0 to the target, then down": (
        Sequence([Linear(1.0, start=0.0), Cosine()], durations=[3, 8]),
        11,
        (
            "0 .3333333333 .6666666667 1 .9619397663 .8535533906 .6913417162 .5 .3086582838 .1464466094 "
            ".03806023374 0 0"
        ),
    ),
    "CosineDecay(warmup_target): the warm-up starts above 0": (
        Sequence([Linear(1.0, start=0.2), Cosine(0.05)], durations=[4, 8]),
        12,
        (
            ".2 .4 .6 .8 1 .9638427779 .8608757211 .7067746304 .525 .3432253696 .1891242789 .08615722206 "
            ".05 .05"
        ),
    ),
    "CosineDecayRestarts: each cycle twice as long (t_mul=2 is the default)": (
        CosineRestarts(3, 2),
        math.inf,
        (
            "1 .75 .25 1 .9330127019 .75 .5 .25 .06698729811 1 .9829629131 .9330127019 .8535533906 .75 "
            ".6294095226 .5 .3705904774 .25 .1464466094 .06698729811 .01703708686 1 .9957224307 .9829629131 "
            ".9619397663"
        ),
    ),
    "CosineDecayRestarts(t_mul=1)": (
        CosineRestarts(4),
        math.inf,
        (
            "1 .8535533906 .5 .1464466094 1 .8535533906 .5 .1464466094 1 .8535533906 .5 .1464466094 1 "
            ".8535533906"
        ),
    ),
    "CosineDecayRestarts(t_mul=1.5)": (
        CosineRestarts(4, 1.5),
        math.inf,
        (
            "1 .8535533906 .5 .1464466094 1 .9330127019 .75 .5 .25 .06698729811 1 .9698463104 .8830222216 "
            ".75 .5868240888 .4131759112 .25 .1169777784 .03015368961 1"
        ),
    ),
    "CosineDecayRestarts(m_mul): lower after each restart": (
        CosineRestarts(3, 2, height_mult=0.8),
        math.inf,
        (
            "1 .75 .25 .8 .7464101615 .6 .4 .2 .05358983849 .64 .6290962644 .5971281292 .54627417 .48 "
            ".4028220944 .32 .2371779056 .16 .09372583002 .04287187079 .01090373559 .512 .5098098845 "
            ".5032770115 .4925131603"
        ),
    ),
    "CosineDecayRestarts(alpha)": (
        CosineRestarts(3, 2, end=0.1),
        math.inf,
        "1 .775 .325 1 .9397114317 .775 .55 .325 .1602885683 1 .9846666218 .9397114317",
    ),
    "CosineDecayRestarts(m_mul, alpha): the height above alpha shrinks": (
        CosineRestarts(3, 2, height_mult=0.5, end=0.1),
        math.inf,
        (
            "1 .775 .325 .55 .5198557159 .4375 .325 .2125 .1301442841 .325 .3211666555 .3099278579 "
            ".2920495129 .26875 .2416171426 .2125 .1833828574 .15625 .1329504871 .1150721421 .1038333445 "
            ".2125 .2120187735 .2105833277 .2082182237"
        ),
    ),
    "CosineDecayRestarts(m_mul above 1): higher after each restart": (
        CosineRestarts(3, 1, height_mult=1.2),
        math.inf,
        "1 .75 .25 1.2 .9 .3 1.44 1.08 .36 1.728 1.296 .432 2.0736",
    ),
    "ExponentialDecay: decay_rate in every decay_steps": (
        Exponential(0.5, every=4),
        math.inf,
        (
            "1 .8408964153 .7071067812 .5946035575 .5 .4204482076 .3535533906 .2973017788 .25 .2102241038 "
            ".1767766953 .1486508894"
        ),
    ),
    "ExponentialDecay(staircase=True)": (
        Exponential(0.5, every=4, staircase=True),
        math.inf,
        "1 1 1 1 .5 .5 .5 .5 .25 .25 .25 .25",
    ),
    "ExponentialDecay: a decay_rate above 1 grows": (
        Exponential(1.5, every=4),
        math.inf,
        (
            "1 1.10668192 1.224744871 1.355403005 1.5 1.66002288 1.837117307 2.033104508 2.25 2.490034319 "
            "2.755675961 3.049656762"
        ),
    ),
    "InverseTimeDecay: decay_rate in every decay_steps": (
        InverseTime(0.5, every=4),
        math.inf,
        (
            "1 .8888888889 .8 .7272727273 .6666666667 .6153846154 .5714285714 .5333333333 .5 .4705882353 "
            ".4444444444 .4210526316"
        ),
    ),
    "InverseTimeDecay(decay_steps=1)": (
        InverseTime(0.5),
        math.inf,
        "1 .6666666667 .5 .4 .3333333333 .2857142857 .25 .2222222222",
    ),
    "InverseTimeDecay(staircase=True)": (
        InverseTime(0.5, every=4, staircase=True),
        math.inf,
        "1 1 1 1 .6666666667 .6666666667 .6666666667 .6666666667 .5 .5 .5 .5",
    ),
    "PiecewiseConstantDecay: a value holds through its boundary": (
        Piecewise([0, 4, 7], [1.0, 0.5, 0.1], shape="constant"),
        math.inf,
        "1 1 1 1 .5 .5 .5 .1 .1 .1",
    ),
    "PiecewiseConstantDecay: up again": (
        Piecewise([0, 4, 7], [0.1, 1.0, 0.5], shape="constant"),
        math.inf,
        ".1 .1 .1 .1 1 1 1 .5 .5 .5",
    ),
    "PolynomialDecay: a straight line, then constant": (
        Linear(0.01),
        8,
        "1 .87625 .7525 .62875 .505 .38125 .2575 .13375 .01 .01 .01",
    ),
    "PolynomialDecay(power=0.5)": (
        Polynomial(0.5, end=0.01),
        8,
        "1 .9360602032 .8673651497 .7926637209 .7100357134 .6162487113 .505 .3600178567 .01 .01 .01",
    ),
    "PolynomialDecay(power=2)": (
        Polynomial(2, end=0.1),
        8,
        "1 .7890625 .60625 .4515625 .325 .2265625 .15625 .1140625 .1 .1 .1",
    ),
    "PolynomialDecay(cycle=True): longer and longer descents": (
        Polynomial(end=0.1, cycle=4),
        math.inf,
        "1 .775 .55 .325 .1 .4375 .325 .2125 .1 .325 .25 .175 .1 .26875 .2125 .15625 .1",
    ),
    "PolynomialDecay(cycle=True, power=2)": (
        Polynomial(2, cycle=3),
        math.inf,
        (
            "1 .4444444444 .1111111111 0 .1111111111 .02777777778 0 .04938271605 .01234567901 0 "
            ".02777777778 .006944444444 0"
        ),
    ),
    "LearningRateScheduler: the example of its documentation": (
        DelayedExponential(5, rate=0.1),
        math.inf,
        "1 1 1 1 1 .904837418 .8187307531 .7408182207 .670320046 .6065306597 .5488116361 .4965853038",
    ),
    "LearningRateScheduler: a function of the epoch and the LR": (
        Function(lambda epoch, lr: lr if epoch < 5 else lr * math.exp(-0.1)),
        math.inf,
        "1 1 1 1 1 .904837418 .8187307531 .7408182207 .670320046 .6065306597 .5488116361 .4965853038",
    ),
    "LearningRateScheduler: a function of the epoch": (
        Function(lambda epoch: 1.0 if epoch < 3 else 0.1),
        math.inf,
        "1 1 1 .1 .1",
    ),
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario(name):
    assert_follows(*SCENARIOS[name])
