"""A module whose validation follows a script and whose training does not depend on the order of batches."""

import math

import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader, TensorDataset

from helpers.toy import ManualToy, Toy, loader
from lightning_lr.plateau.detectors.base import Detector, Observation, Verdict


def constant_batches(batches, batch_size=4):
    [features, target] = next(iter(loader(1, batch_size)))
    return DataLoader(TensorDataset(features.repeat(batches, 1), target.repeat(batches, 1)), batch_size)


class Scripted:
    """Mixed into a Toy: logs `val_loss` as a function of the number of steps made."""

    def script(self, step):
        # A fall that ends, with noise: no randomness, so that it is the same in a resumed run.
        return 1 + math.exp(-step / 10) + 0.05 * math.sin(97 * step)

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", torch.tensor(self.script(self.trainer.global_step)))

    def train_dataloader(self):
        return constant_batches(self.batches)


class Stalling(Scripted, Toy):
    pass


class ManualStalling(Scripted, ManualToy):
    pass


STATES = {"i": "improving", "p": "plateau", "o": "overfitting", "d": "diverging", "u": "undecided"}


class Verdicts(Detector):
    """Says what it was told to say: one letter per validation, and how often it was told of a change."""

    def __init__(self, letters):
        self.letters = letters

    def begin(self):
        return {"seen": 0, "changes": [], "training_losses": []}

    def check_state(self, state):
        if "seen" not in state:
            raise ValueError("A state of `Verdicts` has `seen`.")

    def judge(self, state, observation: Observation, *, mode):
        seen = state["seen"]
        letter = self.letters[seen] if seen < len(self.letters) else "u"
        verdict = Verdict(STATES[letter], -0.25, 0.5, 0.125, 0.375, seen, f"Validation {seen + 1}.")
        losses = [*state["training_losses"], observation.training_loss]
        return {**state, "seen": seen + 1, "training_losses": losses}, verdict

    def after_change(self, state):
        return {**state, "changes": [*state["changes"], state["seen"]]}


def saver(root):
    """Save a checkpoint at the end of every validation."""
    return ModelCheckpoint(root, filename="{step}", save_top_k=-1, save_on_train_epoch_end=False)
