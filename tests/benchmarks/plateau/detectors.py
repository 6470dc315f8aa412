"""Compare plateau detectors on simulated curves of which the truth is known.

    cd tests; python -m benchmarks.plateau.detectors [--runs 300] [--families main spikes ...] [--jobs 2]

For every setting and detector: the share of runs with a false alarm, which is a first plateau while the true
loss still improves by 2 % per 10 validations; and the median delay of the first plateau after the true one
began (a run without an alarm counts as an infinite one). For the slope test also the shares of runs that are
called overfitting or diverging at any time, the whole run through.
"""

import argparse
import math
import statistics
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
from benchmarks.plateau.curves import FAMILIES, Curve, Setting, draw
from tqdm import tqdm
from typing_extensions import override

from lightning_lr.plateau import Detector, Mode, Observation, Patience, SlopeTest, State, Verdict

__all__ = ["DETECTORS", "Outcome", "Row", "measure", "report"]

OURS = "SlopeTest"


@dataclass(frozen=True)
class NaiveSlope(Detector):
    """A plateau is where least squares over a fixed window see no significant fall (two standard errors)."""

    window: int = 10

    @override
    def begin(self) -> State:
        return {"values": []}

    @override
    def check_state(self, state: State) -> None:
        raise NotImplementedError("never loaded")

    @override
    def judge(self, state: State, observation: Observation, *, mode: Mode) -> tuple[State, Verdict]:
        values = [*state["values"], math.log(observation.value)][-self.window :]
        slope = error = math.nan
        if len(values) == self.window:
            times = np.arange(self.window) - (self.window - 1) / 2
            slope = float(times @ values / (times @ times))
            residuals = np.array(values) - np.mean(values) - slope * times
            error = math.sqrt(residuals @ residuals / (self.window - 2) / (times @ times))
        flat = "plateau" if slope > -2 * error else "improving"
        return {"values": values}, Verdict(flat, -slope, math.nan, math.nan, math.nan, self.window, "")

    @override
    def after_change(self, state: State) -> State:
        return self.begin()


DETECTORS: dict[str, Detector] = {
    OURS: SlopeTest(),
    # The tests hold `Patience` to torch's own class.
    "torch 10": Patience(10),
    "torch 20": Patience(20),
    # Keras' ReduceLROnPlateau(patience=10): an absolute min_delta, and it acts at the tenth bad value.
    "Keras 10": Patience(9, threshold=1e-4, threshold_mode="abs"),
    "naive slope": NaiveSlope(),
}


@dataclass(frozen=True)
class Outcome:
    """What one detector made of one run.

    Args:
        false_alarm: Whether its first plateau was none.
        delay: From the true plateau to its first one; infinite where there is none, NaN where either is moot.
        called: The states it saw.
    """

    false_alarm: bool
    delay: float
    called: frozenset[str]


@dataclass(frozen=True)
class Row:
    """One detector's figures for one setting: shares of runs, and a median in validations."""

    false_alarms: float
    delay: float
    overfitting: float
    diverging: float


def judge(detector: Detector, curve: Curve, *, whole: bool) -> Outcome:
    """Run one detector over one curve, up to its first plateau or to the end."""
    state, first, called = detector.begin(), None, set()
    for step, (value, training_loss) in enumerate(zip(curve.values, curve.training_losses, strict=True)):
        state, verdict = detector.judge(state, Observation(value, training_loss), mode="min")
        called.add(verdict.state)
        if verdict.state == "plateau" and first is None:
            first = step
            if not whole:
                break
    false_alarm = first is not None and bool(curve.improving[first])
    ends = curve.begin < len(curve.values)
    delay = math.nan if false_alarm or not ends else math.inf if first is None else first - curve.begin
    return Outcome(false_alarm, delay, frozenset(called))


def measure(setting: Setting, runs: int, detectors: dict[str, Detector] = DETECTORS) -> dict[str, Row]:
    """Run the detectors over the same runs of one setting."""
    outcomes: dict[str, list[Outcome]] = {name: [] for name in detectors}
    for seed in range(runs):
        curve = draw(setting, seed)
        for name, detector in detectors.items():
            outcomes[name].append(judge(detector, curve, whole=name == OURS))
    return {name: _row(each) for name, each in outcomes.items()}


def _row(outcomes: Sequence[Outcome]) -> Row:
    delays = [outcome.delay for outcome in outcomes if not math.isnan(outcome.delay)]
    return Row(
        false_alarms=statistics.fmean(outcome.false_alarm for outcome in outcomes),
        delay=statistics.median(delays) if delays else math.nan,
        overfitting=statistics.fmean("overfitting" in outcome.called for outcome in outcomes),
        diverging=statistics.fmean("diverging" in outcome.called for outcome in outcomes),
    )


def report(tables: dict[str, dict[str, dict[str, Row]]]) -> Iterator[str]:
    """Yield the lines of the tables: family, setting, detector."""
    for family, settings in tables.items():
        names = list(next(iter(settings.values())))
        titles = "".join(f"{name:>15s}" for name in names)
        yield f"\n{family + ': false alarms, delay':46s}{titles}   overfitting diverging"
        for setting, rows in settings.items():
            cells = "".join(f"{_cell(rows[name]):>15s}" for name in names)
            yield f"{setting:46s}{cells}{rows[OURS].overfitting:14.1%}{rows[OURS].diverging:10.1%}"
        worst = [max(rows[name].false_alarms for rows in settings.values()) for name in names]
        yield f"{'worst':46s}" + "".join(f"{each:.1%}      ".rjust(15) for each in worst)


def _cell(row: Row) -> str:
    delay = "" if math.isnan(row.delay) else "never" if math.isinf(row.delay) else f"{row.delay:.0f}"
    return f"{row.false_alarms:.1%} {delay:>5s}"


def _measure_again(family: str, index: int, runs: int) -> dict[str, Row]:
    """Look the setting up where it is measured: its functions cannot be sent to another process."""
    return measure(FAMILIES[family][index], runs)


def main(families: Sequence[str], *, runs: int, jobs: int | None) -> None:
    """Measure the families and print their tables."""
    work = [(family, index) for family in families for index in range(len(FAMILIES[family]))]
    tables: dict[str, dict[str, dict[str, Row]]] = {}
    with ProcessPoolExecutor(jobs) as pool:
        measured = pool.map(_measure_again, *zip(*work, strict=True), [runs] * len(work))
        for (family, index), rows in zip(
            work, tqdm(measured, total=len(work), unit=" settings"), strict=True
        ):
            tables.setdefault(family, {})[FAMILIES[family][index].name] = rows
    print("\n".join(report(tables)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=300, help="runs of each setting (default: 300)")
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--jobs", type=int, help="processes (default: one for each core)")
    arguments = parser.parse_args()
    main(arguments.families, runs=arguments.runs, jobs=arguments.jobs)
