"""The schedules of transformers as its documentation describes them.

https://huggingface.co/docs/transformers/main_classes/optimizer_schedules
The factors of a base LR of 1, unless the name says another; t is the number of steps made.
The tables were made with transformers 5.24.0.
"""

import math

import pytest
from helpers.scenarios import assert_follows

from lightning_lr.policies import (
    Constant,
    Cosine,
    CosineRestarts,
    InverseSqrt,
    Linear,
    Polynomial,
    Sequence,
    WarmupStableDecay,
)

# What transformers calls it: our policy, the length of the run, and the factors from t = 0 on.
SCENARIOS = {
    "constant": (
        Constant(),
        math.inf,
        "1 1 1 1",
    ),
    "constant_with_warmup": (
        Sequence([Linear(1.0, start=0.0), Constant()], durations=[3]),
        10,
        "0 .3333333333 .6666666667 1 1 1",
    ),
    "linear": (
        Linear(),
        8,
        "1 .875 .75 .625 .5 .375 .25 .125 0 0",
    ),
    "linear with warm-up": (
        Sequence([Linear(1.0, start=0.0), Linear()], durations=[2, 8]),
        10,
        "0 .5 1 .875 .75 .625 .5 .375 .25 .125 0 0",
    ),
    "cosine": (
        Cosine(),
        8,
        "1 .9619397663 .8535533906 .6913417162 .5 .3086582838 .1464466094 .03806023374 0",
    ),
    "cosine with warm-up": (
        Sequence([Linear(1.0, start=0.0), Cosine()], durations=[2, 8]),
        10,
        "0 .5 1 .9619397663 .8535533906 .6913417162 .5 .3086582838 .1464466094 .03806023374 0",
    ),
    "cosine(num_cycles=1): down and up": (
        Sequence([Linear(1.0, start=0.0), Cosine(num_cycles=1)], durations=[2, 8]),
        10,
        "0 .5 1 .8535533906 .5 .1464466094 0 .1464466094 .5 .8535533906 1",
    ),
    "cosine(num_cycles=1.5): down, up and down": (
        Cosine(num_cycles=1.5),
        12,
        "1 .8535533906 .5 .1464466094 0 .1464466094 .5 .8535533906 1 .8535533906 .5 .1464466094 0",
    ),
    "cosine(num_cycles=0.25): the first half of the way down": (
        Cosine(num_cycles=0.25),
        8,
        "1 .9903926402 .9619397663 .9157348062 .8535533906 .7777851165 .6913417162 .597545161 .5",
    ),
    "cosine_with_restarts: one cycle": (
        Sequence([Linear(1.0, start=0.0), CosineRestarts(num_cycles=1)], durations=[2, 8]),
        10,
        "0 .5 1 .9619397663 .8535533906 .6913417162 .5 .3086582838 .1464466094 .03806023374 0 0",
    ),
    "cosine_with_restarts(num_cycles=2)": (
        Sequence([Linear(1.0, start=0.0), CosineRestarts(num_cycles=2)], durations=[2, 8]),
        10,
        "0 .5 1 .8535533906 .5 .1464466094 1 .8535533906 .5 .1464466094 0 0",
    ),
    "cosine_with_restarts(num_cycles=3): cycles that are no whole number of steps": (
        CosineRestarts(num_cycles=3),
        10,
        (
            "1 .7938926261 .3454915028 .02447174185 .9045084972 .5 .09549150281 .9755282581 .6545084972 "
            ".2061073739 0 0"
        ),
    ),
    "polynomial: to lr_end": (
        Sequence([Linear(1.0, start=0.0), Polynomial(end=0.1)], durations=[2, 8]),
        10,
        "0 .5 1 .8875 .775 .6625 .55 .4375 .325 .2125 .1 .1",
    ),
    "polynomial(power=2)": (
        Sequence([Linear(1.0, start=0.0), Polynomial(2, end=0.1)], durations=[2, 8]),
        10,
        "0 .5 1 .7890625 .60625 .4515625 .325 .2265625 .15625 .1140625 .1 .1",
    ),
    "inverse_sqrt: the timescale is the warm-up": (
        Sequence([Linear(1.0, start=0.0), InverseSqrt(timescale=4)], durations=[4]),
        30,
        (
            "0 .25 .5 .75 1 .894427191 .8164965809 .755928946 .7071067812 .6666666667 .632455532 "
            ".6030226892 .5773502692 .5547001962 .5345224838 .5163977795 .5 .4850712501 .4714045208 "
            ".4588314677"
        ),
    ),
    "inverse_sqrt(timescale)": (
        Sequence([Linear(1.0, start=0.0), InverseSqrt(timescale=9)], durations=[4]),
        30,
        (
            "0 .25 .5 .75 1 .9486832981 .9045340337 .8660254038 .8320502943 .8017837257 .7745966692 .75 "
            ".7276068751 .7071067812 .6882472016 .6708203932 .6546536707 .6396021491 .6255432422 "
            ".6123724357"
        ),
    ),
    "cosine_with_min_lr(min_lr_rate)": (
        Sequence([Linear(1.0, start=0.0), Cosine(0.1)], durations=[2, 8]),
        10,
        "0 .5 1 .9657457896 .8681980515 .7222075446 .55 .3777924554 .2318019485 .1342542104 .1",
    ),
    "cosine_with_min_lr(min_lr): an LR, here of a base LR of 0.5": (
        Sequence([Linear(1.0, start=0.0), Cosine(0.05 / 0.5)], durations=[2, 8]),
        10,
        "0 .5 1 .9657457896 .8681980515 .7222075446 .55 .3777924554 .2318019485 .1342542104 .1",
    ),
    "cosine_with_min_lr(num_cycles=1)": (
        Cosine(0.1, num_cycles=1),
        8,
        "1 .8681980515 .55 .2318019485 .1 .2318019485 .55 .8681980515 1",
    ),
    "cosine_warmup_with_min_lr: the warm-up starts at warmup_lr_rate and ends a step early": (
        Sequence([Linear(1.0, start=0.2), Cosine(0.1)], durations=[3, 8]),
        11,
        (
            ".2 .4666666667 .7333333333 1 .9657457896 .8681980515 .7222075446 .55 .3777924554 .2318019485 "
            ".1342542104 .1"
        ),
    ),
    "warmup_stable_decay: the decay is a cosine": (
        WarmupStableDecay(4, warmup=4, shape="cosine"),
        11,
        "0 .25 .5 .75 1 1 1 1 .8535533906 .5 .1464466094 0 0",
    ),
    "warmup_stable_decay(decay_type='linear')": (
        WarmupStableDecay(4, warmup=4, shape="linear"),
        11,
        "0 .25 .5 .75 1 1 1 1 .75 .5 .25 0 0",
    ),
    "warmup_stable_decay(decay_type='1-sqrt')": (
        WarmupStableDecay(4, warmup=4, shape="1-sqrt"),
        11,
        "0 .25 .5 .75 1 1 1 1 .5 .2928932188 .1339745962 0 0",
    ),
    "warmup_stable_decay(warmup_type='cosine')": (
        Sequence([Cosine(1.0, start=0.0), WarmupStableDecay(4, shape="linear")], durations=[4, 7]),
        11,
        "0 .1464466094 .5 .8535533906 1 1 1 1 .75 .5 .25 0 0",
    ),
    "warmup_stable_decay(warmup_type='1-sqrt')": (
        Sequence(
            [Polynomial(0.5, start=0.0, end=1.0), WarmupStableDecay(4, shape="cosine")], durations=[4, 7]
        ),
        11,
        "0 .1339745962 .2928932188 .5 1 1 1 1 .8535533906 .5 .1464466094 0 0",
    ),
    "warmup_stable_decay(min_lr_ratio): where the warm-up starts, too": (
        Sequence([Linear(1.0, start=0.1), WarmupStableDecay(4, shape="cosine", end=0.1)], durations=[4, 7]),
        11,
        ".1 .325 .55 .775 1 1 1 1 .8681980515 .55 .2318019485 .1 .1",
    ),
    "warmup_stable_decay(num_cycles=1.5): a wave": (
        Sequence([Linear(1.0, start=0.0), Constant(), Cosine(num_cycles=1.5)], durations=[4, 3, 4]),
        11,
        "0 .25 .5 .75 1 1 1 1 .1464466094 .5 .8535533906 0",
    ),
    "warmup_stable_decay(num_training_steps): stable for the rest": (
        WarmupStableDecay(4, warmup=2, shape="linear"),
        12,
        "0 .5 1 1 1 1 1 1 1 .75 .5 .25 0 0",
    ),
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario(name):
    assert_follows(*SCENARIOS[name])
