"""What moves the LR in the plateau benchmark: schedules, the rules of other libraries, and ours."""

import copy
import math
from collections.abc import Callable

import numpy as np
import torch
from benchmarks.plateau.training import Method, Training
from scipy import stats
from torch.optim.lr_scheduler import ReduceLROnPlateau
from typing_extensions import override

from lightning_lr.plateau import Detector, Observation, Patience, Progress, SlopeTest, Verdict

__all__ = ["BASELINE", "METHODS", "OURS", "Judged"]

# The last share of a run over which its LR falls to 0, where a method does that.
LAST = 0.2


class LinearDecay(Method):
    """What the others are measured by."""

    @override
    def before_step(self, training: Training) -> None:
        training.lr = training.task.lr * (1 - training.step / training.total)


class Cooled(Method):
    """WSD without a detector: constant, and linear to 0 over the last fifth."""

    @override
    def before_step(self, training: Training) -> None:
        training.lr = training.task.lr * min(1.0, (1 - training.step / training.total) / LAST)


class TorchPlateau(Method):
    """torch's ReduceLROnPlateau with its defaults: factor 0.1."""

    def __init__(self, patience: int) -> None:
        self.patience = patience
        self.scheduler: ReduceLROnPlateau | None = None

    @override
    def after_validation(self, training: Training, value: float, training_loss: float) -> None:
        if self.scheduler is None:
            self.scheduler = ReduceLROnPlateau(training.optimizer, patience=self.patience)
        before = training.lr
        self.scheduler.step(value)
        if training.lr < before:
            training.act()


class KerasPlateau(Method):
    """`keras.callbacks.ReduceLROnPlateau()` with its defaults: factor 0.1, patience 10, min_delta 1e-4."""

    def __init__(self) -> None:
        self.best, self.wait = math.inf, 0

    @override
    def after_validation(self, training: Training, value: float, training_loss: float) -> None:
        if value < self.best - 1e-4:
            self.best, self.wait = value, 0
            return
        self.wait += 1
        if self.wait >= 10:
            training.lr *= 0.1
            self.wait = 0
            training.act()


class Stationarity(Method):
    """SASA+: the LR is halved where the mean change of the squared weights may be 0.

    For any optimizer with direction d, `<x, d> - lr / 2 |d|^2 = (|x|^2 - |x'|^2) / (2 lr)` has mean 0 once
    the weights are stationary. Tested as in the authors' code: over the last quarter of the steps since the
    last change, with batch means and a significance of 2 %. These runs are short, so it is tested at every
    validation and from 100 values on (there: every 100 steps and from 400).

    Source: Zhang and others (2020), arXiv 2002.10597.
    """

    def __init__(self) -> None:
        self.norms: list[float] = []

    @override
    def after_step(self, training: Training, loss: float) -> None:
        with torch.no_grad():
            self.norms.append(sum(float(each.square().sum()) for each in training.model.parameters()))

    @override
    def after_validation(self, training: Training, value: float, training_loss: float) -> None:
        changes = np.diff(self.norms)
        changes = changes[-len(changes) // 4 :]
        if len(changes) < 100 or not np.isfinite(changes).all():
            return
        batches = math.isqrt(len(changes))
        length = len(changes) // batches
        means = changes[len(changes) - batches * length :].reshape(batches, length).mean(1)
        radius = stats.t.ppf(0.99, batches - 1) * means.std(ddof=1) / math.sqrt(batches)
        if abs(means.mean()) <= radius:
            training.lr *= 0.5
            self.norms = []
            training.act()


class Judged(Method):
    """What PlateauDetector does with its actions.

    Args:
        detector: Judges the validations.
        goes_back: Whether overfitting and divergence go back to the best weights.
        ends: Whether the LR falls to 0 with the end of the run, as `ReduceLR` lets it.
        cools: Whether a verdict starts the cooldown of WSD, linear and up to the end of the run, instead of
            multiplying the LR by 0.3.
    """

    def __init__(
        self, detector: Detector, *, goes_back: bool = True, ends: bool = True, cools: bool = False
    ) -> None:
        self.detector, self.state = detector, detector.begin()
        self.goes_back, self.ends, self.cools = goes_back, ends, cools
        self.best, self.kept = math.inf, None
        self.cooling: tuple[float, float] | None = None
        self.seen: Verdict | None = None

    @override
    def before_step(self, training: Training) -> None:
        left = 1 - training.step / training.total
        if self.cools and self.cooling is None and left <= LAST:
            self.cooling = left, training.lr
        if self.cooling is not None:
            training.lr = self.cooling[1] * left / self.cooling[0]

    @override
    def after_validation(self, training: Training, value: float, training_loss: float) -> None:
        total, done = training.task.validations, len(training.run.values)
        if value < self.best:
            states = training.model.state_dict(), training.optimizer.state_dict()
            self.best, self.kept = value, copy.deepcopy(states)
        left, is_ending = total - done, False
        if self.ends and not self.cools and left < LAST * total:
            is_ending = True
            training.lr *= left / (left + 1)
        self.state, verdict = self.detector.judge(
            self.state, Observation(value, training_loss, total), mode="min"
        )
        self.seen = verdict
        is_worse = verdict.state in ("overfitting", "diverging")
        if not is_worse and verdict.state != "plateau":
            return
        acts = self._go_back(training) if is_worse and self.goes_back else False
        if self.cools:
            if self.cooling is None:
                acts, self.cooling = True, (1 - training.step / training.total, training.lr)
        elif is_worse or not is_ending:
            acts = True
            training.lr *= 0.3
        if acts:
            training.act()
            self.state = self.detector.after_change(self.state)

    def _go_back(self, training: Training) -> bool:
        if self.kept is None:
            return False
        lr = training.lr
        weights, states = copy.deepcopy(self.kept)
        training.model.load_state_dict(weights)
        training.optimizer.load_state_dict(states)
        training.lr = lr
        return True


class Escaping(Judged):
    """The same, but the first plateau raises the LR, as `Escape()` does; the later ones lower it."""

    def __init__(
        self, detector: Detector, *, factor: float = 3.0, duration: int = 2, patience: int = 10
    ) -> None:
        super().__init__(detector)
        self.factor, self.duration, self.patience = factor, duration, patience
        # Validations left, what to be better than, and the weights before.
        self.left, self.target, self.before = 0, math.inf, None
        self.tried = False

    @override
    def after_validation(self, training: Training, value: float, training_loss: float) -> None:
        if self.left:
            self._watch(training, value)
        lr = training.lr
        super().after_validation(training, value, training_loss)
        is_plateau = self.seen is not None and self.seen.state == "plateau"
        if is_plateau and not self.tried and training.lr < lr:
            self.tried, self.left, self.target = True, self.patience, self.best
            states = training.model.state_dict(), training.optimizer.state_dict()
            self.before = copy.deepcopy(states)
            training.lr = lr * self.factor

    def _watch(self, training: Training, value: float) -> None:
        self.left -= 1
        better = value < self.target
        if self.patience - self.left == self.duration or (
            better and self.patience - self.left < self.duration
        ):
            training.lr /= self.factor
        if better or not self.left:
            if not better and self.before is not None:
                lr = training.lr
                weights, states = self.before
                training.model.load_state_dict(weights)
                training.optimizer.load_state_dict(states)
                training.lr = lr
            self.left = 0
            self.state = self.detector.after_change(self.state)


BASELINE, OURS = "linear decay", "PlateauDetector()"
METHODS: dict[str, Callable[[], Method]] = {
    BASELINE: LinearDecay,
    "constant LR": Method,
    "WSD, no detector": Cooled,
    "ReduceLROnPlateau(5)": lambda: TorchPlateau(5),
    "ReduceLROnPlateau(10)": lambda: TorchPlateau(10),
    "ReduceLROnPlateau(20)": lambda: TorchPlateau(20),
    "Keras' ReduceLROnPlateau()": KerasPlateau,
    "SASA+ on training steps": Stationarity,
    "SlopeTest(), as up to 0.1": lambda: Judged(SlopeTest(), ends=False),
    "Patience(10)": lambda: Judged(Patience(10)),
    OURS: lambda: Judged(Progress()),
    "without RestoreBest": lambda: Judged(Progress(), goes_back=False),
    "without the end of the run": lambda: Judged(Progress(), ends=False),
    "Escape() on the first plateau": lambda: Escaping(Progress()),
    "StartCooldown on WSD": lambda: Judged(Progress(), cools=True),
}
