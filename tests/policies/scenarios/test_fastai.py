"""The schedules of fastai as its documentation describes them.

https://docs.fast.ai/callback.schedule.html
The start, or the larger of start and end, is 1; t / total is fastai's `pos`. The library rounds positions
within `combine_scheds` to float32; these are the values without that.
The tables were made with fastai 2.8.12.
"""

import pytest
from helpers.scenarios import assert_follows

from lightning_lr.policies import (
    Constant,
    Cosine,
    CosineRestarts,
    Exponential,
    Linear,
    OneCycle,
    Piecewise,
    Polynomial,
    Sequence,
    WarmupStableDecay,
)

# What fastai calls it: our policy, the length of the run, and the factors from t = 0 on.
SCENARIOS = {
    "SchedNo": (
        Constant(),
        10,
        "1 1 1 1 1 1 1 1 1 1 1",
    ),
    "SchedLin": (
        Linear(0.1),
        10,
        "1 .91 .82 .73 .64 .55 .46 .37 .28 .19 .1",
    ),
    "SchedCos": (
        Cosine(0.1),
        10,
        (
            "1 .9779754323 .9140576475 .8145033635 .6890576475 .55 .4109423525 .2854966365 .1859423525 "
            ".1220245677 .1"
        ),
    ),
    "SchedCos up": (
        Cosine(1.0, start=0.1),
        10,
        (
            ".1 .1220245677 .1859423525 .2854966365 .4109423525 .55 .6890576475 .8145033635 .9140576475 "
            ".9779754323 1"
        ),
    ),
    "SchedExp": (
        Exponential(end=0.01),
        10,
        (
            "1 .6309573445 .3981071706 .2511886432 .1584893192 .1 .06309573445 .03981071706 .02511886432 "
            ".01584893192 .01"
        ),
    ),
    "SchedExp up": (
        Exponential(end=100),
        10,
        (
            "1 1.584893192 2.511886432 3.981071706 6.309573445 10 15.84893192 25.11886432 39.81071706 "
            "63.09573445 100"
        ),
    ),
    "SchedPoly(power=2)": (
        Polynomial(2, end=0.1, of="elapsed"),
        10,
        "1 .991 .964 .919 .856 .775 .676 .559 .424 .271 .1",
    ),
    "SchedPoly(power=0.5)": (
        Polynomial(0.5, end=0.1, of="elapsed"),
        10,
        (
            "1 .7153950106 .5975077641 .5070496982 .4307900212 .3636038969 .3028629977 .2470059761 "
            ".1950155281 .1461850318 .1"
        ),
    ),
    "SchedPoly up": (
        Polynomial(2, start=0.1, end=1, of="elapsed"),
        10,
        ".1 .109 .136 .181 .244 .325 .424 .541 .676 .829 1",
    ),
    "combine_scheds: up, then down": (
        Sequence([Cosine(1.0, start=0.3), Cosine(0.2)], durations=[0.3, 0.7]),
        10,
        ".3 .475 .825 1 .9603875472 .8493959207 .6890083736 .5109916264 .3506040793 .2396124528 .2",
    ),
    "combine_scheds of two lines": (
        Sequence([Linear(0.5), Linear(0.0, start=0.5)], durations=[0.3, 0.7]),
        10,
        (
            "1 .8333333333 .6666666667 .5 .4285714286 .3571428571 .2857142857 .2142857143 .1428571429 "
            ".07142857143 0"
        ),
    ),
    "combined_cos": (
        Piecewise([0.0, 0.25, 1.0], [0.5, 1.0, 0.0], shape="cosine"),
        20,
        (
            ".5 .5477457514 .6727457514 .8272542486 .9522542486 1 .9890738004 .9567727288 .9045084972 "
            ".8345653032 .75 .6545084972 .5522642316 .4477357684 .3454915028 .25 .1654346968 .09549150281 "
            ".04322727118 .01092619963 0"
        ),
    ),
    "fit_one_cycle(pct_start=0.25, div=25, div_final=1e5)": (
        OneCycle(0.25, final_div_factor=4000),
        20,
        (
            ".04 .1316718427 .3716718427 .6683281573 .9083281573 1 .9890739096 .9567731611 .9045094521 "
            ".8345669575 .7500025 .6545119521 .552268709 .447741291 .3454980479 .2500075 .1654430425 "
            ".0955005479 .04323683891 .01093609037 1e-05"
        ),
    ),
    "fit_one_cycle(pct_start=0.5, div=5)": (
        OneCycle(0.5, div_factor=5, final_div_factor=2e4),
        20,
        (
            ".2 .2195773935 .2763932023 .3648858991 .4763932023 .6 .7236067977 .8351141009 .9236067977 "
            ".9804226065 1 .9755285029 .9045094521 .7938946872 .6545119521 .500005 .3454980479 .2061153128 "
            ".0955005479 .02448149714 1e-05"
        ),
    ),
    "fit_flat_cos(pct_start=0.75, div_final=1e5)": (
        WarmupStableDecay(0.25, shape="cosine", end=1e-05),
        20,
        "1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 .9045094521 .6545119521 .3454980479 .0955005479 1e-05",
    ),
    "fit_sgdr(n_cycles=3, cycle_len=3): each cycle twice as long": (
        CosineRestarts(num_cycles=3, mult=2),
        21,
        (
            "1 .75 .25 1 .9330127019 .75 .5 .25 .06698729811 1 .9829629131 .9330127019 .8535533906 .75 "
            ".6294095226 .5 .3705904774 .25 .1464466094 .06698729811 .01703708686 0"
        ),
    ),
    "fit_sgdr(n_cycles=3, cycle_mult=1)": (
        CosineRestarts(num_cycles=3),
        12,
        "1 .8535533906 .5 .1464466094 1 .8535533906 .5 .1464466094 1 .8535533906 .5 .1464466094 0",
    ),
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario(name):
    assert_follows(*SCENARIOS[name])
