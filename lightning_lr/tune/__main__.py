"""Find the best LR over whole runs, by the command that trains.

Put `-m lightning_lr.tune` between `python` and it:

    python -m lightning_lr.tune --trials 15 train.py fit --config run.yaml

The command is run once per trial, each time with another base LR put in at fit start and nothing else
changed, up to the end of its first `Trainer.fit`. The same command in another terminal, or on another machine
with --storage, joins the study.
"""

import argparse
import os
import sys
import warnings
from collections.abc import Sequence

from lightning_lr.fit.lightnings import MisconfigurationException
from lightning_lr.tune import NO_OPTUNA
from lightning_lr.tune.options import parse
from lightning_lr.tune.trial.spec import Spec


def main(arguments: Sequence[str] | None = None) -> None:
    """Tune the LR of the run that the arguments would start."""
    given = sys.argv[1:] if arguments is None else arguments
    parser, options = parse(given, description=__doc__ or "")
    try:
        import optuna  # noqa: PLC0415 (it is an extra)
    except ModuleNotFoundError:
        parser.exit(1, f"{NO_OPTUNA}\n")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    try:
        if options.lr is not None:
            _train(options)
        code = _tune(options)
    except MisconfigurationException as error:
        parser.exit(1, f"{parser.prog}: {error}\n")
    sys.exit(code)


def _train(options: argparse.Namespace) -> None:
    """Become the command, with the LR put in."""
    from lightning_lr.tune.workers.process import command_line, environment  # noqa: PLC0415 (with Optuna)

    command = command_line(options.command)
    spec = Spec(task="train", lr=options.lr, epochs=options.epochs)
    sys.stdout.flush()
    os.execve(command[0], command, environment(spec))


def _tune(options: argparse.Namespace) -> int:
    from lightning_lr.tune.workers import begin, session  # noqa: PLC0415 (with Optuna)

    study, settings = begin.join_or_create(options)
    return session.work(study, settings, options)


if __name__ == "__main__":
    main()
