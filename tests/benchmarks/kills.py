"""Runs that are killed, terminated and interrupted at random moments, and what is left of them.

    cd tests; python -m benchmarks.kills --runs 100 --seed 0

Each run is ended by a signal up to three times, resumed from its last checkpoint, or started over where
there is none, and compared bit for bit with the one that was never interrupted.
"""

import argparse
import random
import signal
import sys
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

from helpers.interrupted import FINDERS, PLACES, Interrupted, Interruption, Job, lines_in, perform
from tqdm import tqdm

__all__ = ["main"]

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
OUTSIDE = "from outside"
# A run takes about as long, in a process that has imported everything.
SECONDS = 0.7
MOST_INTERRUPTIONS = 3


def choose(chance: random.Random, place: str, lines: int) -> Interruption:
    """Return a random signal at a random moment in a place."""
    number = chance.choice(SIGNALS)
    if place == OUTSIDE:
        return Interruption(number, after_s=chance.uniform(0, SECONDS))
    return Interruption(number, place, chance.randint(1, lines))


def main() -> None:
    """Make the runs and print a table, then what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    runs, ended, wrong = Counter(), Counter(), dict[tuple, list[str]]()
    with TemporaryDirectory() as folder:
        root = Path(folder)
        wholes = {finder: Job(root / f"whole {finder}", finder) for finder in FINDERS}
        for whole in wholes.values():
            whole.folder.mkdir()
            if perform(whole):
                sys.exit((whole.folder / "output.txt").read_text())
        lines = {finder: lines_in(whole, *PLACES) for finder, whole in wholes.items()}
        for number in tqdm(range(arguments.runs), unit="run"):
            finder, place = list(FINDERS)[number % 2], [*PLACES, OUTSIDE][number // 2 % (len(PLACES) + 1)]
            run = Interrupted(Job(root / str(number), finder), wholes[finder])
            problems, chosen = [], []
            for _ in range(chance.choices(range(1, MOST_INTERRUPTIONS + 1), (4, 2, 1))[0]):
                chosen.append(choose(chance, place, lines[finder].get(place, 0)))
                problems += run.interrupt(chosen[-1])
                ended[finder, place, signal.Signals(chosen[-1].signal).name] += run.was_ended
            problems += run.finish()
            runs[finder, place] += 1
            for problem in problems:
                wrong.setdefault((finder, place), []).append(f"run {number}, {chosen}: {problem}")
    print("| finder | moment | runs | SIGKILL | SIGTERM | SIGINT | wrong |")
    print("|---|---|---|---|---|---|---|")
    for finder, place in runs:
        counts = [runs[finder, place], *(ended[finder, place, each.name] for each in SIGNALS)]
        cells = [finder, place, *counts, len(wrong.get((finder, place), []))]
        print(f"| {' | '.join(map(str, cells))} |")
    print(f"{sum(runs.values())} runs, {sum(ended.values())} ended before they were done.")
    for problem in [each for found in wrong.values() for each in found]:
        print(problem)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
