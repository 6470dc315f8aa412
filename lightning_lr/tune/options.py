"""The command line of `python -m lightning_lr.tune`."""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

__all__ = ["join_options", "parse"]

_USAGE = """%(prog)s [OPTIONS] SCRIPT.py ARGUMENTS...
       %(prog)s [OPTIONS] --config RUN.YAML OVERRIDES...
       %(prog)s [OPTIONS] torchrun --standalone --nproc_per_node=2 SCRIPT.py ARGUMENTS..."""


def parse(
    arguments: Sequence[str], *, description: str
) -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    """Read the command line, or end the program saying what is wrong with it.

    Only what stands before the command is ours: the command may have options of the same names.

    Returns:
        The parser, for messages, and the options, with the command as `command`.
    """
    parser, takes_value = _parser(description)
    index = 0
    while index < len(arguments):
        name, has_value, _ = arguments[index].partition("=")
        if name not in takes_value:
            break
        index += 2 if takes_value[name] and not has_value else 1
    options = parser.parse_args(arguments[:index])
    options.command = list(arguments[index:])
    problem = _problem(options)
    if problem is not None:
        parser.error(problem)
    if options.monitor is not None and options.mode is None:
        options.mode = "min"
    if options.study is None:
        options.study = f"{_name_of(options.command)}-lr"
    if options.storage is None:
        options.storage = f"sqlite:///{options.logs / 'tune.db'}"
    return parser, options


def join_options(options: argparse.Namespace, **changes: object) -> list[str]:
    """Return the options that join the same study, for a command that is shown."""
    shown = {name: getattr(options, name) for name in ("trials", "study", "storage", "logs")} | changes
    return [part for name, value in shown.items() for part in (f"--{name}", str(value))]


def _parser(description: str) -> tuple[argparse.ArgumentParser, dict[str, bool]]:
    """Return the parser of our options, and of each whether a value follows it."""
    parser = argparse.ArgumentParser(
        prog="python -m lightning_lr.tune",
        usage=_USAGE,
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    prunes = "end a run early that is in the worst quarter after a third of its steps (yes; no for gp)"
    actions = [
        add("--trials", type=_count, default=15, help="runs that the study finishes, by all workers (15)"),
        add("--low", type=_positive, help="lowest LR (64x below the one that LRRangeTest finds)"),
        add("--high", type=_positive, help="highest LR (64x above it)"),
        add("--monitor", help="what LRs are judged by (the validation loss, or loss/train without one)"),
        add("--mode", choices=["min", "max"], help="which values are better; needed if it is no loss"),
        add("--epochs", type=_count, help="train for as many, instead of the Trainer's max_epochs"),
        add("--seed", type=_seed, help="of scripts that do not seed themselves (0)"),
        add("--sampler", choices=["coarse-to-fine", "tpe", "gp"], help="proposes LRs (coarse-to-fine)"),
        add("--prune", action=argparse.BooleanOptionalAction, help=prunes),
        add("--workers", type=_count, default=1, help="runs at a time here (1); they share its GPUs"),
        add("--study", help="workers of one name share their trials (the name of the script)"),
        add("--storage", help="URL of a database, or a FILE.journal (an SQLite file in --logs)"),
        add("--logs", type=Path, default=Path("lightning_logs"), help="where results go (lightning_logs)"),
        add("--heartbeat", type=_positive, help="seconds; a worker silent for two of them is dead (60)"),
        add("--apply", type=Path, metavar="CONFIG.YAML", help="copy this config with the best LR in it"),
        add("--lr", type=_positive, help="no trials: train once with this LR, put in as in a trial"),
    ]
    return parser, {name: action.nargs != 0 for action in actions for name in action.option_strings} | {
        "-h": False,
        "--help": False,
    }


def _problem(options: argparse.Namespace) -> str | None:
    """Return what is wrong with the options together."""
    if not options.command:
        return "Give the script that trains with its arguments, or `--config RUN.YAML`."
    low, high = options.low or 0, options.high or math.inf
    if not low < high:
        return f"--low must be below --high, got {low:g} and {high:g}."
    if options.monitor is not None and options.mode is None and "loss" not in options.monitor:
        return f"Give --mode min or --mode max, for --monitor {options.monitor} may be better either way."
    if options.apply is not None and not options.apply.is_file():
        return f"There is no file `{options.apply}` for --apply."
    return None


def _count(text: str) -> int:
    if (count := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {text}.")
    return count


def _seed(text: str) -> int:
    if not 0 <= (seed := int(text)) < 2**32:
        raise argparse.ArgumentTypeError(f"must be in [0, 2**32 - 1], got {text}.")
    return seed


def _positive(text: str) -> float:
    if not 0 < (value := float(text)) < math.inf:
        raise argparse.ArgumentTypeError(f"must be in (0, inf), got {text}.")
    return value


def _name_of(command: Sequence[str]) -> str:
    """Return the name of the script or config in a command.

    Example:
        >>> _name_of(["torchrun", "--nproc_per_node=2", "examples/digits.py", "fit", "--config", "run.yaml"])
        'digits'
    """
    for suffixes in ((".py",), (".yaml", ".yml")):
        for part in command:
            path = Path(part.rpartition("=")[2])
            if path.suffix in suffixes:
                return path.stem
    return Path(command[-1] if command[0] == "-m" else command[0]).stem.lstrip("-") or "run"
