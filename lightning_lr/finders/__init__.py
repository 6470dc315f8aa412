"""LRRangeTest and LRSearch, which find the base LR, and what they are made of.

Your own rule is a subclass of `Rule`.
"""

from lightning_lr.finders.range_test.curve import LossCurve
from lightning_lr.finders.range_test.lr_range_test import LRRangeTest
from lightning_lr.finders.range_test.rules import (
    Basin,
    GiveBack,
    MidDescent,
    MinimumOver,
    Rule,
    Steepest,
    Valley,
    read_all,
)
from lightning_lr.finders.search.lr_search import LRSearch
from lightning_lr.finders.suggestion import Abstention, Decision, Suggestion, combine, decision_from_dict
from lightning_lr.finders.trials.trials import Trial, Trials

__all__ = [
    "Abstention",
    "Basin",
    "Decision",
    "GiveBack",
    "LRRangeTest",
    "LRSearch",
    "LossCurve",
    "MidDescent",
    "MinimumOver",
    "Rule",
    "Steepest",
    "Suggestion",
    "Trial",
    "Trials",
    "Valley",
    "combine",
    "decision_from_dict",
    "read_all",
]
