"""Fits with a schedule of every kind, for a PlateauDetector to judge."""

from torch.optim import SGD, AdamW
from torch.optim import lr_scheduler as schedulers

from helpers.scripted import Stalling, Verdicts
from helpers.toy import fit
from lightning_lr import PlateauDetector


def sgd(parameters):
    return SGD(parameters, lr=0.1, momentum=0.9)


def two_groups(parameters):
    weight, bias = parameters
    return AdamW([{"params": [weight]}, {"params": [bias], "lr": 0.02}], lr=0.1)


def scheduled(make, interval="step"):
    def make_optimizer(parameters):
        optimizer = sgd(parameters)
        scheduler = {"scheduler": make(optimizer), "interval": interval, "monitor": "val_loss"}
        return {"optimizer": optimizer, "lr_scheduler": scheduler}

    return make_optimizer


def warm_then_cosine(optimizer):
    parts = [schedulers.LinearLR(optimizer, 0.1, total_iters=7), schedulers.CosineAnnealingLR(optimizer, 20)]
    return schedulers.SequentialLR(optimizer, parts, [7])


def chained(optimizer):
    parts = [schedulers.StepLR(optimizer, 6), schedulers.ExponentialLR(optimizer, 0.95)]
    return schedulers.ChainedScheduler(parts)


STEPS = 28
SCHEDULERS = {
    "LambdaLR": lambda o: schedulers.LambdaLR(o, lambda step: 1 / (1 + step)),
    "StepLR": lambda o: schedulers.StepLR(o, 9, 0.5),
    "MultiStepLR": lambda o: schedulers.MultiStepLR(o, [5, 17], 0.5),
    "ExponentialLR": lambda o: schedulers.ExponentialLR(o, 0.9),
    "CosineAnnealingLR": lambda o: schedulers.CosineAnnealingLR(o, STEPS),
    "CosineAnnealingWarmRestarts": lambda o: schedulers.CosineAnnealingWarmRestarts(o, 6),
    "OneCycleLR": lambda o: schedulers.OneCycleLR(o, 0.2, STEPS),
    "CyclicLR": lambda o: schedulers.CyclicLR(o, 0.01, 0.2, 5),
    "SequentialLR": warm_then_cosine,
    "ChainedScheduler": chained,
    "PolynomialLR": lambda o: schedulers.PolynomialLR(o, STEPS),
}


def judged(*callbacks, module=None, judge=None, **options):
    judge = judge or PlateauDetector(detector=Verdicts("i"), on_plateau=[])
    settings = {"max_epochs": 4} | options
    module = module or Stalling(sgd, batches=4)
    return judge, fit(module, *callbacks, judge, **settings)


def values_of(judge):
    return [record.value for record in judge.records]


def exact(values):
    """Return records or verdicts as a text of all their digits, in which NaN equals NaN."""
    return repr([value.to_dict() for value in values])
