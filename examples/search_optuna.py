"""Tune the base LR of the digits example over complete fits, with as many workers as you like.

`python examples/search_optuna.py` starts a study, or joins the one that is there: workers that name the same
storage and study share its trials, whether they run in two terminals or on two machines. SQLite is enough on
one machine; for several, `--storage` takes the URL of a database server.
"""

import argparse
import contextlib
import logging
import math
import os
import shlex
import socket
import sys
import time
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import torch
from digits import DigitsClassifier, DigitsData, describe
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.loggers import TensorBoardLogger
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.engine import make_url
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from torch.optim import AdamW
from tqdm import tqdm
from typing_extensions import override

from lightning_lr import LRDecay, LRLogger, LRRangeTest
from lightning_lr.finders import Suggestion
from lightning_lr.policies import Linear

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


class SurplusTrial(Exception):  # noqa: N818 (it is a decision, no error)
    """Two workers have asked for the last trial at once, and this one was second."""


class Report(Callback):
    """Report every validation loss to a trial, and end the fit where it is hopeless.

    Own code, since `optuna_integration.PyTorchLightningPruningCallback` counts epochs where a run may
    validate several times in one, and lets a trial whose loss is NaN run on while the pruner warms up.

    Args:
        trial: The trial.
        bar: Shows where the fit is.
    """

    def __init__(self, trial: Trial, bar: "tqdm[Any]") -> None:
        self.trial = trial
        self.bar = bar
        self.losses: list[float] = []

    @override
    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Log the loss, which the module only returns. One that logs its own needs no such hook."""
        pl_module.log("val_loss", outputs, logger=False, sync_dist=True)

    @override
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report the loss.

        Raises:
            optuna.TrialPruned: It is not finite, or worse than the pruner allows after as many validations.
        """
        if trainer.sanity_checking:
            return
        loss = trainer.callback_metrics["val_loss"].item()
        self.trial.report(loss, step=len(self.losses))
        self.losses.append(loss)
        self.bar.set_postfix_str(
            f"trial {self.trial.number}: LR {self.trial.params['lr']:.3g},"
            f" epoch {trainer.current_epoch + 1}/{trainer.max_epochs}, val_loss {loss:.3g}"
        )
        if not math.isfinite(loss):
            self.trial.set_user_attr("diverged", True)
            raise optuna.TrialPruned(f"The validation loss is {loss}.")
        if self.trial.should_prune():
            raise optuna.TrialPruned(f"The validation loss {loss:.3g} is above the median.")


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Tune the base LR of the digits example with Optuna.")
    add = parser.add_argument
    add("--trials", type=int, default=20, help="fits in the study, all workers together (20)")
    add("--epochs", type=int, default=10, help="length of a fit (10)")
    add("--low", type=float, default=1e-5, help="lowest LR (1e-5)")
    add("--high", type=float, default=1.0, help="highest LR (1)")
    add("--seed", type=int, default=0, help="of every fit, so that trials differ by their LR alone (0)")
    add("--storage", help="URL of a database (an SQLite file in the folder of --logs)")
    add("--study-name", default="digits-lr", help="workers of one name share their trials (digits-lr)")
    add("--logs", type=Path, default=Path("logs"), help="folder of the curves (logs)")
    add("--heartbeat", type=int, default=60, help="seconds; silent for twice as long is dead (60)")
    options = parser.parse_args()
    for name in ("trials", "epochs", "heartbeat"):
        if getattr(options, name) < 1:
            parser.error(f"--{name} must be at least 1, got {getattr(options, name)}.")
    if not 0 < options.low < options.high < math.inf:
        parser.error(f"--low must be above 0 and below --high, got {options.low:g} and {options.high:g}.")
    if not 0 <= options.seed < 2**32:
        parser.error(f"--seed must be in [0, 2**32 - 1], got {options.seed}.")
    if options.storage is None:
        options.logs.mkdir(parents=True, exist_ok=True)
        options.storage = f"sqlite:///{options.logs / 'search_optuna.db'}"
    return options


def open_storage(url: str, heartbeat: int) -> RDBStorage:
    """Open the database, or end the program saying what to do.

    Args:
        url: Where it is.
        heartbeat: Seconds between two signs of life of a worker.
    """
    try:
        return connect(url, heartbeat)
    except (SQLAlchemyError, optuna.exceptions.OptunaError, ImportError, RuntimeError, ValueError) as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        sys.exit(
            f"The storage {without_password(url)} cannot be opened: {reason}\n"
            "--storage takes an SQLAlchemy URL: sqlite:///FOLDER/FILE.db (the folder must exist),"
            " mysql+pymysql://USER:PASSWORD@HOST/DATABASE or postgresql+psycopg://USER:PASSWORD@HOST/DATABASE."
            " For these the server must be up, the database exist and the driver be installed"
            " (pip install pymysql, pip install psycopg[binary])."
        )


def connect(url: str, heartbeat: int, *, attempts: int = 5) -> RDBStorage:
    """Connect to the database, and make its tables if it has none."""
    # SQLite has one writer at a time: let the others wait for longer than the default of 5 seconds.
    sqlite = make_url(url).get_backend_name() == "sqlite"
    try:
        return RDBStorage(
            url,
            engine_kwargs={"connect_args": {"timeout": 60}} if sqlite else None,
            heartbeat_interval=heartbeat,
            heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(max_retry=2),
        )
    except SQLAlchemyError as error:
        made_by_another = isinstance(error, IntegrityError) or "already exists" in str(error)
        if attempts == 1 or not made_by_another:
            raise
    time.sleep(1)  # Another worker is making the tables at this very moment.
    return connect(url, heartbeat, attempts=attempts - 1)


def open_study(options: argparse.Namespace, storage: RDBStorage) -> Study:
    """Join the study, or create it with the LR that LRRangeTest finds as its first trial.

    The worker that creates the study samples from `--seed`; those that join are seeded by the operating
    system, so that no two propose the same LRs.
    """
    # It keeps clear of the LRs that other workers are trying. Unlike a GPSampler, it learns from pruned
    # trials, without which it would propose LRs that diverge again and again.
    sampler = partial(optuna.samplers.TPESampler, n_startup_trials=5, constant_liar=True)
    # High LRs look bad until they have decayed.
    pruner = optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=options.epochs // 3)
    name = options.study_name
    settings = {key: getattr(options, key) for key in ("epochs", "low", "high", "seed")}
    if name not in optuna.get_all_study_names(storage):
        first = first_trial(options)
        # Of several workers that come this far, the storage lets one create the study.
        with contextlib.suppress(optuna.exceptions.DuplicatedStudyError):
            study = optuna.create_study(
                study_name=name, storage=storage, sampler=sampler(seed=options.seed), pruner=pruner
            )
            if first is not None:
                study.enqueue_trial({"lr": first.lr}, user_attrs={"rule": first.rule})
            study.set_user_attr("settings", settings)
            return study
    study = optuna.load_study(study_name=name, storage=storage, sampler=sampler(), pruner=pruner)
    check_settings(study, settings)
    return study


def first_trial(options: argparse.Namespace) -> Suggestion | None:
    """Return the LR that LRRangeTest finds for the weights of every fit, if it is between the bounds."""
    seed_everything(options.seed, verbose=False)
    test = LRRangeTest(apply=False, stop_after=True)
    trainer = Trainer(
        max_epochs=1,
        devices=1,
        callbacks=[test],
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
    )
    trainer.fit(DigitsClassifier(), DigitsData())
    print(describe(test.suggestion))
    if not isinstance(test.suggestion, Suggestion):
        return None
    if options.low <= test.suggestion.lr <= options.high:
        return test.suggestion
    print(f"It is not tried, since it is not between --low {options.low:g} and --high {options.high:g}.")
    return None


def check_settings(study: Study, settings: dict[str, float]) -> None:
    """End the program if this worker's fits could not be compared with those of the study."""
    deadline = time.monotonic() + 10
    while "settings" not in study.user_attrs:
        # The worker that creates the study writes them right after.
        if time.monotonic() > deadline:
            sys.exit(
                f"The study {study.study_name} is not of this example, or was interrupted when it was"
                " created: choose another --study-name."
            )
        time.sleep(0.1)
    found = study.user_attrs["settings"]
    if found != settings:
        theirs = " ".join(f"--{key} {found[key]}" for key in settings if found.get(key) != settings[key])
        sys.exit(
            f"The study {study.study_name} was created with {theirs}: its trials could not be compared with"
            " this worker's. Give the same options, or another --study-name."
        )


def fit(trial: Trial, *, options: argparse.Namespace, bar: "tqdm[Any]") -> float:
    """Train with the LR that the trial proposes.

    Returns:
        The validation loss at the end of the fit.

    Raises:
        SurplusTrial: Other workers have taken all trials meanwhile.
        optuna.TrialPruned: The LR is hopeless.
    """
    if is_surplus(trial.number, trial.study.get_trials(deepcopy=False), options.trials):
        raise SurplusTrial
    lr = trial.suggest_float("lr", options.low, options.high, log=True)
    trial.set_user_attr("worker", f"{socket.gethostname()}:{os.getpid()}")
    seed_everything(options.seed, verbose=False)
    report = Report(trial, bar)
    trainer = Trainer(
        max_epochs=options.epochs,
        devices=1,
        callbacks=[LRDecay(Linear(), interval="step", warmup=0.05), LRLogger(), report],
        logger=TensorBoardLogger(options.logs, name=options.study_name, version=f"trial_{trial.number}"),
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
    )
    module = DigitsClassifier(optimizer=partial(AdamW, lr=lr, weight_decay=0.01))
    try:
        trainer.fit(module, DigitsData())
    except optuna.exceptions.UpdateFinishedTrialError:
        # Not an exception that `Study.optimize` would try to write into the trial.
        sys.exit(
            f"Trial {trial.number} was given to another worker, because nothing was heard of this one for"
            f" {2 * options.heartbeat} s. Start the same command again to go on, with a longer --heartbeat"
            " if the machine was only busy."
        )
    return report.losses[-1]


def is_surplus(number: int, trials: list[FrozenTrial], limit: int) -> bool:
    """Whether a trial is one too many, which several workers decide alike without talking.

    A trial counts until it fails, and the storage numbers trials in the order in which they were made, so
    a trial's place can only get better: no more than `limit` ever finish.
    """
    earlier = [each for each in trials if each.number < number and each.state != TrialState.FAIL]
    return len(earlier) >= limit


def work(study: Study, options: argparse.Namespace, bar: "tqdm[Any]") -> None:
    """Run trials until the study has as many finished ones as were asked for.

    Optuna's `MaxTrialsCallback` would let every worker finish one more. Where others are at the last
    trials, wait for them: a worker may die, and its trial is then for this one to repeat.
    """
    objective = partial(fit, options=options, bar=bar)
    while True:
        optuna.storages.fail_stale_trials(study)
        states = [trial.state for trial in study.get_trials(deepcopy=False)]
        finished = sum(state in FINISHED for state in states)
        running = states.count(TrialState.RUNNING)
        bar.n = min(finished, options.trials)
        bar.refresh()
        if finished >= options.trials:
            return
        if finished + running < options.trials:
            study.optimize(objective, n_trials=1, catch=(SurplusTrial,))
        else:
            bar.set_postfix_str(f"waiting for {running} on other workers")
            time.sleep(1)


def summarize(study: Study) -> str:
    """Say what came out."""
    trials = study.get_trials(deepcopy=False, states=FINISHED)
    pruned = sum(trial.state == TrialState.PRUNED for trial in trials)
    diverged = sum("diverged" in trial.user_attrs for trial in trials)
    counts = f"{len(trials)} trials, {pruned} of them pruned ({diverged} diverged)"
    if pruned == len(trials):
        return f"No best LR: {counts}. Lower --high, with another --study-name."
    best = study.best_trial
    lr, loss = best.params["lr"], best.value
    lines = [f"Best LR: {lr:.3g}, validation loss {loss:.4g} (trial {best.number}; {counts})"]
    for trial in trials:
        if "rule" in trial.user_attrs:
            complete = trial.state == TrialState.COMPLETE
            outcome = f"validation loss {trial.value:.4g}" if complete else "pruned"
            lines.append(f"LRRangeTest's LR: {trial.params['lr']:.3g}, {outcome}")
    return "\n".join(lines)


def command(options: argparse.Namespace, *, trials: int) -> str:
    """Return the command line that joins the study."""
    shown = vars(options) | {"trials": trials, "storage": without_password(options.storage)}
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in shown.items()]
    return shlex.join(["python", sys.argv[0], *arguments])


def without_password(url: str) -> str:
    """Return the URL as it may be shown."""
    try:
        return make_url(url).render_as_string(hide_password=True)
    except (SQLAlchemyError, ValueError):
        return "in --storage"


def main() -> None:
    """Open the study, work on it, and tell what came out."""
    options = parse_options()
    torch.set_num_threads(1)  # the images are too small to be shared among threads
    warnings.filterwarnings("ignore", "The '.*_dataloader' does not have many workers", UserWarning)
    warnings.filterwarnings("ignore", "The number of training batches", UserWarning)
    warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated", FutureWarning)
    # Heartbeats have been "experimental" since 2021.
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    optuna.logging.set_verbosity(optuna.logging.ERROR)

    study = open_study(options, open_storage(options.storage, options.heartbeat))
    print(f"To work on this study from another terminal: {command(options, trials=options.trials)}")
    with tqdm(total=options.trials, unit="trial", dynamic_ncols=True) as bar:
        work(study, options, bar)
    print(summarize(study))
    print(f"To go on with as many trials again: {command(options, trials=2 * options.trials)}")
    print(f"To see the curves of this machine: tensorboard --logdir {options.logs / options.study_name}")


if __name__ == "__main__":
    main()
