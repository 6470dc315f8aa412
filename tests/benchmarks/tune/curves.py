"""Train every task once at every LR of its truth, and write the losses of ten validations to `curves.json`.

    cd tests; python -m benchmarks.tune.curves [part of a task's name ...]

The tasks are those of `finders` and of `long`, the LRs those of their `truth.json`, and the schedule is the
one of `finders/truth.py`. What is in the file already is not trained again, unless it is named.
"""

import argparse
import json
from pathlib import Path

import torch
from benchmarks.finders.held_out import TASKS
from benchmarks.finders.truth import TRUTH as SHORT_TRUTH
from benchmarks.finders.truth import learning_curve
from benchmarks.long.tasks import LONG
from benchmarks.long.truth import TRUTH as LONG_TRUTH
from tqdm import tqdm

__all__ = ["CURVES", "LONG_PREFIX", "VALIDATIONS"]

CURVES = Path(__file__).with_name("curves.json")
VALIDATIONS = 10
# One name is in both sets.
LONG_PREFIX = "long: "


def _text_of(curves: dict[str, dict[str, list[float]]]) -> str:
    """Return the JSON, a line for each run, with as many digits as matter."""
    tasks = []
    for name, losses in curves.items():
        short = {lr: [float(f"{loss:.4g}") for loss in curve] for lr, curve in losses.items()}
        runs = ",\n".join(f"  {json.dumps(lr)}: {json.dumps(curve)}" for lr, curve in short.items())
        tasks.append(f" {json.dumps(name)}: {{\n{runs}\n }}")
    return "{\n" + ",\n".join(tasks) + "\n}\n"


def main() -> None:
    """Measure the tasks named on the command line, or all that are not measured yet."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*")
    names = parser.parse_args().names
    torch.set_num_threads(1)
    curves = json.loads(CURVES.read_text()) if CURVES.exists() else {}
    for prefix, tasks, truth in (("", TASKS, SHORT_TRUTH), (LONG_PREFIX, LONG, LONG_TRUTH)):
        lrs = json.loads(truth.read_text())
        for task in tqdm(tasks, unit=" tasks"):
            key = prefix + task.name
            if any(name in key for name in names) if names else key not in curves:
                curves[key] = {
                    lr: learning_curve(task, float(lr), 0, count=VALIDATIONS) for lr in lrs[task.name]
                }
                CURVES.write_text(_text_of(curves))


if __name__ == "__main__":
    main()
