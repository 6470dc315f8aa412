"""What makes two ranks different, fit by fit; ranks write what they saw: `hostile.py ROOT [SCENARIO ...]`."""

import math
import sys
import warnings
from datetime import timedelta
from pathlib import Path

import torch
from helpers.finders import Learner
from helpers.ranks import write_result
from helpers.scripted import Stalling, saver
from helpers.toy import LRTrace, ManualToy, trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback
from lightning.pytorch.plugins import MixedPrecision
from lightning.pytorch.strategies import DDPStrategy
from torch.optim import SGD, AdamW
from torch.utils.data import DataLoader, IterableDataset, Sampler, TensorDataset

from lightning_lr import LRDecay, LRLogger, LRRangeTest, LRSearch, PlateauDetector
from lightning_lr.plateau import Patience, ReduceLR, RestoreBest
from lightning_lr.policies import Cosine


def fit(module, *callbacks, ckpt_path=None, **kwargs):
    strategy = DDPStrategy(process_group_backend="gloo", timeout=timedelta(seconds=60))
    run = trainer(*callbacks, devices=2, strategy=strategy, **kwargs)
    run.fit(module, ckpt_path=ckpt_path, weights_only=True if ckpt_path else None)
    return run


def lrs_of(run):
    return [float(group["lr"]) for each in run.optimizers for group in each.param_groups]


class Easy(Learner):
    """A Learner that several callbacks can be tried on."""

    def __init__(self, lr=0.002, **kwargs):
        super().__init__(lambda parameters: AdamW(parameters, lr=lr), **kwargs)


class Stream(IterableDataset):
    def __init__(self, batches):
        self.batches = batches

    def __iter__(self):
        generator = torch.Generator().manual_seed(0)
        for _ in range(self.batches):
            features = torch.randn(16, 4, generator=generator)
            yield features, 3 * features.sum(1, keepdim=True)


class FirstOnes(Sampler):
    def __init__(self, count):
        self.count = count

    def __iter__(self):
        return iter(range(self.count))

    def __len__(self):
        return self.count


# --- A loss that is no number, or none at all.


def range_test_where_one_loss_is_nan(root):
    class Breaks(Easy):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            return loss * math.nan if self.global_rank == 1 and self.lr() > 1.0 else loss

        def lr(self):
            return self.trainer.optimizers[0].param_groups[0]["lr"]

    test = LRRangeTest(40)
    fit(Breaks(), test, max_epochs=1, root=root)
    return test.state_dict()


def search_where_one_loss_is_nan(root):
    class Breaks(Easy):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            lr = self.trainer.optimizers[0].param_groups[0]["lr"]
            return loss * math.nan if self.global_rank == 1 and lr > 0.05 else loss

    search = LRSearch(final_steps=40, budget=300, score="train")
    fit(Breaks(0.01), search, max_epochs=8, root=root)
    return search.state_dict()


def scaler_where_one_loss_is_nan(root):
    class Breaks(Easy):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            return loss * math.nan if self.global_rank == 1 and batch_idx % 5 == 3 else loss

    test = LRRangeTest(20, min_lr=1e-4, max_lr=1.0)
    precision = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=2.0**4))
    fit(Breaks(), test, max_epochs=1, root=root, plugins=[precision])
    return test.state_dict()


def validation_where_one_loss_is_nan(root):
    class Breaks(Easy):
        def validation_step(self, batch, batch_idx):
            loss = super().validation_step(batch, batch_idx)
            return loss * math.nan if self.global_rank == 1 and self.trainer.current_epoch == 2 else loss

    judge = PlateauDetector(detector=Patience(patience=1), on_plateau=ReduceLR(0.5))
    run = fit(Breaks(0.1), judge, LRLogger(), max_epochs=5, root=root)
    return {"values": [record.value for record in judge.records], "lrs": lrs_of(run)}


def manual_steps_where_one_rank_returns_no_loss(root):
    class Silent(ManualToy):
        """Both ranks make their steps; one tells the loss of the even batches only, in double precision."""

        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            if self.global_rank == 1:
                return loss.double() if batch_idx % 2 == 0 else None
            return loss.double()

    test = LRRangeTest(20, min_lr=1e-4, max_lr=1.0, apply=False)
    run = fit(Silent(), test, LRLogger(), max_epochs=2, root=root, log_every_n_steps=1)
    return {"test": test.state_dict(), "batches": run.fit_loop.epoch_loop.total_batch_idx}


# --- Values that only some ranks have, or that nobody synchronized.


class Uneven(Stalling):
    def validation_step(self, batch, batch_idx):
        rank, epoch = self.trainer.global_rank, self.trainer.current_epoch
        # Nobody synchronizes it; alone, the ranks would decide otherwise.
        value = 1.0 + (epoch if rank else -epoch)
        if rank == 1 and epoch == 4:
            value = math.nan
        if not (rank == 0 and epoch == 5):
            self.log("val_loss", torch.tensor(value))


def verdicts_on_values_that_nobody_synchronized(root, monitor="val_loss"):
    judge = PlateauDetector(
        monitor, detector=Patience(patience=1), on_plateau=[RestoreBest(1.0), ReduceLR(0.5)]
    )
    module = Uneven(lambda parameters: SGD(parameters, lr=0.1), batches=8)
    run = fit(module, judge, max_epochs=8, root=root)
    return {
        "values": [record.value for record in judge.records],
        "training losses": [record.training_loss for record in judge.records],
        "states": [verdict.state for verdict in judge.verdicts],
        "lrs": lrs_of(run),
        "weights": [each.tolist() for each in module.parameters()],
    }


def verdicts_on_a_loss_that_is_logged(root):
    return verdicts_on_values_that_nobody_synchronized(root, "loss/val")


# --- Loaders of different lengths.


def validation_where_one_rank_has_no_batches(root):
    class Empty(Easy):
        def val_dataloader(self):
            return DataLoader(Stream(0 if self.global_rank else 2), None)

    judge = PlateauDetector(detector=Patience(patience=1), on_plateau=ReduceLR(0.5))
    search = LRSearch(steps_per_trial=6, final_steps=12, budget=80)
    run = fit(Empty(), search, judge, LRLogger(), max_epochs=4, root=root)
    return {
        "search": search.state_dict(),
        "values": [each.value for each in judge.records],
        "lrs": lrs_of(run),
    }


class Streaming(Easy):
    """Epochs have 6 batches on one rank and 9 on the other, validations 1 and 2."""

    def train_dataloader(self):
        return DataLoader(Stream(6 + 3 * self.global_rank), None)

    def val_dataloader(self):
        return DataLoader(Stream(1 + self.global_rank), None)


def epochs_that_end_with_different_steps(root):
    trace, test = LRTrace(), LRRangeTest(20)
    decay = LRDecay(Cosine(end=0.1), interval="step", warmup=5)
    steps = {"max_steps": 30, "max_epochs": -1, "log_every_n_steps": 4}
    fit(Streaming(), test, decay, LRLogger(), trace, root=root, **steps)
    return {"test": test.state_dict(), "lrs": sorted(trace.lrs.items())}


def validations_by_steps_of_uneven_streams(root):
    judge = PlateauDetector(detector=Patience(patience=1), on_plateau=ReduceLR(0.5))
    by_steps = {"val_check_interval": 5, "check_val_every_n_epoch": None, "max_steps": 30, "max_epochs": -1}
    run = fit(Streaming(0.3), judge, LRLogger(), root=root, log_every_n_steps=4, **by_steps)
    return {"values": [record.value for record in judge.records], "lrs": lrs_of(run)}


class Alike(Easy):
    """Epochs have 6 batches on both ranks, and do not say so."""

    def train_dataloader(self):
        return DataLoader(Stream(6), None)


class Sampled(Easy):
    """Epochs have 6 batches on one rank and 9 on the other, and say so."""

    def train_dataloader(self):
        data = super().train_dataloader().dataset
        return DataLoader(data, 16, sampler=FirstOnes(16 * (6 + 3 * self.global_rank)))

    def val_dataloader(self):
        data = super().train_dataloader().dataset
        return DataLoader(data, 16, sampler=FirstOnes(16 * (1 + self.global_rank)))


class Stop(Callback):
    def __init__(self, step):
        self.step = step

    def on_train_batch_end(self, trainer, *args):
        trainer.should_stop = trainer.global_step == self.step


def plans_over_samplers_of_different_lengths(root):
    trace, decay = LRTrace(), LRDecay(Cosine(), interval="step", warmup=0.2)
    search = LRSearch(steps_per_trial=6, final_steps=12, budget=0.9)
    # The ranks plan for 60 and 90 steps, and both are told to stop after 20.
    settings = {"max_epochs": 10, "use_distributed_sampler": False, "limit_val_batches": 0}
    fit(Sampled(), search, decay, trace, Stop(20), LRLogger(), root=root, **settings)
    return {"search": search.state_dict(), "plan": repr(decay.plan), "lrs": sorted(trace.lrs.items())}


def validations_after_different_steps_are_refused(root):
    try:
        steps = {"max_steps": 20, "max_epochs": -1, "use_distributed_sampler": False}
        fit(Sampled(), PlateauDetector(), root=root, **steps)
    except MisconfigurationException as error:
        return str(error)


def lrs_by_epochs_of_different_lengths_are_refused(root):
    module = Sampled()
    try:
        fit(module, LRDecay(), root=root, max_steps=20, use_distributed_sampler=False, limit_val_batches=0)
    except MisconfigurationException as error:
        return {"error": str(error), "steps": module.trainer.global_step}


def epochs_of_lengths_that_nobody_knows(root):
    with warnings.catch_warnings(record=True) as caught:
        fit(Alike(), LRDecay(), PlateauDetector(on_plateau=[]), root=root, max_epochs=2)
    return [str(each.message) for each in caught if "how long an epoch is" in str(each.message)]


# --- An interruption.


class Repeating(Easy):
    """Every batch is the same, so that a run that resumes anywhere sees what it would have seen."""

    def train_dataloader(self):
        features = torch.randn(16, 4, generator=torch.Generator().manual_seed(0)).repeat(20, 1)
        return DataLoader(TensorDataset(features, 3 * features.sum(1, keepdim=True)), 16)

    def validation_step(self, batch, batch_idx):
        self.log("own", max(1.0 + self.global_rank, 4.0 - self.trainer.current_epoch))
        return self.loss(batch)


class Interrupt(LRTrace):
    def __init__(self, step):
        super().__init__()
        self.step = step

    def on_train_batch_end(self, trainer, *args):
        if trainer.global_step == self.step:
            raise InterruptedError


def everything(root, test, trace, ckpt_path=None):
    judge = PlateauDetector("own", detector=Patience(patience=1), on_plateau=[RestoreBest(), ReduceLR(0.5)])
    decay = LRDecay(Cosine(end=0.01), interval="step", warmup=5)
    saves = {"enable_checkpointing": True, "max_epochs": 7, "log_every_n_steps": 3, "ckpt_path": ckpt_path}
    torch.manual_seed(0)
    return fit(Repeating(), test, decay, judge, LRLogger(), trace, saver(root), root=root, **saves)


def runs_with_and_without_an_interruption(root):
    found = {}
    for make in (lambda: LRRangeTest(40), lambda: LRSearch(steps_per_trial=6, final_steps=12, budget=80)):
        name = type(make()).__name__
        whole, first, second = LRTrace(), Interrupt(57), LRTrace()
        fitted = everything(root / name / "whole", make(), whole)
        weights = [each.tolist() for each in fitted.lightning_module.parameters()]
        try:
            everything(root / name / "parts", make(), first)
        except InterruptedError:
            path = root / name / "parts" / "step=50.ckpt"
            again = everything(root / name / "parts", make(), second, ckpt_path=path)
        same = weights == [each.tolist() for each in again.lightning_module.parameters()]
        found[name] = {"whole": whole.lrs, "parts": first.lrs | second.lrs, "same weights": same}
    return found


SCENARIOS = [
    range_test_where_one_loss_is_nan,
    search_where_one_loss_is_nan,
    scaler_where_one_loss_is_nan,
    validation_where_one_loss_is_nan,
    manual_steps_where_one_rank_returns_no_loss,
    verdicts_on_values_that_nobody_synchronized,
    verdicts_on_a_loss_that_is_logged,
    validation_where_one_rank_has_no_batches,
    epochs_that_end_with_different_steps,
    validations_by_steps_of_uneven_streams,
    plans_over_samplers_of_different_lengths,
    validations_after_different_steps_are_refused,
    lrs_by_epochs_of_different_lengths_are_refused,
    epochs_of_lengths_that_nobody_knows,
    runs_with_and_without_an_interruption,
]


def main():
    root, *chosen = sys.argv[1:]
    found = {}
    for scenario in SCENARIOS:
        if not chosen or scenario.__name__ in chosen:
            found[scenario.__name__] = scenario(Path(root) / scenario.__name__)
    write_result(root, torch.distributed.get_rank(), found)


if __name__ == "__main__":
    main()
