"""How the tests of plateau detectors run them over a course of validations, and read what they said."""

import math

import numpy as np

from lightning_lr.plateau import Observation

LETTERS = {"improving": "i", "plateau": "P", "overfitting": "O", "diverging": "D", "undecided": "."}


def verdicts(detector, values, *, training_losses=None, mode="min", act=False):
    """Judge a run; with `act`, each plateau is followed by a change of the learning rate."""
    state, found = detector.begin(), []
    for value, training_loss in zip(values, training_losses or [math.nan] * len(values), strict=True):
        state, verdict = detector.judge(state, Observation(value, training_loss), mode=mode)
        found.append(verdict)
        if act and verdict.state == "plateau":
            state = detector.after_change(state)
    return found


def timeline(*arguments, **options):
    """Return one letter for each verdict."""
    return "".join(LETTERS[verdict.state] for verdict in verdicts(*arguments, **options))


def noisy_run(seed=0, *, count=70, rate=0.01, begin=35, sd=0.003, base=1.0):
    """Return values that fall by `rate` per validation up to `begin`, and are flat from there on."""
    noise = sd * np.random.default_rng(seed).standard_normal(count)
    return (base * np.exp(-rate * np.minimum(np.arange(count), begin) + noise)).tolist()
